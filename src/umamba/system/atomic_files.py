"""Write files atomically: whatever happens, a file is whole or as it was before."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from umamba.errors import UMambaError
from umamba.system.fencing import check_claims
from umamba.system.file_lock import is_abandoned, own_signature

__all__ = [
    "flush_to_disk",
    "make_folder",
    "take_name",
    "whole_file",
    "write_new",
    "write_whole",
]


def write_whole(path: Path, text: str) -> None:
    """Write a text file atomically, replacing what may be there.

    Raises:
        UMambaError: If it cannot be written; what was there before is as it was.
    """
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_new(path: Path, text: str) -> bool:
    """Write a text file atomically unless that name is taken; return whether it was written.

    Raises:
        UMambaError: If it cannot be written.
    """
    with _partial_of(path) as partial:
        partial.write_text(text, encoding="utf-8")
        return take_name(partial, path, replace=False)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name, and give it its own atomically on leaving.

    Args:
        path: The file; what killed processes left of it is removed.

    Yields:
        The temporary name.

    Raises:
        UMambaError: If it cannot be written; what was there before is as it was.
    """
    with _partial_of(path) as partial:
        yield partial
        take_name(partial, path)


@contextmanager
def _partial_of(path: Path) -> Iterator[Path]:
    prefix = f".{path.name}.partial-"
    partial = path.with_name(prefix + own_signature())
    try:
        for stale in path.parent.glob(f"{glob.escape(prefix)}*"):
            if is_abandoned(stale.name.removeprefix(prefix)):
                stale.unlink(missing_ok=True)
        yield partial
    except OSError as error:
        reason = error.strerror or error
        msg = f"cannot write {path}: {reason}; make room, or make the folder writable"
        raise UMambaError(msg) from None
    finally:
        with suppress(OSError):
            partial.unlink()


def take_name(finished: Path, path: Path, *, replace: bool = True) -> bool:
    """Give a finished file or folder its name, atomically; every output of ours gets it here.

    Args:
        finished: What is finished. Once it has its name, it no longer has this one.
        path: Its name, in the same file system.
        replace: Whether a file, or an empty folder, of that name is replaced. If not, the name is
            only taken if nothing has it, which is atomic where the file system has links.

    Returns:
        Whether it has its name now.

    Raises:
        OSError: If the folder cannot be written.
        SupersededError: If another process has taken over the work of this one.
    """
    check_claims()
    if replace:
        finished.replace(path)
        return True
    try:
        os.link(finished, path, follow_symlinks=False)
    except FileExistsError:
        return False
    except (OSError, NotImplementedError):  # no links here, or a folder
        if os.path.lexists(path):
            return False
        finished.rename(path)
    else:
        finished.unlink()
    return True


def flush_to_disk(path: Path) -> None:
    """Let a file survive a power failure, or the names in a folder, where that can be done.

    Raises:
        OSError: If the content of a file cannot be written to the disk.
    """
    if path.is_dir():
        with suppress(OSError):  # some systems flush no folders
            _flush(path, os.O_RDONLY)
    else:
        _flush(path, os.O_RDWR)


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless they exist.

    Raises:
        UMambaError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        msg = f"cannot make {folder}: {reason}; make room, or make its parent writable"
        raise UMambaError(msg) from None
