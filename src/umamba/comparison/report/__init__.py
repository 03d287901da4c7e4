"""A comparison as people read it: tables, figures, a gallery and a summary."""
