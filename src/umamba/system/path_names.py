"""Names and paths of files: shown on one line, and checked before anything is opened."""

import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from umamba.errors import UMambaError
from umamba.system.terminal import one_line

__all__ = [
    "check_utf8",
    "check_writable",
    "is_foreign_link",
    "is_hidden",
    "is_hidden_below",
    "is_utf8",
    "listed",
    "no_plain_file",
    "path_below",
    "shown",
]

_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"}
_MOST_SHOWN = 20


def is_hidden(path: Path) -> bool:
    """Return whether a file or folder is hidden, or the system's own: users do not mean those."""
    return path.name.startswith(".") or path.name.lower() in _SYSTEM_FILES


def is_hidden_below(name: str) -> bool:
    """Return whether any part of a path, with / between folders, is hidden or the system's own."""
    return any(is_hidden(Path(part)) for part in name.split("/"))


def path_below(folder: Path, path: Path) -> str:
    """Return a path below a folder as text, as it is if it is UTF-8, so that it can be written."""
    name = path.relative_to(folder).as_posix()
    return name if is_utf8(name) else shown(name)


def no_plain_file(path: Path) -> str:
    """Return why a path cannot be opened as a file; "" if it can. Nothing is opened.

    Raises:
        OSError: If nothing is there, or a link leads nowhere.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return ""
    return "it is a folder, not a file" if stat.S_ISDIR(mode) else "it is a device or a pipe"


def is_foreign_link(path: Path, folder: Path) -> bool:
    """Return whether something in a model's folder is a link that must not be followed.

    The cache of the Hugging Face hub keeps files in `blobs`, and links to them in a folder below
    `snapshots` beside it. Only these are followed, and only to a file: any other link would let
    somebody else's model read, or show again, what lies elsewhere on this machine.

    Args:
        path: A file or folder below `folder`.
        folder: The model's folder.
    """
    if not path.is_symlink():
        return False
    target, place = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    revisions = [part for part in (place, *place.parents) if part.parent.name == "snapshots"]
    blobs = [revision.parent.parent / "blobs" for revision in revisions]
    return target.parent not in blobs or not target.is_file()


def is_utf8(name: object) -> bool:
    """Return whether a name or path is text, as nnU-Net and SimpleITK need it."""
    return not any("\ud800" <= c <= "\udfff" for c in str(name))


def shown(name: object) -> str:
    """Return a name or path as text on one line: what is not UTF-8, or not seen, is escaped."""
    return one_line(name)


def listed(names: Iterable[object]) -> str:
    """Return names as one text; of very many only the first."""
    texts = [shown(name) for name in names]
    more = len(texts) - _MOST_SHOWN
    return ", ".join(texts[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def check_utf8(folder: Path, option: str) -> None:
    """Check that a folder's path is UTF-8: libraries end the interpreter at other paths.

    Raises:
        UMambaError: If its path is not UTF-8.
    """
    path = folder.absolute()
    if not is_utf8(path):
        msg = f"{option} {shown(path)}: this path is not UTF-8; rename the folder, or give another"
        raise UMambaError(msg)


def check_writable(folder: Path, option: str) -> None:
    """Check that a folder, which need not exist yet, can be written to; nothing is left there.

    Args:
        folder: The folder.
        option: The option by which the user can name another one, for the message.

    Raises:
        UMambaError: If it cannot.
    """
    check_utf8(folder, option)
    ancestry = (folder, *folder.absolute().parents)
    try:
        there = next(path for path in ancestry if os.path.lexists(path))
        with tempfile.NamedTemporaryFile(prefix=".umamba-", dir=there):
            pass
    except OSError as error:
        msg = (
            f"nothing can be written to {folder} ({error.strerror or error}); give another folder "
            f"as {option}, or make this one writable"
        )
        raise UMambaError(msg) from None
