"""Stop a training when asked to: by a signal, a stop file, or a limit of hours."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from umamba.errors import ResumableInterruptError, UMambaError

__all__ = ["STOP_FILE", "StopRequest", "resumable"]

STOP_FILE = "stop"

# What users and schedulers send; Windows has neither SIGUSR1 nor timers.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
]


class StopRequest:
    """Whether to stop, and why.

    While it listens, a signal interrupts at once, as Ctrl-C does; inside `deferred` the first one
    is only noted, so that the work at hand can be finished and saved.

    Args:
        stop_file: A file whose appearance asks to stop.
        hours: How long from now until a stop is asked for; `None` is without limit.

    Raises:
        UMambaError: If hours cannot be counted here.
    """

    def __init__(self, stop_file: Path | None = None, hours: float | None = None) -> None:
        if hours is not None and not hasattr(signal, "setitimer"):
            msg = "--hours needs a system with timers, and this one has none; leave it out"
            raise UMambaError(msg)
        self._stop_file = stop_file
        self._deadline = None if hours is None else time.monotonic() + hours * 3600
        self._received: str | None = None
        self._deferred = False
        self._listening = False

    def reason(self) -> str | None:
        """Return why to stop, if a stop was asked for."""
        if self._received is None and self._stop_file is not None and self._stop_file.exists():
            return f"the file {self._stop_file}"
        return self._received

    def honour(self) -> None:
        """Interrupt if a stop was asked for; a stop file has then served.

        Raises:
            KeyboardInterrupt: With the reason.
        """
        reason = self.reason()
        if reason is None:
            return
        if self._stop_file is not None:
            self._stop_file.unlink(missing_ok=True)
        raise KeyboardInterrupt(reason)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to signals; outside the main thread, or when listening already, do nothing."""
        if self._listening or threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = list(_SIGNALS)
        if self._deadline is not None:
            numbers.append(signal.SIGALRM)
        handler = self._handler()
        earlier = {number: signal.signal(number, handler) for number in numbers}
        self._listening = True
        if self._deadline is not None:
            left = max(self._deadline - time.monotonic(), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left)
        try:
            yield
        finally:
            if self._deadline is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
            self._listening = False
            for number, before in earlier.items():
                signal.signal(number, before)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Note signals instead of interrupting; a Ctrl-C after the first signal interrupts."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _handler(self) -> "signal._HANDLER":
        own = os.getpid()

        def handle(number: int, _: object) -> None:
            if os.getpid() != own:
                _as_worker(number)
                return
            repeated = self._received is not None and number == signal.SIGINT
            self._received = _name(number)
            if repeated or not self._deferred:
                raise KeyboardInterrupt(self._received)

        return handle


def _as_worker(number: int) -> None:
    """Take a signal in a process forked meanwhile: it makes batches until its parent ends it.

    Ctrl-C and schedulers signal all processes, but the iteration at hand needs its batch.
    """
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _name(number: int) -> str:
    if hasattr(signal, "SIGALRM") and number == signal.SIGALRM:
        return "the limit of --hours"
    return signal.Signals(number).name


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Turn an interrupt into one that names how to go on, where there is a checkpoint.

    Args:
        folder: The folder of the fold.

    Raises:
        ResumableInterruptError: If work was interrupted that can be continued.
        KeyboardInterrupt: If there is nothing to continue.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not any(folder.glob("checkpoint_*.pth")):
            raise
        by = f" by {interrupt}" if str(interrupt) else ""
        msg = f"interrupted{by}; --resume (or --c) continues from {folder}"
        raise ResumableInterruptError(msg) from None
