"""Writing of results, in a process of its own."""

import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from umamba.comparison.report.writing import write_report
from umamba.comparison.results import Results
from umamba.comparison.runs.building import build_results, write_results
from umamba.comparison.runs.state import Comparison
from umamba.comparison.statistics.analysis import analyse
from umamba.errors import UMambaError
from umamba.system.fencing import Token, adopt_claims, held_claims
from umamba.system.interruption import run_again
from umamba.system.processes import become_worker

__all__ = [
    "Collector",
    "Outcome",
    "Process",
    "SpawnedProcess",
    "publish",
    "publish_interim",
]


def publish(comparison: Comparison, manifest: Mapping[str, Any]) -> Results:
    """Write results with statistics, figures and summary, and return them.

    Raises:
        UMambaError: If a file cannot be read or written.
    """
    output = comparison.request.output
    results = analyse(build_results(comparison))
    write_results(output, results, manifest)
    write_report(output, comparison.paths, results)
    return results


def publish_interim(comparison: Comparison, manifest: Mapping[str, Any]) -> None:
    """Write results without statistics, figures and summary, which take time.

    Raises:
        UMambaError: If a file cannot be read or written.
    """
    write_results(comparison.request.output, build_results(comparison), manifest)


class Outcome(NamedTuple):
    """The outcome of a task: a value, or the reason why there is none."""

    value: Any = None
    error: UMambaError | None = None


class Process(Protocol):
    """A process that does one task at a time."""

    def begin(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Begin a task; the previous one must have ended."""

    def ended(self) -> Outcome | None:
        """Return the outcome of the task once it has ended, or else `None`."""

    def is_alive(self) -> bool:
        """Return whether it can take another task."""

    def kill(self) -> None:
        """End the process, whatever it is doing."""


class SpawnedProcess:
    """A process that does one task after another and ends with its parent.

    Signals to the process group do not reach it: its parent decides when it ends.
    """

    def __init__(self) -> None:
        context = get_context("spawn")  # threads of torch do not survive a fork
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, held_claims()), daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Begin a task; the previous one must have ended."""
        try:
            self._connection.send((function, arguments))
        except BrokenPipeError:
            self._process.join()  # `ended` says so

    def ended(self) -> Outcome | None:
        """Return the outcome of the task once it has ended, or else `None`."""
        try:
            outcome: Outcome | None = self._connection.recv() if self._connection.poll() else None
        except (EOFError, OSError):
            self._process.join()
            msg = (
                f"the process that writes results ended early (exit code {self._process.exitcode}; "
                f"-9 means that memory probably ran out); {run_again('try once more')}"
            )
            return Outcome(error=UMambaError(msg))
        return outcome

    def is_alive(self) -> bool:
        """Return whether it can take another task."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End the process, whatever it is doing; files are complete at any moment."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(connection: Connection, claims: Mapping[Path, Token]) -> None:
    adopt_claims(claims)
    if hasattr(os, "setsid"):
        os.setsid()
    become_worker()
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            outcome = Outcome(function(*arguments))
        except UMambaError as error:
            outcome = Outcome(error=UMambaError(str(error)))
        except MemoryError:
            outcome = Outcome(error=UMambaError("memory ran out while results were written"))
        connection.send(outcome)


@dataclass
class Collector:
    """A queue that does one task after another, without waiting for any.

    Args:
        make: Makes the process that does them, and another one after its death.
    """

    make: Callable[[], Process] = SpawnedProcess
    _waiting: deque[tuple[Callable[[Outcome], None], Callable[..., Any], tuple[Any, ...]]] = field(
        default_factory=deque, init=False
    )
    _process: Process | None = field(default=None, init=False)
    _then: Callable[[Outcome], None] | None = field(default=None, init=False)

    def submit(
        self, then: Callable[[Outcome], None], function: Callable[..., Any], *arguments: Any
    ) -> None:
        """Add a task; `poll` begins it, and calls `then` with its outcome."""
        self._waiting.append((then, function, arguments))

    @property
    def is_busy(self) -> bool:
        """Return whether any task is left."""
        return bool(self._waiting or self._then)

    def poll(self) -> None:
        """Collect the outcome of a task that has ended, and begin the next one."""
        outcome = self._process.ended() if self._process and self._then else None
        if outcome is not None and self._then is not None:
            then, self._then = self._then, None
            then(outcome)
        if self._waiting and self._then is None:
            if self._process is None or not self._process.is_alive():
                self.close()
                self._process = self.make()
            self._then, function, arguments = self._waiting.popleft()
            self._process.begin(function, arguments)

    def drop(self) -> None:
        """Abandon running and waiting tasks."""
        self._waiting.clear()
        if self._then is not None:
            self._then = None
            self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
        self._process = self._then = None
