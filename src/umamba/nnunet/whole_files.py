"""Write text files that are whole at any moment, whatever happens."""

import os
from contextlib import suppress
from pathlib import Path

from umamba.errors import UMambaError

__all__ = ["write_whole"]


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
