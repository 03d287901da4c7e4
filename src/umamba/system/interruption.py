"""Stop work when asked to: by a signal, a stop file, or a limit of hours."""

import _thread
import os
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.util import get_temp_dir
from pathlib import Path

from umamba.errors import ResumableInterruptError, UMambaError
from umamba.system.processes import end_with_parent, kill_children

__all__ = [
    "EXIT_INTERRUPTED",
    "INTERRUPTED",
    "STOP_FILE",
    "StopRequest",
    "resumable",
    "run_again",
]

STOP_FILE = "stop"
EXIT_INTERRUPTED = 130  # with nothing to resume
INTERRUPTED = (ResumableInterruptError.EXIT_CODE, EXIT_INTERRUPTED)  # exit codes of both

# What users, terminals and schedulers send; Windows has neither SIGHUP nor SIGUSR1 nor timers.
_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
]

_LIMIT = "the limit of --hours"

# `timeout` and terminals send a signal more than once; a user who repeats Ctrl-C is slower.
_SECONDS_OF_ONE_REQUEST = 1.0

# A pool of processes that a signal has reached, too, may wait for a dead worker's lock forever.
_SECONDS_TO_UNWIND = 5.0

_listeners: "list[StopRequest]" = []  # the outermost first
_advices: list[tuple[Callable[[], str | None], bool]] = []  # the outermost first
_unwinding: list[float] = []  # when the interrupt was raised that is being unwound
_SECONDS_UNTIL_REPEATED = 0.05


class StopRequest:
    """A request to stop, which may come at any time, and its reason.

    While it listens, a signal interrupts immediately, as Ctrl-C does; inside `deferred` the first
    one is only noted, so that the work at hand can be finished and saved.

    Args:
        stop_file: A file that asks to stop as soon as it exists.
        hours: How long from now until a stop is requested; `None` means no limit.
        ends_process: Whether the process exists for this work only. If so, it ends some time
            after an interrupt, with its workers, even where they wait for each other.
        seconds_to_unwind: That time.
        until_exit: Whether nothing but the exit follows. If so, further signals are ignored after
            an interrupt: the process would die of them, and its exit code be lost.

    Raises:
        UMambaError: If `hours` is given on a system without timers.
    """

    def __init__(
        self,
        stop_file: Path | None = None,
        hours: float | None = None,
        *,
        ends_process: bool = False,
        seconds_to_unwind: float = _SECONDS_TO_UNWIND,
        until_exit: bool = False,
    ) -> None:
        if hours is not None and not hasattr(signal, "setitimer"):
            msg = "--hours needs timers, which this system does not have; leave --hours out"
            raise UMambaError(msg)
        self._stop_file = stop_file
        self._deadline = None if hours is None else time.monotonic() + hours * 3600
        self._ends_process = ends_process
        self._seconds_to_unwind = seconds_to_unwind
        self._until_exit = until_exit
        self._received: str | None = None
        self._received_at = 0.0
        self._deferred = False

    def reason(self) -> str | None:
        """Return the reason to stop, if a stop was requested."""
        if self._received is None and self._stop_file is not None and self._stop_file.exists():
            return f"the file {self._stop_file}"
        # Outside the main thread no timer interrupts.
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self.ask(_LIMIT)
        return self._received

    def honour(self) -> None:
        """Interrupt if a stop was requested; the stop file is removed then.

        Raises:
            KeyboardInterrupt: With the reason.
        """
        reason = self.reason()
        if reason is None:
            return
        if self._stop_file is not None:
            self._stop_file.unlink(missing_ok=True)
        _interrupt(reason)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to signals; outside the main thread, or when listening already, do nothing.

        A hang-up that was ignored before, as under `nohup`, stays ignored.
        """
        if self in _listeners or threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [number for number in _SIGNALS if not _is_unheard(number)]
        if self._deadline is not None:
            numbers.append(signal.SIGALRM)
        handler = _handler()
        earlier = {number: signal.signal(number, handler) for number in numbers}
        _listeners.append(self)
        hook = sys.unraisablehook
        sys.unraisablehook = _repeat_if_lost
        if self._deadline is not None:
            left = max(self._deadline - time.monotonic(), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left)
        try:
            yield
        finally:
            if self._deadline is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if _unwinding and self._ends_process:
                kill_children()
            for number, before in earlier.items():
                ignored = _unwinding and self._until_exit
                signal.signal(number, signal.SIG_IGN if ignored else before)
            sys.unraisablehook = hook
            _listeners.remove(self)
            if not _listeners:
                _unwinding.clear()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Note signals instead of interrupting; a Ctrl-C some time after the first interrupts."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def ask(self, reason: str) -> None:
        """Ask to stop at the next occasion; of several reasons the first counts."""
        if self._received is None:
            self._received, self._received_at = reason, time.monotonic()


def _is_unheard(number: int) -> bool:
    hang_up = getattr(signal, "SIGHUP", None)
    return number == hang_up and signal.getsignal(number) is signal.SIG_IGN


def _handler() -> "signal._HANDLER":
    own = os.getpid()

    def handle(number: int, _: object) -> None:
        if os.getpid() != own:
            _as_worker(number)
            return
        if number == getattr(signal, "SIGHUP", None):
            _leave_lost_terminal()
        if _unwinding:
            return
        first_at = min((r._received_at for r in _listeners if r._received), default=None)
        for request in _listeners:
            request.ask(_name(number))
        if any(request._deferred for request in _listeners):
            again = first_at is not None and number == signal.SIGINT
            if not again or time.monotonic() - (first_at or 0) < _SECONDS_OF_ONE_REQUEST:
                return
        _interrupt(_name(number))

    return handle


def _interrupt(reason: str) -> None:
    """Interrupt the main thread's work, which has to end within seconds.

    Raises:
        KeyboardInterrupt: With the reason.
    """
    if _listeners and not _unwinding:
        _unwinding.append(time.monotonic())
        left = min((r._seconds_to_unwind for r in _listeners if r._ends_process), default=None)
        if left is not None:
            # Not a `threading.Thread`, whose locks the interrupted code may hold.
            _thread.start_new_thread(_end_if_late, (reason, _unwinding[0], left))
    raise KeyboardInterrupt(reason)


def _repeat_if_lost(lost: "sys.UnraisableHookArgs") -> None:
    """Interrupt again if an interrupt fell into a place that no error leaves, such as `__del__`."""
    if not (isinstance(lost.exc_value, KeyboardInterrupt) and _unwinding):
        sys.__unraisablehook__(lost)
        return
    # From another thread, because what is raised here would be lost as well.
    _thread.start_new_thread(_repeat, (getattr(signal, str(lost.exc_value), signal.SIGINT),))


def _repeat(number: int) -> None:
    time.sleep(_SECONDS_UNTIL_REPEATED)
    if not _listeners:  # the work has ended meanwhile, and the process would die of the signal
        return
    _unwinding.clear()
    if os.name == "nt":  # where `os.kill` ends the process
        _thread.interrupt_main(signal.Signals(number))
    else:
        os.kill(os.getpid(), number)


def _end_if_late(reason: str, began: float, seconds: float) -> None:
    time.sleep(seconds)
    if _unwinding != [began]:
        return
    advice = _advice()
    message = _message(reason, advice)
    with suppress(OSError, ValueError):
        sys.stderr.write(f"\numamba: {message}\n")
        sys.stderr.flush()
    kill_children()
    shutil.rmtree(
        get_temp_dir(), ignore_errors=True
    )  # of multiprocessing, which removes it at exit
    os._exit(EXIT_INTERRUPTED if advice is None else ResumableInterruptError.EXIT_CODE)


def _as_worker(number: int) -> None:
    """Take a signal in a process forked meanwhile, which works until its parent ends it.

    Ctrl-C and schedulers signal all processes, but the work at hand needs this one.
    """
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _become_worker() -> None:
    """End with the parent, and leave SIGTERM, which a pool sends only once, to the system.

    Python's own handlers run too late if the signal comes just before a lock is waited for.
    """
    if _listeners:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        end_with_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_become_worker)


def _leave_lost_terminal() -> None:
    """Write nothing more to a terminal that has hung up, because that would fail."""
    for descriptor in (1, 2):
        with suppress(OSError):
            is_device = stat.S_ISCHR(os.fstat(descriptor).st_mode)
            if is_device and not os.isatty(descriptor):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, descriptor)
                os.close(nothing)


def _name(number: int) -> str:
    if hasattr(signal, "SIGALRM") and number == signal.SIGALRM:
        return _LIMIT
    return signal.Signals(number).name


@contextmanager
def resumable(advice: Callable[[], str | None], *, as_a_whole: bool = False) -> Iterator[None]:
    """Turn an interrupt into one that names how to go on.

    Args:
        advice: Returns what to do to go on; `None` if there is nothing to resume, which is
            then left to an outer context.
        as_a_whole: Whether this holds for all that is inside, whatever inner contexts advise.

    Raises:
        ResumableInterruptError: If work was interrupted that can be continued.
        KeyboardInterrupt: If there is nothing to continue.
    """
    if any(whole for _, whole in _advices):
        yield
        return
    _advices.append((advice, as_a_whole))
    try:
        yield
    except KeyboardInterrupt as interrupt:
        how = advice()
        if how is None:
            raise
        noted = next((r._received for r in _listeners if r._received), None)  # others raise anew
        raise ResumableInterruptError(_message(str(interrupt) or noted or "", how)) from None
    finally:
        _advices.pop()


def run_again(purpose: str) -> str:
    """Return the advice to repeat a command: "run the same command again to ..."."""
    return f"run the same command again to {purpose}"


def _advice() -> str | None:
    found = (advice() for advice, _ in reversed(_advices))
    return next((how for how in found if how is not None), None)


def _message(reason: str, advice: str | None) -> str:
    by = f" by {reason}" if reason else ""
    return f"interrupted{by}" + (f"; {advice}" if advice else "")
