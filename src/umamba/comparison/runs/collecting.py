"""Evaluation of finished trainings and writing of results, in processes of their own."""

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
from umamba.comparison.rows import Training
from umamba.comparison.runs.budget import Length
from umamba.comparison.runs.building import build_results, write_results
from umamba.comparison.runs.evaluated import evaluate_predictions
from umamba.comparison.runs.finished import Finished, read_finished, recall_finished
from umamba.comparison.runs.state import Comparison
from umamba.comparison.runs.training_states import TrainingState, inspect_training
from umamba.comparison.statistics.analysis import analyse
from umamba.errors import UMambaError
from umamba.evaluation.cases import Labels
from umamba.evaluation.settings import EvaluationSettings
from umamba.system.processes import become_worker

__all__ = [
    "Collector",
    "EvaluationTask",
    "Outcome",
    "Process",
    "SpawnedProcess",
    "TrainingTask",
    "conclude",
    "evaluate_training",
    "publish",
    "publish_interim",
]


@dataclass(frozen=True)
class EvaluationTask:
    """A finished training to evaluate.

    Attributes:
        folder: The folder of the fold.
        cache: File for the result.
        references: Folder of the reference masks.
        cases: The validation cases.
        file_ending: File ending of all masks.
        labels: Labels and regions.
        settings: Settings that the numbers depend on.
        evaluated_as: Everything except the predictions that the evaluation depends on.
    """

    folder: Path
    cache: Path
    references: Path
    cases: frozenset[str]
    file_ending: str
    labels: Labels
    settings: EvaluationSettings
    evaluated_as: Mapping[str, Any]


@dataclass(frozen=True)
class TrainingTask:
    """A training that has ended, successfully or not."""

    training: Training
    length: Length
    evaluation: EvaluationTask


def conclude(task: TrainingTask) -> tuple[TrainingState, Finished | None]:
    """Determine the outcome of a training, and evaluate it if it is done.

    Raises:
        UMambaError: If its folder holds another training, or a file cannot be read or written.
    """
    todo = task.evaluation
    state = inspect_training(todo.folder, task.training, task.length, todo.cases, todo.file_ending)
    return state, evaluate_training(todo) if state.status == "done" else None


def evaluate_training(task: EvaluationTask) -> Finished:
    """Evaluate a training, unless that was done before.

    Raises:
        UMambaError: If a file cannot be read or written.
    """
    known = recall_finished(task.folder, task.cache, task.evaluated_as)
    if known is not None:
        return known

    def evaluate(predictions: Path) -> dict[str, list[dict[str, Any]]]:
        return evaluate_predictions(
            predictions, task.references, task.cases, task.file_ending, task.labels, task.settings
        )

    return read_finished(task.folder, task.cache, task.evaluated_as, evaluate)


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
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
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
                f"its evaluation ended without a result (exit code {self._process.exitcode}; -9 "
                "means that memory probably ran out); run the same command to try again"
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


def _serve(connection: Connection) -> None:
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
            outcome = Outcome(error=UMambaError("memory ran out during its evaluation"))
        connection.send(outcome)


@dataclass
class Collector:
    """A queue that does tasks in order, a few at a time, without waiting for any.

    Args:
        n_processes: Number of tasks at a time.
        make: Makes a process.
    """

    n_processes: int = 1
    make: Callable[[], Process] = SpawnedProcess
    _waiting: deque[tuple[Callable[[Outcome], None], Callable[..., Any], tuple[Any, ...]]] = field(
        default_factory=deque, init=False
    )
    _idle: list[Process] = field(default_factory=list, init=False)
    _busy: list[tuple[Process, Callable[[Outcome], None]]] = field(default_factory=list, init=False)

    def submit(
        self, then: Callable[[Outcome], None], function: Callable[..., Any], *arguments: Any
    ) -> None:
        """Add a task; `poll` begins it, and calls `then` with its outcome."""
        self._waiting.append((then, function, arguments))

    @property
    def is_busy(self) -> bool:
        """Return whether any task is left."""
        return bool(self._waiting or self._busy)

    def poll(self) -> None:
        """Collect tasks that have ended, and begin waiting ones."""
        for process, then in list(self._busy):
            outcome = process.ended()
            if outcome is not None:
                self._busy.remove((process, then))
                if process.is_alive():
                    self._idle.append(process)
                else:
                    process.kill()
                then(outcome)
        while self._waiting and len(self._busy) < self.n_processes:
            then, function, arguments = self._waiting.popleft()
            process = self._idle.pop() if self._idle else self.make()
            self._busy.append((process, then))
            process.begin(function, arguments)

    def drop(self) -> None:
        """Abandon running and waiting tasks."""
        self._waiting.clear()
        for process, _ in self._busy:
            process.kill()
        self._busy.clear()

    def close(self) -> None:
        """End all processes."""
        self.drop()
        for process in self._idle:
            process.kill()
        self._idle.clear()
