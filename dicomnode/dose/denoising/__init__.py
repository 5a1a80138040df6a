"""What the engine ``denoise`` is made of: kernel maps, columns of the anatomy, and the fit between them."""
