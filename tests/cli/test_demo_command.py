"""`umamba demo`: what reaches the function, and what is printed where."""

import json
from pathlib import Path
from typing import Any

import pytest

from umamba.cli.main import main
from umamba.demo import run as demo_run
from umamba.demo.run import DemoRequest, DemoResult


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[DemoRequest]:
    """Requests that would have been run."""
    seen: list[DemoRequest] = []

    def pretend(request: DemoRequest) -> DemoResult:
        seen.append(request)
        ours = {"grey_matter": 0.93, "white_matter": 0.95, "mean": 0.94}
        theirs = {"grey_matter": 0.81, "white_matter": 0.79, "mean": 0.80}
        return DemoResult(request.output, ours, theirs, 3, 200.0, request.seed, "cpu")

    monkeypatch.setattr(demo_run, "run_demo", pretend)
    return seen


def test_defaults(requests: list[DemoRequest], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    assert requests == [DemoRequest(Path("umamba-demo"))]
    shown = capsys.readouterr().out
    assert "mean" in shown
    assert "0.940" in shown
    assert "umamba-demo/segmentation.png" in shown


def test_json_is_one_object(
    requests: list[DemoRequest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--output", str(tmp_path), "--seed", "7", "--overwrite", "-device", "cpu"]
    assert main(["demo", *options, "--json"]) == 0
    assert requests == [DemoRequest(tmp_path, seed=7, overwrite=True, device="cpu")]
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert printed["dice"]["mean"] == 0.94
    assert printed["dice_thresholds"]["white_matter"] == 0.79
    assert printed["seed"] == 7


@pytest.mark.parametrize("seed", ["-1", "x", "1.5"])
def test_seeds_are_whole_numbers(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--seed", seed])
    assert stopped.value.code == 2
    capsys.readouterr()


def test_users_mistakes_exit_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("")
    assert main(["demo", "--output", str(tmp_path)]) == 2
    assert "umamba demo: " in capsys.readouterr().err
