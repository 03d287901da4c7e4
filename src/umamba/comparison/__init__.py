"""Comparison of models on the same cases: trainings, statistics, and reports."""
