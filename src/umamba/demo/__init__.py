"""A complete example on real MRI that comes with a Python package; nothing is downloaded."""
