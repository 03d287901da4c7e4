"""Redirection of nnU-Net's output, and that of its worker processes, to a log file."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["quiet"]

_STDOUT, _STDERR = 1, 2


@contextlib.contextmanager
def quiet(log_file: Path, shown: str) -> Iterator[None]:
    """Send all output to a file, and some lines to stderr as well.

    Worker processes inherit the redirection.

    Args:
        log_file: The file; output is appended.
        shown: Beginnings of the lines to show.

    Yields:
        Nothing.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(log_file.open("a", encoding="utf-8", buffering=1))
        console = _outlive_redirection(sys.stderr, stack)
        for descriptor in (_STDOUT, _STDERR):
            saved = os.dup(descriptor)
            stack.callback(os.close, saved)
            stack.callback(os.dup2, saved, descriptor)
            os.dup2(file.fileno(), descriptor)
        stack.enter_context(contextlib.redirect_stdout(file))
        stack.enter_context(contextlib.redirect_stderr(_Tee(file, console, shown)))
        yield


def _outlive_redirection(stream: Any, stack: contextlib.ExitStack) -> Any:
    """Return a copy of a stream that keeps its target, even if the descriptor is redirected."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # the stream of a notebook or a test
        return stream
    copy = os.fdopen(os.dup(descriptor), "w", encoding="utf-8", buffering=1)
    return stack.enter_context(copy)


class _Tee(io.TextIOBase):
    """A stream that outlives its file, as log handlers that libraries create meanwhile hold it."""

    def __init__(self, file: Any, console: Any, shown: str) -> None:
        self._file = file
        self._console = console
        self._shown = shown
        self._line = ""

    def write(self, text: str) -> int:
        if self._file.closed:
            return len(text)
        self._file.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.startswith(self._shown):
                self._console.write(f"      {line}\n")
                self._console.flush()
        return len(text)

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()
