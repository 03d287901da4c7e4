"""Output that several commands share: results as JSON, and progress on a terminal."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["print_json", "print_line", "progress_bar"]


def print_json(content: Mapping[str, object]) -> None:
    """Write a result to stdout."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def print_line(content: Mapping[str, object]) -> None:
    """Write a result to stdout, on one line."""
    sys.stdout.write(json.dumps(content) + "\n")


def progress_bar(items: Sequence[Any], title: str) -> Iterable[Any]:
    """Iterate over cases, with a bar on stderr where that is a terminal."""
    from tqdm import tqdm

    bar: Iterable[Any] = tqdm(items, title, unit="case", disable=not sys.stderr.isatty())
    return bar
