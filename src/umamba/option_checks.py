"""Checks of options: each takes a command line's text, or a value, and returns the value."""

import math
import os
from collections.abc import Iterable, Sequence
from operator import index
from pathlib import Path
from typing import Any

from umamba import registry
from umamba.errors import UMambaError, unknown_name
from umamba.system.numerals import whole_number

__all__ = [
    "file_or_auto",
    "fold_numbers",
    "folder_elsewhere",
    "folder_or_file",
    "folders_or_files",
    "gibibytes",
    "model_name",
    "model_names",
    "natural",
    "number_list",
    "numbers",
    "part",
    "positive",
    "positive_hours",
    "positive_points",
    "positive_size",
    "real",
    "text",
    "texts",
]

_MOST_FOLDS = 10_000


def positive(given: str | int) -> int:
    """Return a number of at least one."""
    number = _whole(given)
    if not number:
        msg = f"{given!r} is not a positive number"
        raise UMambaError(msg)
    return number


def natural(given: str | int) -> int:
    """Return a number of at least zero."""
    number = _whole(given)
    if number is None:
        msg = f"{given!r} is not zero or a positive number"
        raise UMambaError(msg)
    return number


def positive_hours(given: str | float) -> float:
    """Return a length of time in hours, such as 0.5."""
    hours = real(given)
    if not 0 < hours < math.inf:
        msg = f"{given!r} is not a positive number of hours"
        raise UMambaError(msg)
    return hours


def gibibytes(given: str | float) -> float | str:
    """Return an amount of memory in GiB, or `auto`."""
    if given == "auto":
        return "auto"
    size = real(given)
    if not 0 < size < math.inf:
        msg = f"{given!r} is neither a positive number of GiB nor auto"
        raise UMambaError(msg)
    return size


def part(given: str | float) -> float:
    """Return a fraction, above 0 and at most 1."""
    value = real(given)
    if not 0 < value <= 1:
        msg = f"{given!r} is not a number above 0 and at most 1"
        raise UMambaError(msg)
    return value


def positive_points(given: str | float) -> float:
    """Return a difference in percentage points, such as 1.0."""
    points = real(given)
    if not 0 < points < 100:
        msg = f"{given!r} is not a number of points between 0 and 100"
        raise UMambaError(msg)
    return points


def positive_size(given: str | float) -> float:
    """Return a positive number of any unit."""
    size = real(given)
    if not 0 < size < math.inf:
        msg = f"{given!r} is not a positive number"
        raise UMambaError(msg)
    return size


def numbers(given: str | Sequence[int]) -> tuple[int, ...]:
    """Return a list of positive numbers, such as 8,16,32."""
    found = tuple(_whole(n.strip() if isinstance(n, str) else n) or 0 for n in _items(given))
    if not found or min(found) < 1:
        msg = f"{given!r} is not a list of positive numbers such as 8,16,32"
        raise UMambaError(msg)
    return found


def number_list(given: Sequence[str] | Sequence[int]) -> tuple[int, ...]:
    """Return the numbers of several lists as one: `32 40 32` means the same as `32,40,32`."""
    if isinstance(given, str) or not any(isinstance(item, str) for item in _items(given)):
        return numbers(given)  # type: ignore[arg-type] # numbers, or one text
    return tuple(number for item in given for number in numbers(str(item)))


def model_names(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of models, each with or without its @RECIPE, without repetitions."""
    names = tuple(dict.fromkeys(name.strip() for name in _items(given) if name.strip()))
    if not names:
        raise UMambaError(_no_model(str(given)))
    for name in names:
        registry.find_architecture(name)
    return names


def model_name(given: str) -> str:
    """Return the name of a model."""
    if given not in registry.names():
        raise UMambaError(_no_model(given))
    return given


def fold_numbers(given: str | Iterable[int]) -> tuple[int, ...]:
    """Return numbers of folds, such as 0-4 or 0,2."""
    folds: set[int] = set()
    for item in ",".join(map(str, _items(given))).split(","):
        first, dash, last = item.partition("-")
        begin, end = whole_number(first), whole_number(last if dash else first)
        if begin is None or end is None or not begin <= end < _MOST_FOLDS:
            folds.clear()
            break
        folds |= set(range(begin, end + 1))
    if not folds:
        msg = f"{given!r} is not a list of folds such as 0-4 or 0,2"
        raise UMambaError(msg)
    return tuple(sorted(folds))


def real(given: object) -> float:
    """Return a number; NaN for anything else."""
    try:
        return math.nan if isinstance(given, bool) else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def folder_or_file(given: str | os.PathLike[str]) -> Path:
    """Return a path, with `~` expanded to the user's home."""
    return Path(given).expanduser()


def file_or_auto(given: str | os.PathLike[str]) -> Path | str:
    """Return a path, or `auto`."""
    return "auto" if given == "auto" else folder_or_file(given)


def folders_or_files(given: Any) -> tuple[Path, ...]:
    """Return one or more paths, with `~` expanded to the user's home."""
    items = (given,) if isinstance(given, str | os.PathLike) else given
    return tuple(folder_or_file(item) for item in items)


def folder_elsewhere(given: str | os.PathLike[str]) -> str:
    """Return a folder of the machine that will use it, which replaces variables such as $TMPDIR."""
    path = Path(given).expanduser()
    return str(path if "$" in str(path) else path.absolute())


def text(given: object) -> str:
    """Return a name or number as text."""
    return str(given)


def texts(given: Any) -> tuple[str, ...]:
    """Return one or more names or numbers as texts."""
    items = (given,) if isinstance(given, str | int) else given
    return tuple(str(item) for item in items)


def _items(given: Any) -> Sequence[Any]:
    """Return the parts of a text that commas separate, what a list holds, or a value alone."""
    if isinstance(given, str):
        return given.split(",")
    return tuple(given) if isinstance(given, Iterable) else (given,)


def _whole(given: str | int) -> int | None:
    if isinstance(given, str):
        return whole_number(given)
    try:
        number = index(given)  # NumPy's integers, too
    except TypeError:
        return None
    return None if isinstance(given, bool) or number < 0 else number


def _no_model(name: str) -> str:
    return unknown_name("model", name, registry.names(), "`umamba models` lists all")
