"""Let mishaps meet something before chosen steps on the file system."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

_STEPS = (
    *("os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.scandir", "os.utime"),
    *("open", "shutil.rmtree", "os.truncate"),
)


class Steps:
    """Counts steps on the file system, and does what is to happen before some of them."""

    current: "Steps | None" = None

    def __init__(self, mishaps: Mapping[int, Callable[[], None]], below: str = "") -> None:
        self.mishaps = mishaps
        self.below = below
        self.count = 0

    def note(self, event: str, arguments: tuple[object, ...]) -> None:
        """Note an event of the interpreter."""
        is_path = event in _STEPS and isinstance(arguments[0], (str, os.PathLike))
        if is_path and os.fspath(arguments[0]).startswith(self.below):
            mishap = self.mishaps.get(self.count, int)
            self.count += 1
            Steps.current = None  # what a mishap does is no step
            mishap()
            Steps.current = self


@contextmanager
def meeting(mishaps: Mapping[int, Callable[[], None]], below: str = "") -> Iterator[Steps]:
    """Let mishaps come before the steps of these numbers; the count may be set anew.

    Only steps on paths that begin with `below` are counted.
    """
    _listen()
    steps = Steps.current = Steps(mishaps, below)
    try:
        yield steps
    finally:
        Steps.current = None


@cache
def _listen() -> None:
    """Hear of every event from now on, which cannot be undone."""

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if Steps.current is not None:
            Steps.current.note(event, arguments)

    sys.addaudithook(note)


def kill() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def forked(work: Callable[[], object]) -> int:
    """Return how a child process ended: 0, 1 after an exception, or minus the signal's number."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    os._exit(code)
