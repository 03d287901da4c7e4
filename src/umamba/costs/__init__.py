"""Costs of models and layers, for `umamba models` and `umamba benchmark`."""
