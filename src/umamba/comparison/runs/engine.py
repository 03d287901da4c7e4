"""The engine of `umamba compare`: have every cell done, collect, and write results."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace

from umamba.comparison.results import Results
from umamba.comparison.rows import Ensemble, Training
from umamba.comparison.runs.collecting import Collector, Outcome, publish, publish_interim
from umamba.comparison.runs.existing import StockTraining
from umamba.comparison.runs.external_tasks import external_task
from umamba.comparison.runs.finished import Finished
from umamba.comparison.runs.opening import comparing
from umamba.comparison.runs.preparing import (
    ensemble_jobs_of,
    evaluation_of,
    jobs_of,
    stock_trainings,
    write_cells,
)
from umamba.comparison.runs.provenance import describe_run
from umamba.comparison.runs.state import Comparison, Tester
from umamba.comparison.runs.training_states import TrainingState
from umamba.errors import UMambaError
from umamba.executors.jobs import Event, Executor, Job, why_it_failed
from umamba.system.atomic_files import make_folder, write_whole
from umamba.system.interruption import INTERRUPTED, StopRequest

__all__ = ["Listener", "run_comparison"]

# Called at the beginning and on every event; for the end of a job, once the outcome of its training
# is known.
Listener = Callable[[Comparison, Event | None], None]

_STATUSES = {"started": "running", "running": "running", "waiting": "pending"}
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
    """Have missing cells done, and write results, figures and summary.

    This process only schedules and collects: jobs train and evaluate, and another process writes
    results.

    Args:
        comparison: A result of `open_comparison`, not of a dry run.
        executor: Runs the cells.
        listener: Called on every event.
        collector: Writes results.

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
        """Take in the trainings of stock nnU-Net that are evaluated, and show where things are."""
        comparison = self.comparison
        for stock in stock_trainings(comparison):
            finished = evaluation_of(comparison, stock).recall()
            if finished is not None:
                self._take_in(stock, finished)
            task = external_task(comparison, stock)
            if task is not None and task.recall() is not None:
                comparison.tested.add(stock)
        self.listener(comparison, None)

    def train(self, executor: Executor) -> None:
        """Run the jobs, and collect their outcomes; ensembles need all trainings of a model."""
        self._have_done(executor, jobs_of(self.comparison))
        if not self._is_stopped():
            self._have_done(executor, ensemble_jobs_of(self.comparison))
        while self.collector.is_busy and self.stop.reason() is None:
            self.collector.poll()
            time.sleep(_POLL_SECONDS)

    def _have_done(self, executor: Executor, jobs: Mapping[Job, Tester]) -> None:
        write_cells(self.comparison, jobs.values())
        with closing(executor.run(list(jobs), self.stop)) as events:
            for event in events:
                self._take_note(jobs[event.job], event)
                self.collector.poll()
                self._publish_now_and_then()

    def finish(self) -> Results:
        """Write the results so far, and return them.

        Raises:
            KeyboardInterrupt: If work is left because a stop was requested.
            UMambaError: If results cannot be written.
        """
        comparison = self.comparison
        self.collector.drop()  # interim results, which final ones replace
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

    def _take_note(self, training: Tester, event: Event) -> None:
        if event.kind == "ended":
            self._conclude_test(training, event)
        if isinstance(training, Ensemble):
            return
        if isinstance(training, StockTraining):
            if event.kind == "ended":
                self._conclude_stock(training, event)
            return
        if event.kind == "started":
            self.comparison.failure(training).unlink(missing_ok=True)
        if event.kind == "ended":
            self._conclude(training, event)
        else:
            self.comparison.states[training] = TrainingState(_STATUSES[event.kind])
        self.listener(self.comparison, event)

    def _conclude(self, training: Training, event: Event) -> None:
        """Collect what a cell has left."""
        comparison = self.comparison
        finished = evaluation_of(comparison, training).recall()
        if finished is not None:
            comparison.finished[training] = finished
            comparison.states[training] = TrainingState("done")
        elif self._is_stopped() or event.exit_code in INTERRUPTED:
            comparison.states[training] = TrainingState("interrupted")
        else:
            self._fail(training, why_it_failed(event))

    def _conclude_test(self, tester: Tester, event: Event) -> None:
        """Note whether a training or an ensemble has predicted the test set."""
        task = external_task(self.comparison, tester)
        if task is None:
            return
        if task.recall() is not None:
            self.comparison.tested.add(tester)
            self.comparison.untested.pop(tester, None)
        elif event.exit_code in INTERRUPTED:
            self.interrupted = True
        elif not self._is_stopped():
            reason = why_it_failed(event)
            self.comparison.untested[tester] = reason
            sys.stderr.write(f"{tester} is not tested: {reason} (log in {event.job.log})\n")

    def _conclude_stock(self, training: StockTraining, event: Event) -> None:
        finished = evaluation_of(self.comparison, training).recall()
        if finished is not None:
            self._take_in(training, finished)
        elif not self._is_stopped():
            sys.stderr.write(f"not taken in: {why_it_failed(event)}\n")

    def _take_in(self, training: StockTraining, finished: Finished) -> None:
        self.comparison.stock[training] = finished
        reason = self.comparison.why_not_compared(training)
        left_out = f", and not compared: it was {reason}" if reason else ""
        sys.stderr.write(f"taken in from nnU-Net: {training.folder}{left_out}\n")

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
    return replace(
        comparison,
        states=dict(comparison.states),
        finished=dict(comparison.finished),
        stock=dict(comparison.stock),
        tested=set(comparison.tested),
        untested=dict(comparison.untested),
    )
