"""A page and a command that show how far a comparison is, from its files alone."""

import math
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from faked_trainings import write_dataset
from toy import folder_options
from umamba.cli.main import main
from umamba.comparison.rows import Cost, Training
from umamba.comparison.runs import opening
from umamba.comparison.runs.budget import Budget, Length
from umamba.comparison.runs.live import hours_of_all, look_at, read_epochs
from umamba.comparison.runs.opening import open_comparison
from umamba.comparison.runs.planning import ComparisonRequest, Planned, Source
from umamba.comparison.runs.state import Comparison
from umamba.comparison.runs.status_page import StatusPage, status_page
from umamba.comparison.runs.training_states import TrainingState
from umamba.nnunet.paths import Paths
from umamba.system.file_lock import FileLock

HOSTILE = "</td><script>alert(1)</script>"


def comparison_in(folder: Path, name: str = "Dataset901_Toy") -> Comparison:
    request = ComparisonRequest("901", ("nnunet",), (0,), (0, 1), Budget("epochs", 9.0), folder)
    source = Source(name, "2d", {}, {"numTraining": 10}, {"all": 1}, None)
    comparison = Comparison(
        request, Paths(), Planned(source, ("nnunet",), {}), {0: frozenset("ab")}
    )
    comparison.costs = {"nnunet": Cost(1, 1, 1, None, 3.0, 36.0)}
    comparison.lengths = {"nnunet": Length(9, 10)}
    comparison.states = {
        Training("nnunet", 0, 0): TrainingState("running"),
        Training("nnunet", 0, 1): TrainingState("failed", reason=HOSTILE),
    }
    (folder / "logs").mkdir(parents=True)
    return comparison


def write_log(comparison: Comparison, *lines: str) -> None:
    comparison.log("nnunet_fold0_seed0").write_text("\n".join(["begins", *lines, "more"]) + "\n")


def line(epoch: int, dice: str, seconds: int = 100) -> str:
    losses = "train loss -0.1000  val loss -0.2000"
    return f"epoch {epoch}/9  {losses}  pseudo Dice {dice}  {seconds} s"


def test_epochs_of_a_log_that_was_interrupted(tmp_path: Path) -> None:
    comparison = comparison_in(tmp_path)
    write_log(
        comparison, line(1, "0.5 0.3"), line(2, "0.1"), "saved", line(2, "nan 0.7"), "epoch 3/"
    )
    first, second = read_epochs(comparison.log("nnunet_fold0_seed0"))
    assert (first.number, first.of, first.dice, first.seconds) == (1, 9, 0.4, 100)
    assert second.number == 2
    assert math.isnan(second.dice)
    assert read_epochs(tmp_path / "nowhere") == ()


def test_the_time_left_is_that_of_the_last_epochs_and_of_whole_cases(tmp_path: Path) -> None:
    comparison = comparison_in(tmp_path)
    write_log(comparison, *(line(n, "0.5", 900 if n == 1 else 100) for n in range(1, 7)))
    running, failed = look_at(comparison)
    assert running.hours_left == pytest.approx((3 * 100 + 2 * 36) / 3600)
    pending = replace(failed, status="pending", hours_left=4.0)
    assert hours_of_all([running, failed], 1) == running.hours_left
    assert hours_of_all([running, pending, pending], 4) == 4.0  # none is faster than its longest
    assert hours_of_all([pending, pending], 1) == 8.0
    assert hours_of_all([replace(pending, hours_left=None)], 1) is None
    assert hours_of_all([], 1) == 0.0


class Found(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_shows_cells_and_curves_and_runs_nothing(tmp_path: Path) -> None:
    comparison = comparison_in(tmp_path, name=HOSTILE)
    write_log(comparison, line(1, "0.250"), line(9, "0.750"))
    found = Found(status_page(comparison, "running", 1))
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in found.tags}
    assert not any("src" in attributes or "href" in attributes for _, attributes in found.tags)
    assert ("meta", {"http-equiv": "refresh", "content": "10"}) in found.tags
    assert f"failed: {HOSTILE}" in found.text
    assert {"9 of 9", "0.750"} <= set(found.text)
    (points,) = [attributes["points"] for tag, attributes in found.tags if tag == "polyline"]
    assert points == "13.3,17.5 120.0,6.5"  # of 120 x 24, the Dice from 0 to 1 within a margin of 1
    ended = Found(status_page(comparison, "ended", 1))
    assert not any(attributes.get("http-equiv") == "refresh" for _, attributes in ended.tags)
    assert any(text.endswith(": ended") for text in ended.text)
    said = "it no longer runs: the same command continues"  # which a killed one cannot write
    assert any(said in text for text in found.text)
    assert not any(said in text for text in ended.text)


def test_the_page_is_written_now_and_then_and_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison, file = comparison_in(tmp_path), tmp_path / "status.html"
    page = StatusPage(1, interval=60.0)
    page.close()
    assert not file.exists()
    page.update(comparison, None)
    file.unlink()
    page.update(comparison, None)
    assert not file.exists()
    page.close()
    assert "ended; the same command continues" in file.read_text()
    comparison.states = {Training("nnunet", 0, 0): TrainingState("done")}
    page.close()
    assert "2d: ended<" in file.read_text()
    comparison.request = replace(comparison.request, output=tmp_path / "gone")
    page.close()
    assert "cannot write" in capsys.readouterr().err  # and the trainings go on


def test_a_page_of_many_trainings_takes_a_moment(tmp_path: Path) -> None:
    comparison = comparison_in(tmp_path)
    write_log(comparison, *(line(n % 9 + 1, "0.5 0.25 0.125") for n in range(2000)))
    state = TrainingState("pending")
    comparison.states |= {Training("nnunet", 0, seed): state for seed in range(2, 300)}
    began = time.process_time()
    status_page(comparison, "running", 1)
    assert time.process_time() - began < 3


def test_the_command_tells_of_trainings_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_dataset(tmp_path)
    known = {"nnunet": Cost(10, 20, 30, None, 3.6, 36.0)}
    for costs in ("estimate_costs", "measure_costs"):
        monkeypatch.setattr(opening, costs, lambda *_: known)
    command = ["compare", "901", "--models", "nnunet", "--folds", "0", "--seeds", "2", "--status"]
    command += ["--budget", "epochs:9", "-device", "cpu", "-o", str(tmp_path / "out")]
    command += folder_options(tmp_path)
    assert main(command) == 0
    # 2 trainings of 9 epochs of 250 steps with validation on patches, and 2 cases of 36 s
    assert "about 4.8 h left, 1 at a time\n" in capsys.readouterr().out
    name = "nnUNetTrainerUMamba__nnUNetPlans_9epochs_s1__3d_fullres"
    folder = paths.require("results") / "Dataset901_Toy" / name / "fold_0"
    output, budget = tmp_path / "out", Budget("epochs", 9.0)
    request = ComparisonRequest("901", ("nnunet",), (0,), (0, 1), budget, output)
    comparison = open_comparison(request, paths, dry=False)
    (output / "logs").mkdir()
    comparison.log("nnunet_fold0_seed1").write_text(f"{line(8, '0.5')}\n")
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(".fold_0.lock"))
    assert main(command) == 0
    lock.release()
    shown = capsys.readouterr().out
    assert "  fold 0 seed 1: epoch 8/9, 3 min left, pseudo Dice 0.500\n" in shown
