"""A complete example on real MRI that a Python package brings along; nothing is downloaded."""
