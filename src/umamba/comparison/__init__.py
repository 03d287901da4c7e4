"""Comparing models on the same cases: their scores, and what can be said about them."""
