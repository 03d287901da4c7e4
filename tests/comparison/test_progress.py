"""A live table on a terminal, a line per event elsewhere."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from umamba.comparison.rows import Cost, Training
from umamba.comparison.runs.budget import Budget
from umamba.comparison.runs.planning import Asked, ComparisonRequest, Planned, Source
from umamba.comparison.runs.progress import ComparisonProgress, format_hours
from umamba.comparison.runs.state import Comparison
from umamba.comparison.runs.training_states import TrainingState
from umamba.executors.jobs import Event, Job
from umamba.nnunet.paths import Paths

EPOCH = "epoch 3/9  train loss 0.5000  val loss 0.4000  pseudo Dice 0.500 0.400  100 s"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def comparison_in(folder: Path) -> Comparison:
    models = ("nnunet", "unetpp")
    request = ComparisonRequest("901", models, (0,), (0,), Budget("epochs", 9.0), folder)
    source = Source("Dataset901_Toy", "2d", {}, {}, {"all": 1}, None)
    comparison = Comparison(request, Paths(), Planned(source, models, {}), {})
    comparison.costs = dict.fromkeys(models, Cost(1, 1, 1))
    comparison.states = {
        Training("nnunet", 0, 0): TrainingState("running"),
        Training("unetpp", 0, 0): TrainingState("failed", reason="no luck"),
    }
    return comparison


def test_a_table_replaces_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "nnunet_fold0_seed0.log").write_text(f"start\n{EPOCH}\nmore\n")
    progress, comparison = ComparisonProgress(), comparison_in(tmp_path)
    progress.update(comparison, None)
    shown = terminal.getvalue()
    assert "2 trainings: 1 running, 1 failed" in shown
    assert "  fold 0 seed 0: epoch 3/9, 10 min left, pseudo Dice 0.450\n" in shown
    job = Job("unetpp_fold0_seed0", (), tmp_path / "unetpp_fold0_seed0.log")
    progress.update(comparison, Event(job, "ended", 2))
    shown = terminal.getvalue()
    assert "\x1b[4A\x1b[0J[0/2] unetpp_fold0_seed0 failed after 0 s: no luck (log in " in shown
    progress.close()
    assert terminal.getvalue().endswith("\x1b[4A\x1b[0J")


def test_trainings_of_earlier_calls_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = comparison_in(tmp_path)
    earlier = (Asked(("nnunet", "unetpp"), (0,), (0,)),)
    now = Asked(("nnunet",), (0,), (0,))
    comparison.request = replace(comparison.request, earlier=earlier, now=now)
    ComparisonProgress().update(comparison, None)
    told = capsys.readouterr().err
    assert "2 trainings: 1 running, 1 failed; this call trains 1 of them, and leaves 1 of" in told


def test_no_line_of_the_table_wraps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "nnunet_fold0_seed0.log").write_text(f"{EPOCH}\n")
    ComparisonProgress().update(comparison_in(tmp_path), None)
    table = terminal.getvalue().splitlines()[1:]
    assert len(table) == 4
    assert max(map(len, table)) == 39


@pytest.mark.parametrize(
    ("hours", "text"),
    [(None, "?"), (0.005, "18 s"), (0.5, "30 min"), (1.9, "114 min"), (30.04, "30.0 h")],
)
def test_times(hours: float | None, text: str) -> None:
    assert format_hours(hours) == text
