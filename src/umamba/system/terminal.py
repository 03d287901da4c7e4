"""Filter output to the terminal: names from files cannot move the cursor, add colour or lines."""

import io
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from umamba.system.shared_contexts import shared_by_threads

__all__ = [
    "filter_streams",
    "filtered_streams",
    "hidden_stdout",
    "one_line",
    "talk_to_stderr",
    "write_control",
]

_KEPT = "\n\t"


def one_line(text: object) -> str:
    """Return text for a message: on one line, with everything invisible escaped."""
    return _escaped(str(text), "")


def _escaped(text: str, keep: str) -> str:
    """Escape control and format characters, line separators, and halves of surrogate pairs.

    Format characters reverse the direction of text, or are invisible. Spaces of any kind stay.
    """
    if text.isprintable():
        return text
    return "".join(
        c
        if c.isprintable() or c in keep or unicodedata.category(c) == "Zs"
        else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def write_control(text: str) -> None:
    """Write text that moves the cursor to stderr; the text must be our own."""
    stream = sys.stderr
    if isinstance(stream, _FilteredStream):
        stream = stream.unfiltered
    stream.write(text)


def filter_streams() -> None:
    """Let only text through stdout and stderr from now on, whoever writes."""
    _open_standard_descriptors()
    # Either is missing where its descriptor was closed.
    sys.stdout, sys.stderr = (
        _filtered(stream or _Nowhere()) for stream in (sys.stdout, sys.stderr)
    )


def _open_standard_descriptors() -> None:
    """Open closed standard descriptors to nowhere: a file opened later would take their number.

    Libraries would write their messages into that file.
    """
    opened = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    while opened < 3:
        os.set_inheritable(opened, True)  # noqa: FBT003 - takes no keyword
        opened = os.open(os.devnull, os.O_RDWR)
    os.close(opened)


@contextmanager
def filtered_streams() -> Iterator[None]:
    """Let only text through stdout and stderr during the block."""
    before = sys.stdout, sys.stderr
    filter_streams()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _filtered(stream: Any) -> Any:
    return stream if isinstance(stream, _FilteredStream) else _FilteredStream(stream)


class _Nowhere(io.StringIO):
    """A stream that drops what is written to it, for a stream that was closed."""

    def write(self, text: str) -> int:
        return len(text)


class _FilteredStream:
    """A text stream that escapes what is not text, and what its encoding lacks.

    Args:
        stream: The stream that the text goes to.

    Attributes:
        failed: Whether something could not be written.
    """

    def __init__(self, stream: Any) -> None:
        self.unfiltered = stream
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unfiltered, name)

    def write(self, text: str) -> int:
        # tqdm begins every drawing of a bar by going back to the beginning of the line.
        begins = "\r" if text.startswith("\r") and self._shows_bar() else ""
        if self._moves_between_bars(text):
            begins = text
        escaped = _escaped(text.removeprefix(begins), _KEPT)
        encoding = getattr(self.unfiltered, "encoding", None) or "utf-8"
        encodable = escaped.encode(encoding, "backslashreplace").decode(encoding)
        self._call(self.unfiltered.write, begins + encodable)
        return len(text)

    def flush(self) -> None:
        self._call(self.unfiltered.flush)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Remember whether any text was lost: another attempt may find nothing left to write."""
        try:
            function(*arguments)
        except OSError:
            self.failed = True
            raise

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def _shows_bar(self) -> bool:
        """Return whether a bar is being shown here; without one, nobody may move the cursor."""
        tqdm = sys.modules.get("tqdm.std")
        shown: bool = tqdm is not None and bool(getattr(tqdm.tqdm, "_instances", ()))
        return shown and bool(self.unfiltered.isatty())

    def _moves_between_bars(self, text: str) -> bool:
        ups = text.lstrip("\n")
        return bool(ups) and not ups.replace("\x1b[A", "") and self._shows_bar()


@shared_by_threads
@contextmanager
def talk_to_stderr() -> Iterator[None]:
    """Send what nnU-Net prints to stderr; stdout is for results."""
    with redirect_stdout(sys.stderr):
        yield


@shared_by_threads
@contextmanager
def hidden_stdout() -> Iterator[None]:
    """Drop what is printed; threads that overlap use it inside `talk_to_stderr`."""
    with redirect_stdout(io.StringIO()):
        yield


def ask_on_terminal(question: str) -> str:
    """Return the line that the user answers to a question; "" if there is none."""
    sys.stderr.write(question)
    sys.stderr.flush()
    try:
        return sys.stdin.readline().strip()
    except (OSError, ValueError):
        return ""
