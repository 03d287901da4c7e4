"""Check that the disk has room for a training's checkpoints, and explain it when it is full."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from umamba.errors import CheckpointError, UMambaError

__all__ = ["check_space", "full_disk_explained"]

_FILES = 4  # latest, its predecessor, best, and the one that is being written
_MARGIN_BYTES = 50 * 2**20  # logs, plots, the segmentations of the validation cases
_MIB = 2**20


def check_space(network: nn.Module, folder: Path, moments: int) -> None:
    """Check that there is room for all checkpoints of a training.

    Args:
        network: The network that is trained.
        folder: Where its checkpoints go, and perhaps are already.
        moments: Numbers that the optimiser keeps per weight; see `Recipe`.

    Raises:
        UMambaError: If there is not.
    """
    # A tensor under several names, as PlainConvUNet has many, is written once.
    sizes = {t.data_ptr(): t.nbytes for t in network.state_dict().values()}
    wanted = _FILES * (1 + moments) * sum(sizes.values()) + _MARGIN_BYTES
    there = sum(path.stat().st_size for path in folder.glob("checkpoint_*.pth"))
    free = shutil.disk_usage(folder).free
    if free + there >= wanted:
        return
    msg = (
        f"the checkpoints of this training need {(wanted - there) // _MIB} MiB, and {folder} has "
        f"{free // _MIB} MiB left; make room, or give another folder as --results"
    )
    raise UMambaError(msg)


@contextmanager
def full_disk_explained(folder: Path) -> Iterator[None]:
    """Explain a full or lost disk, met while anything but a checkpoint is written.

    Raises:
        CheckpointError: If that was the error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        msg = (
            f"{error.filename or folder} cannot be written ({error.strerror}); the last checkpoint "
            "is kept. Make room or give write access, then continue with --resume"
        )
        raise CheckpointError(msg) from error
