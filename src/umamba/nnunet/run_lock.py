"""Let one training at a time write to a folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from umamba.errors import UMambaError
from umamba.nnunet.file_lock import FileLock, LockHeldError

__all__ = ["only_training"]

_held: set[Path] = set()


@contextmanager
def only_training(folder: Path, other: str = "train another fold") -> Iterator[None]:
    """Hold the lock of a fold, so that a second training of it is refused.

    The lock lies beside the folder, which may be renamed. Where files cannot be locked, a warning
    says so. A process that holds the lock may take it again.

    Args:
        folder: The folder of the fold, which need not be there yet.
        other: What to do instead, for the message.

    Raises:
        UMambaError: If another process trains there.
    """
    path = folder.absolute().with_name(f".{folder.name}.lock")
    if path in _held:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(path)
    except LockHeldError as error:
        msg = f"{folder} is being trained by {error}; wait for it or stop it, or {other}"
        raise UMambaError(msg) from None
    try:
        if lock.refusal:
            sys.stderr.write(
                f"{folder.parent} cannot lock files ({lock.refusal}): see to it that no other "
                f"training writes to {folder}\n"
            )
        _held.add(path)
        yield
    finally:
        _held.discard(path)
        lock.release(remove=False)
