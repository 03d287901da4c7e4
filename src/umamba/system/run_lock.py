"""Let one process at a time work in a folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from umamba.errors import UMambaError
from umamba.system.atomic_files import make_folder
from umamba.system.fencing import claiming, supersedes_holder
from umamba.system.file_lock import FileLock, LockHeldError

__all__ = ["LEFT_INSIDE", "is_at_work", "only_process", "refuse_if_at_work"]

# Beginnings of the names that a killed process may leave of a lock inside a folder.
LEFT_INSIDE = _LOCK, _CLAIM = (".lock", ".claim")

_held: set[Path] = set()


@contextmanager
def only_process(
    folder: Path, other: str = "train another fold", *, inside: bool = False
) -> Iterator[None]:
    """Hold the lock of a folder, so that a second process that would work in it is refused.

    The lock lies beside the folder, which may be renamed, and so does a claim, for machines that
    see the folder but not the lock (`system/fencing.py`). Where files cannot be locked, a warning
    says so. A process that holds the lock may take it again.

    Args:
        folder: The folder, such as that of a fold, which need not exist yet.
        other: What to do instead, for the message.
        inside: Whether the lock lies in the folder, so that its parent need not be writable.

    Raises:
        UMambaError: If another process works there, or the lock cannot be made.
        SupersededError: If a later attempt at this process's job has worked there.
    """
    path = folder.absolute() / _LOCK if inside else _lock_of(folder)
    if path in _held:
        yield
        return
    make_folder(path.parent)
    with _locked(path, folder, other), claiming(_claim_of(path)):
        _held.add(path)
        try:
            yield
        finally:
            _held.discard(path)


@contextmanager
def _locked(path: Path, folder: Path, other: str) -> Iterator[None]:
    """Hold a lock; an earlier attempt at the same job that holds it is left to stop by itself."""
    try:
        lock = FileLock(path)
    except LockHeldError as error:
        if not supersedes_holder(_claim_of(path)):
            raise _refusal(folder, error, other) from None
        sys.stderr.write(f"taking over from {error}, an earlier attempt at this job\n")
        yield
        return
    except OSError as error:
        msg = f"cannot make {path} ({error.strerror}), which keeps other processes out; {other}"
        raise UMambaError(msg) from None
    try:
        if lock.refusal:
            sys.stderr.write(
                f"{folder.parent} cannot lock files ({lock.refusal}): make sure that no other "
                f"process writes to {folder}\n"
            )
        yield
    finally:
        lock.release()


def refuse_if_at_work(folder: Path, other: str = "train another fold") -> None:
    """Check that no other process works in a folder; nothing is written, and nothing is locked.

    Args:
        folder: The folder of a fold, which need not exist.
        other: What to do instead, for the message.

    Raises:
        UMambaError: If one does.
    """
    path = _lock_of(folder)
    if path in _held:
        return
    try:
        FileLock(path, create=False).release()
    except LockHeldError as error:
        if not supersedes_holder(_claim_of(path)):
            raise _refusal(folder, error, other) from None
    except OSError:  # it is not there, or not for us to lock
        return


def is_at_work(folder: Path) -> bool:
    """Return whether another process works in the folder of a fold."""
    try:
        refuse_if_at_work(folder)
    except UMambaError:
        return True
    return False


def _lock_of(folder: Path) -> Path:
    return folder.absolute().with_name(f".{folder.name}{_LOCK}")


def _claim_of(lock: Path) -> Path:
    return lock.with_name(lock.name.removesuffix(_LOCK) + _CLAIM)


def _refusal(folder: Path, holder: LockHeldError, other: str) -> UMambaError:
    return UMambaError(
        f"another process is at work in {folder}: {holder}; wait for it or stop it, or {other}"
    )
