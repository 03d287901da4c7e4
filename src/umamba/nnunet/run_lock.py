"""Let one training at a time write to a folder."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from umamba.errors import UMambaError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["only_training"]

_held: dict[Path, int] = {}


@contextmanager
def only_training(folder: Path, other: str = "train another fold") -> Iterator[None]:
    """Hold the lock of a fold, so that a second training of it is refused.

    The lock lies beside the folder, which may be renamed. The system releases it when the process
    ends, however it ends. Where files cannot be locked, a warning says so. A process that holds
    the lock may take it again.

    Args:
        folder: The folder of the fold, which need not be there yet.
        other: What to do instead, for the message.

    Raises:
        UMambaError: If another process trains there.
    """
    path = folder.absolute().with_name(f".{folder.name}.lock")
    if fcntl is None or path in _held:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor, folder, other)
        _held[path] = descriptor
        yield
    finally:
        _held.pop(path, None)
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, other: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        msg = (
            f"{folder} is being trained by {holder or 'another process'}; wait for it or stop it, "
            f"or {other}"
        )
        raise UMambaError(msg) from None
    except OSError as error:
        sys.stderr.write(
            f"{folder.parent} cannot lock files ({error.strerror}): see to it that no other "
            f"training writes to {folder}\n"
        )
        return
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _let_go() -> None:
    """Close the locks in a forked worker, which would else hold them after its parent's death."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
