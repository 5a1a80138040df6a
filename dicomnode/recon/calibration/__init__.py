"""The record of one camera, nuclide and protocol, and the phantom scan it is measured with."""
