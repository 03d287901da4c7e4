"""Segmentation networks, one file per paper; these class paths are written into plans."""

from umamba.networks.umamba import UMambaBot, UMambaEnc

__all__ = ["UMambaBot", "UMambaEnc"]
