"""Evaluating is done once, by jobs; what they keep is collected, and trusted if it is whole."""

import os
import signal
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from faked_trainings import FakeExecutor, InlineProcess, write_dataset
from umamba.comparison.rows import Cost
from umamba.comparison.runs import cells, collecting, opening
from umamba.comparison.runs.budget import Budget
from umamba.comparison.runs.collecting import Collector, Outcome
from umamba.comparison.runs.engine import run_comparison
from umamba.comparison.runs.opening import open_comparison
from umamba.comparison.runs.planning import ComparisonRequest
from umamba.comparison.runs.state import Comparison
from umamba.errors import ResumableInterruptError, UMambaError
from umamba.executors.jobs import Event, Job
from umamba.nnunet.paths import Paths
from umamba.system.interruption import StopRequest

pytestmark = pytest.mark.usefixtures("unchecked")  # other files test the statistics


@pytest.fixture(autouse=True)
def known_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    use_known_costs(monkeypatch)


def use_known_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {model: Cost(10, 20, 30, None, 36.0, 2.0) for model in ("nnunet", "unetpp")}
    monkeypatch.setattr(opening, "measure_costs", lambda *_: costs)
    monkeypatch.setattr(collecting, "write_report", lambda *_: None)


def hurry(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let time pass so many times as fast."""
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: times * now())


def opened(root: Path) -> tuple[Comparison, Paths]:
    paths = write_dataset(root) if not (root / "preprocessed").exists() else _paths(root)
    budget = Budget("epochs", 3.0)
    request = ComparisonRequest("901", ("nnunet", "unetpp"), (0, 1), (0,), budget, root / "out")
    return open_comparison(request, paths, dry=False), paths


def _paths(root: Path) -> Paths:
    return Paths(preprocessed=root / "preprocessed", results=root / "results")


def compared(root: Path) -> list[str]:
    comparison, paths = opened(root)
    executor = FakeExecutor(paths)
    run_comparison(comparison, executor, lambda *_: None, Collector(make=InlineProcess))
    return [job.name for job in executor.jobs]


def wait(collector: Collector) -> None:
    deadline = time.monotonic() + 120
    while collector.is_busy:
        assert time.monotonic() < deadline
        collector.poll()
        time.sleep(0.02)


def refuse(text: str) -> None:
    raise UMambaError(text)


def end_by(number: int) -> None:
    os.kill(os.getpid(), number)


def test_tasks_run_elsewhere_and_one_that_is_killed_takes_no_other_along() -> None:
    outcomes: list[Outcome] = []
    collector = Collector()
    collector.submit(outcomes.append, os.getpid)
    collector.submit(outcomes.append, refuse, "no such mask")
    collector.submit(outcomes.append, end_by, signal.SIGKILL)
    collector.submit(outcomes.append, os.getpid)
    wait(collector)
    first, refused, killed, last = outcomes
    collector.close()
    assert len({os.getpid(), first.value, last.value}) == 3
    assert str(refused.error) == "no such mask"
    assert "ended early (exit code -9" in str(killed.error)
    with pytest.raises(ProcessLookupError):
        os.kill(last.value, 0)


class StoppingExecutor(FakeExecutor):
    """Ask to stop when all jobs have ended."""

    def run(self, jobs: Sequence[Job], stop: StopRequest) -> Generator[Event, None, None]:
        yield from super().run(jobs, stop)
        (self.paths.require("results").parent / "out" / "stop").touch()


class StuckProcess(InlineProcess):
    """Never end a task."""

    def ended(self) -> Outcome | None:
        return None


def test_a_stop_does_not_wait_for_long_for_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, 100)
    comparison, paths = opened(tmp_path)
    executor, collector = StoppingExecutor(paths), Collector(make=StuckProcess)
    with pytest.raises(ResumableInterruptError, match="run the same command again to continue"):
        run_comparison(comparison, executor, lambda *_: None, collector)
    assert {state.status for state in comparison.states.values()} == {"done"}
    assert not (tmp_path / "out" / "stop").exists()
    assert compared(tmp_path) == []  # what is done is not done again


def test_the_work_for_each_training_does_not_grow_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, int] = {}

    def counted(room: Any, name: str) -> Any:
        function = getattr(room, name)

        def count(*arguments: Any) -> Any:
            calls[name] = calls.get(name, 0) + 1
            return function(*arguments)

        return count

    places = {"evaluate_predictions": cells, "build_results": collecting}
    places |= {"write_results": collecting, "analyse": collecting}
    for name, room in places.items():
        monkeypatch.setattr(room, name, counted(room, name))
    assert len(compared(tmp_path)) == 4
    whole = {"build_results": 1, "write_results": 1, "analyse": 1}
    assert calls == {"evaluate_predictions": 4, **whole}


def test_results_are_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, 10**6)
    comparison, paths = opened(tmp_path)
    seen = []

    def listen(_: Comparison, event: Event | None) -> None:
        if event is not None and event.kind == "started":
            seen.append((tmp_path / "out" / "results.json").exists())

    run_comparison(comparison, FakeExecutor(paths), listen, Collector(make=InlineProcess))
    assert seen[0] is False
    assert seen[-1] is True


@pytest.mark.parametrize("at", [0, -20, None], ids=["head", "details", "cut off"])
def test_what_was_kept_and_is_damaged_is_evaluated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int | None
) -> None:
    compared(tmp_path)
    results = (tmp_path / "out" / "results.json").read_text()
    cache = tmp_path / "out" / "cells" / "unetpp_fold1_seed0.json"
    content = bytearray(cache.read_bytes())
    if at is None:
        content = content[: len(content) // 2]
    else:
        content[at] ^= 1
    cache.write_bytes(content)
    evaluated = []
    evaluate = cells.evaluate_predictions

    def note(predictions: Path, *rest: Any) -> Any:
        evaluated.append(predictions.parent.parent.name)
        return evaluate(predictions, *rest)

    monkeypatch.setattr(cells, "evaluate_predictions", note)
    assert compared(tmp_path) == []
    assert len(evaluated) == 1
    assert "UNetPlusPlus" in evaluated[0]
    assert (tmp_path / "out" / "results.json").read_text() == results
