"""The engine of `umamba compare`: train, evaluate and compare."""

import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from umamba.comparison.results import Results
from umamba.comparison.rows import Training
from umamba.comparison.runs.collecting import (
    Collector,
    EvaluationTask,
    Outcome,
    TrainingTask,
    conclude,
    evaluate_training,
    publish,
    publish_interim,
)
from umamba.comparison.runs.executor import Event, Executor, Job
from umamba.comparison.runs.existing import StockTraining, find_stock_trainings
from umamba.comparison.runs.opening import comparing
from umamba.comparison.runs.provenance import describe_run
from umamba.comparison.runs.state import Comparison
from umamba.comparison.runs.training_states import TrainingState
from umamba.errors import ResumableInterruptError, UMambaError
from umamba.system.atomic_files import make_folder, write_whole
from umamba.system.interruption import StopRequest

__all__ = ["Listener", "run_comparison"]

# Called at the beginning and on every event; for the end of a job, once the outcome of its training
# is known.
Listener = Callable[[Comparison, Event | None], None]

_LONGEST_REASON = 500
_INTERRUPTED = (ResumableInterruptError.EXIT_CODE, 130)
_POLL_SECONDS = 0.1
_LAST_SECONDS = 10.0  # seconds for the results after a stop, as schedulers do not wait much longer
_SECONDS_BETWEEN_RESULTS = 60.0
_LEAST_PAUSE = 20.0  # between two writings of results, in units of the last one's time


def run_comparison(
    comparison: Comparison,
    executor: Executor,
    listener: Listener,
    collector: Collector | None = None,
) -> Results:
    """Run missing trainings, evaluate them, and write results, figures and summary.

    This process only schedules: other processes evaluate trainings and write results.

    Args:
        comparison: A result of `open_comparison`, not of a dry run.
        executor: Runs the trainings.
        listener: Called on every event.
        collector: Evaluates, and writes results.

    Returns:
        The results, as in `results.json`.

    Raises:
        ResumableInterruptError: If it was interrupted; the same call continues.
        UMambaError: If results cannot be written.
    """
    with comparing(comparison.request.output) as stop:
        run = _Run(comparison, listener, collector or Collector(), stop)
        with closing(run.collector):
            run.begin()
            with stop.deferred():
                try:
                    run.train(executor)
                except KeyboardInterrupt:  # a second interrupt
                    run.interrupted = True
                return run.finish()


class _Run:
    """A comparison that is running."""

    def __init__(
        self, comparison: Comparison, listener: Listener, collector: Collector, stop: StopRequest
    ) -> None:
        self.comparison, self.listener = comparison, listener
        self.collector, self.stop = collector, stop
        self.interrupted = False
        self._manifest = describe_run(comparison)
        self._published_at, self._pause = time.monotonic(), _SECONDS_BETWEEN_RESULTS

    def begin(self) -> None:
        """Start the evaluation of finished trainings and of those of stock nnU-Net."""
        comparison = self.comparison
        for training, state in comparison.states.items():
            if state.status == "done" and training not in comparison.finished:
                self._conclude(training, None)
        for stock in find_stock_trainings(
            comparison.planned, comparison.lengths, comparison.cases, comparison.paths
        ):
            task = _evaluation(comparison, stock, stock.folder)
            self.collector.submit(partial(self._take_in, stock), evaluate_training, task)
        self.listener(comparison, None)

    def train(self, executor: Executor) -> None:
        """Run the jobs, and collect their outcomes."""
        comparison = self.comparison
        jobs = {
            _job(comparison, training): training
            for training in comparison.asked
            if comparison.states[training].status != "done"
        }
        with closing(executor.run(list(jobs), self.stop)) as events:
            for event in events:
                self._take_note(jobs[event.job], event)
                self.collector.poll()
                self._publish_now_and_then()
        while self.collector.is_busy and self.stop.reason() is None:
            self.collector.poll()
            time.sleep(_POLL_SECONDS)

    def finish(self) -> Results:
        """Write the results so far, and return them.

        Raises:
            KeyboardInterrupt: If work is left because a stop was requested.
            UMambaError: If results cannot be written.
        """
        comparison = self.comparison
        self.collector.drop()  # nothing is left, unless a stop was requested
        for training, state in comparison.states.items():
            unread = state.status == "done" and training not in comparison.finished
            if unread or state.status == "running":
                comparison.states[training] = TrainingState("interrupted")
        results = self._write()
        states = comparison.states.values()
        if results is None:
            sys.stderr.write("stopped before the figures and the summary were written\n")
            raise KeyboardInterrupt
        if self._is_stopped() or any(state.status == "interrupted" for state in states):
            raise KeyboardInterrupt
        return results

    def _is_stopped(self) -> bool:
        return self.interrupted or self.stop.reason() is not None

    def _write(self) -> Results | None:
        """Write the final results; after a stop, only if that takes little time."""
        outcomes: list[Outcome] = []
        self.collector.submit(outcomes.append, publish, self.comparison, self._manifest)
        limit = time.monotonic() + _LAST_SECONDS
        while not outcomes:
            if not self._is_stopped():
                limit = time.monotonic() + _LAST_SECONDS
            elif time.monotonic() > limit:
                return None
            self.collector.poll()
            time.sleep(_POLL_SECONDS)
        if outcomes[0].error is not None:
            raise outcomes[0].error
        results: Results = outcomes[0].value
        return results

    def _publish_now_and_then(self) -> None:
        """Write results without statistics, using at most a small share of the time."""
        if self.collector.is_busy or time.monotonic() - self._published_at < self._pause:
            return
        begun = time.monotonic()
        self._pause = float("inf")  # not before this time

        def note(outcome: Outcome) -> None:
            if outcome.error is not None:
                sys.stderr.write(f"{outcome.error}\n")
            self._published_at = time.monotonic()
            took = self._published_at - begun
            self._pause = max(_SECONDS_BETWEEN_RESULTS, _LEAST_PAUSE * took)

        self.collector.submit(note, publish_interim, _copy(self.comparison), self._manifest)

    def _take_in(self, training: StockTraining, outcome: Outcome) -> None:
        if outcome.error is not None:
            sys.stderr.write(f"not taken in: {outcome.error}\n")
            return
        self.comparison.stock[training] = outcome.value
        reason = self.comparison.why_not_compared(training)
        left_out = f", and not compared: it was {reason}" if reason else ""
        sys.stderr.write(f"taken in from nnU-Net: {training.folder}{left_out}\n")

    def _take_note(self, training: Training, event: Event) -> None:
        if event.kind == "started":
            self.comparison.failure(training).unlink(missing_ok=True)
            self.comparison.states[training] = TrainingState("running")
        if event.kind == "ended" and not self._is_stopped():
            self._conclude(training, event)  # and report then
            return
        if event.kind == "ended":
            self.comparison.states[training] = TrainingState("interrupted")
        self.listener(self.comparison, event)

    def _conclude(self, training: Training, event: Event | None) -> None:
        """Determine the outcome of a training."""
        comparison = self.comparison
        evaluation = _evaluation(comparison, training, comparison.folder(training))
        task = TrainingTask(training, comparison.lengths[training.model], evaluation)
        self.collector.submit(partial(self._concluded, training, event), conclude, task)

    def _concluded(self, training: Training, event: Event | None, outcome: Outcome) -> None:
        comparison = self.comparison
        if outcome.error is not None and self._is_stopped():
            comparison.states[training] = TrainingState("interrupted")
        elif outcome.error is not None:
            self._fail(training, str(outcome.error))
        else:
            state, finished = outcome.value
            comparison.states[training] = state
            if finished is not None:
                comparison.finished[training] = finished
            elif event is not None and event.exit_code not in _INTERRUPTED:
                self._fail(training, _why(event))
        if event is not None:
            self.listener(comparison, event)

    def _fail(self, training: Training, reason: str) -> None:
        self.comparison.states[training] = TrainingState("failed", reason=reason)
        file = self.comparison.failure(training)
        try:
            make_folder(file.parent)
            write_whole(file, reason)
        except UMambaError as error:  # running trainings are worth more
            sys.stderr.write(f"{error}\n")


def _copy(comparison: Comparison) -> Comparison:
    """Return the present state of a comparison."""
    states, finished = dict(comparison.states), dict(comparison.finished)
    return replace(comparison, states=states, finished=finished, stock=dict(comparison.stock))


def _job(comparison: Comparison, training: Training) -> Job:
    """Return the command that runs or continues a training."""
    request, source = comparison.request, comparison.planned.source
    plans_name, length = comparison.planned.plans_name(training), comparison.lengths[training.model]
    command = ["train", source.dataset, source.configuration, str(training.fold), "-p", plans_name]
    command += ["-device", request.device]
    option = comparison.states[training].option
    if option is None:
        command += ["--epochs", str(length.epochs), "--iterations", str(length.iterations)]
        command += ["--seed", str(training.seed)]
    else:
        command.append(option)
    if request.trust_plans:
        command.append("--trust-plans")
    for name, folder in vars(comparison.paths).items():
        if folder is not None:
            command += [f"--{name}", str(folder)]
    return Job(str(training), tuple(command), comparison.log(training))


def _evaluation(
    comparison: Comparison, training: Training | StockTraining, folder: Path
) -> EvaluationTask:
    source = comparison.planned.source
    return EvaluationTask(
        folder,
        comparison.cache(str(training)),
        comparison.references,
        comparison.cases[training.fold],
        source.file_ending,
        source.labels,
        comparison.request.evaluation,
        comparison.evaluated_as[training.fold],
    )


def _why(event: Event) -> str:
    """Return the last line of a training's output, or the signal that ended it."""
    code = event.exit_code or 0
    if code < 0:
        hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
        return f"ended by signal {-code}{hint}"
    try:
        lines = event.job.log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return said[-_LONGEST_REASON:] or f"exit code {code}"
