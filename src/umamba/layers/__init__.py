"""Modules that networks share."""
