"""Write checkpoints atomically, and read them without running code in them."""

import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from umamba.errors import CheckpointError, UMambaError, quoted
from umamba.nnunet.checkpoints.contents import check_contents
from umamba.nnunet.checkpoints.pickled_data import ForeignContentError
from umamba.nnunet.checkpoints.torch_files import read_torch_file
from umamba.system.atomic_files import flush_to_disk, take_name

__all__ = [
    "fitting",
    "is_whole",
    "only_safe_loading",
    "previous_of",
    "read_checkpoint",
    "remove_partial",
    "write_checkpoint",
]

# Errors that reading a file can raise if it is damaged, though whole as a zip file.
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of nnU-Net, of the authors' fork, or of ours.

    Only tensors, plain Python data and numpy scalars are accepted; nothing in the file is run.

    Args:
        path: The file.

    Returns:
        Its contents, on the CPU.

    Raises:
        CheckpointError: If the file is missing, torn, not a checkpoint, or holds anything else.
    """
    if not path.is_file():
        msg = f"checkpoint {path} does not exist; train first, or give another -f or -chk"
        raise CheckpointError(msg)
    try:
        checkpoint = read_torch_file(path)
    except ForeignContentError as error:
        msg = (
            f"checkpoint {path} holds more than weights and plain data, or is not a checkpoint, "
            f"and was not loaded ({error}). Use a file from a source that you trust."
        )
        raise CheckpointError(msg) from None
    except (zipfile.BadZipFile, EOFError) as error:
        msg = (
            f"checkpoint {path} is damaged: a checksum is wrong, its end is missing, or it is "
            f"not a file of `torch.save` ({error}); it was not loaded. Use another copy"
        )
        raise CheckpointError(msg) from None
    except _UNREADABLE as error:
        reason = quoted(next(iter(str(error).splitlines()), type(error).__name__))
        msg = f"checkpoint {path} cannot be read and may be incomplete ({reason}); use another copy"
        raise CheckpointError(msg) from None
    return check_contents(checkpoint, path)


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Explain errors while a training takes over the state in a checkpoint.

    Raises:
        CheckpointError: If its weights or states do not belong to the training.
    """
    try:
        yield
    except UMambaError:
        raise
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = quoted(" ".join(str(error).split()))
        msg = (
            f"checkpoint {path} does not fit the training that it should continue "
            f"({type(error).__name__} {reason}); use another copy, or begin anew with --overwrite"
        )
        raise CheckpointError(msg) from None


@contextmanager
def only_safe_loading() -> Iterator[None]:
    """Make nnU-Net's own functions read checkpoints by `read_checkpoint` as well.

    They call `torch.load` in a way that runs any code in a file, and accept no other
    reader.

    Raises:
        CheckpointError: If an entry they need is missing, or does not fit the network.
    """

    def load(file: Any, *_: Any, **__: Any) -> Any:
        return read_checkpoint(Path(file))

    ours: Any = load
    stock, torch.load = torch.load, ours
    try:
        yield
    except KeyError as error:
        msg = (
            f"the checkpoint lacks {error}: it was made for prediction, as an installed model is, "
            "and can only be the start of a new one, with -pretrained_weights"
        )
        raise CheckpointError(msg) from None
    except AssertionError as error:
        said = str(error).partition("; your network:")[0]  # what follows is a whole tensor
        msg = f"the checkpoint does not fit the network that the plans describe: {said}"
        raise CheckpointError(msg) from None
    finally:
        torch.load = stock


def write_checkpoint(checkpoint: Mapping[str, Any], path: Path, *, keep_previous: bool) -> None:
    """Write a checkpoint so that a whole one exists after a crash at any moment.

    It is written to a temporary file on the disk, verified, and then renamed atomically.

    Args:
        checkpoint: Its contents.
        path: The file.
        keep_previous: Whether a whole checkpoint of that name is kept as `previous_of(path)`.

    Raises:
        CheckpointError: If it cannot be written; what was there before is as it was.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            torch.save(checkpoint, file)
        flush_to_disk(partial)
        if not is_whole(partial):
            msg = f"checkpoint {path} reads back differently from what was written; check the disk"
            raise CheckpointError(msg)
        if keep_previous and is_whole(path):  # a torn one must not push out a good one
            _keep(path)
        take_name(partial, path)
        flush_to_disk(path.parent)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        msg = (
            f"checkpoint {path} cannot be written ({reason}); the last one before it is kept. "
            "Make room or give write access, then continue with --resume"
        )
        raise CheckpointError(msg) from error
    finally:
        partial.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Remove files left by processes that were killed while they wrote a checkpoint."""
    for partial in folder.glob(".checkpoint_*.partial-*"):
        partial.unlink(missing_ok=True)


def previous_of(path: Path) -> Path:
    """Return the path at which the predecessor of a checkpoint is kept."""
    return path.with_name(f"{path.stem}_previous{path.suffix}")


def is_whole(path: Path) -> bool:
    """Return whether every record of a checkpoint has the checksum that it was written with."""
    try:
        with zipfile.ZipFile(path) as records:
            return records.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError):
        return False


def _keep(path: Path) -> None:
    """Give a checkpoint its second name, atomically; it is copied where links are refused."""
    previous = previous_of(path)
    second = path.with_name(f".{previous.name}.partial-{os.getpid()}")
    second.unlink(missing_ok=True)
    try:
        second.hardlink_to(path)
    except OSError:
        shutil.copy2(path, second)
    try:
        take_name(second, previous)
    finally:
        second.unlink(missing_ok=True)
