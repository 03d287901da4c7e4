"""Errors that a user can act on: what is wrong, where, what would fit, and what to do."""

__all__ = [
    "BackendError",
    "CheckpointError",
    "DatasetError",
    "ModelFileError",
    "PlansError",
    "ResumableInterruptError",
    "UMambaError",
]


class ResumableInterruptError(Exception):
    """The user interrupted work that can be continued; the command line exits with 75."""


class UMambaError(ValueError):
    """The user's input is at fault; the command line prints the message and exits with 2."""


class DatasetError(UMambaError):
    """Images, masks or `dataset.json` do not fit together."""


class PlansError(UMambaError):
    """Plans or a network's arguments cannot be used as they stand."""


class CheckpointError(UMambaError):
    """A checkpoint cannot be read, or holds what it should not."""


class ModelFileError(UMambaError):
    """A model to share is damaged, or is not what it should be."""


class BackendError(UMambaError):
    """A selective-scan backend is unknown or cannot run here."""
