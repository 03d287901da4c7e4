"""Write text files that are whole at any moment, whatever happens."""

import os
from contextlib import suppress
from pathlib import Path

from umamba.errors import UMambaError

__all__ = ["place_if_absent", "write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name, and give it its own at once.

    Raises:
        UMambaError: If it cannot be written; what was there before is as it was.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}; make room, or the folder writable"
        raise UMambaError(msg) from None
    finally:
        with suppress(OSError):
            partial.unlink()


def place_if_absent(source: Path, target: Path) -> bool:
    """Give a file its name unless another file has it; return whether it was given.

    Where the file system has links nothing can come in between.

    Args:
        source: The file. If it was placed, it has this name no longer.
        target: Its new name, in the same file system.

    Raises:
        OSError: If the folder cannot be written.
    """
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return False
    except OSError:  # no links here
        if target.exists():
            return False
        source.replace(target)
    else:
        source.unlink()
    return True
