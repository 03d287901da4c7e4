"""Read JSON that others wrote: every way in which it can be wrong becomes one line."""

import json
from pathlib import Path
from typing import Any

from umamba.errors import UMambaError
from umamba.system.path_names import no_plain_file

__all__ = ["load_json", "load_json_list"]

_MOST_BYTES = 2**28
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UMambaError: If the file is missing or is not a JSON object.
    """
    content = _read(path)
    if not isinstance(content, dict):
        msg = f"{path} is not a JSON object"
        raise UMambaError(msg)
    return content


def load_json_list(path: Path) -> list[Any]:
    """Read a JSON list.

    Raises:
        UMambaError: If the file is missing or is not a JSON list.
    """
    content = _read(path)
    if not isinstance(content, list):
        msg = f"{path} is not a JSON list"
        raise UMambaError(msg)
    return content


def _read(path: Path) -> Any:
    try:
        reason = no_plain_file(path)
        if path.stat().st_size > _MOST_BYTES:
            reason = f"it has {path.stat().st_size} bytes, more than {_MOST_BYTES}"
        content = b"" if reason else path.read_bytes()
        if content.startswith(_BYTE_ORDER_MARKS):
            reason = "it begins with a byte order mark; save it as UTF-8 without one"
        if not reason:
            return json.loads(content.decode("utf-8"))
    except FileNotFoundError:
        msg = f"{path} does not exist"
        raise UMambaError(msg) from None
    except UnicodeDecodeError:
        reason = "it is not UTF-8; save it as UTF-8"
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    msg = f"{path} cannot be read: {reason}"
    raise UMambaError(msg)
