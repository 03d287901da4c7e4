"""A complete example on an average brain MRI from a Python package; nothing is downloaded."""
