"""Benchmarks; see README.md. Nothing in the package imports them."""
