"""Sequence mathematics: the selective scan, linear state-space models. Free of images."""

from umamba.ops.dispatch import selective_scan
from umamba.ops.reference import selective_scan_reference

__all__ = ["selective_scan", "selective_scan_reference"]
