"""What a person or a program is shown of a cycle, read from what the calculation stored; nothing is computed.

A room of its own above ``casebook``: the record knows no products, and the page (``web``) is only one reader.
"""
