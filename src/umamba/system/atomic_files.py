"""Write files atomically: whatever happens, a file is whole or as it was before."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from umamba.errors import UMambaError
from umamba.system.file_lock import is_abandoned, own_signature

__all__ = ["make_folder", "place_if_absent", "whole_file", "write_new", "write_whole"]


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
        return place_if_absent(partial, path)


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
        partial.replace(path)


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


def place_if_absent(source: Path, target: Path) -> bool:
    """Give a file its name unless another file has it; return whether it was given.

    This is atomic where the file system has links.

    Args:
        source: The file, or a link. If it was placed, it no longer has this name.
        target: Its new name, in the same file system.

    Raises:
        OSError: If the folder cannot be written.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        return False
    except (OSError, NotImplementedError):  # no links here
        if os.path.lexists(target):
            return False
        source.rename(target)
    else:
        source.unlink()
    return True


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
