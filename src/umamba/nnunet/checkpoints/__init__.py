"""Checkpoints: written atomically, and read without running what is in them."""
