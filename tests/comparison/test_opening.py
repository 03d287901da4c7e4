"""A folder of results belongs to one comparison at a time, and is put right after any kill."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faked_trainings import FakeExecutor, InlineProcess, write_dataset
from umamba.comparison.rows import Cost
from umamba.comparison.runs import cells, collecting, opening
from umamba.comparison.runs.budget import Budget
from umamba.comparison.runs.collecting import Collector
from umamba.comparison.runs.engine import run_comparison
from umamba.comparison.runs.opening import comparing, open_comparison
from umamba.comparison.runs.planning import ComparisonRequest
from umamba.errors import UMambaError
from umamba.nnunet.paths import Paths
from umamba.system import atomic_files as whole_files

pytestmark = pytest.mark.usefixtures("unchecked")  # other files test the statistics

MODELS = ("nnunet", "unetpp")


@pytest.fixture(autouse=True)
def known_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {model: Cost(10, 20, 30, None, 36.0, 2.0) for model in (*MODELS, "attention_unet")}
    monkeypatch.setattr(opening, "measure_costs", lambda *_: costs)
    monkeypatch.setattr(collecting, "write_report", lambda *_: None)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return write_dataset(tmp_path)


def request_for(paths: Paths, **changes: Any) -> ComparisonRequest:
    output = paths.require("results").parent / "out"
    request = ComparisonRequest("901", MODELS, (0, 1), (0,), Budget("epochs", 3.0), output)
    return replace(request, **changes)


def compare(paths: Paths, **changes: Any) -> list[str]:
    comparison = open_comparison(request_for(paths, **changes), paths, dry=False)
    executor = FakeExecutor(paths)
    run_comparison(comparison, executor, lambda *_: None, Collector(make=InlineProcess))
    return [job.name for job in executor.jobs]


def results(paths: Paths) -> Any:
    return json.loads((request_for(paths).output / "results.json").read_text())


class Killed(BaseException):
    pass


STEPS: dict[str, tuple[Any, str]] = {
    "the lock": (opening, "find_source"),
    "plans": (opening, "prepare"),
    "the claim": (opening, "write_settings"),
    "cut points": (opening, "size_cut_points"),
    "costs": (opening, "measure_costs"),
    "evaluation": (cells, "evaluate_predictions"),
    "results": (collecting, "write_results"),
    "report": (collecting, "write_report"),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_rerun_puts_right_what_a_kill_left(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    module, name = STEPS[step]
    function: Callable[..., Any] = getattr(module, name)

    def killed(*arguments: Any) -> Any:
        if after:
            function(*arguments)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, name, killed)
        with pytest.raises(Killed):
            compare(paths)
    compare(paths)
    assert {training["status"] for training in results(paths)["trainings"]} == {"done"}
    assert len(results(paths)["cases"]) == 2 * 4 * 2


_HOLD = """
import sys, time
from pathlib import Path
from umamba.comparison.runs.opening import comparing
with comparing(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""


def test_of_two_comparisons_in_one_folder_the_second_is_refused(paths: Paths) -> None:
    compare(paths)
    output = request_for(paths).output
    before = {path: path.read_bytes() for path in output.rglob("*.json")}
    command = [sys.executable, "-c", _HOLD, str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        message = rf"at work in {output}: process {other.pid} .*give another --output"
        with pytest.raises(UMambaError, match=message):
            compare(paths, models=("attention_unet",))
        other.kill()
    assert {path: path.read_bytes() for path in output.rglob("*.json")} == before
    assert len(compare(paths, models=("attention_unet",))) == 2  # the lock went with its holder


def test_the_lock_is_held_from_the_settings_to_the_end(paths: Paths) -> None:
    output = request_for(paths).output
    with comparing(output):
        comparison = open_comparison(request_for(paths), paths, dry=False)
        assert (output / ".lock").exists()
        run_comparison(
            comparison, FakeExecutor(paths), lambda *_: None, Collector(make=InlineProcess)
        )
        assert (output / ".lock").exists()
    assert not (output / ".lock").exists()


def test_a_folder_of_others_is_not_written_to(paths: Paths) -> None:
    output = request_for(paths).output
    output.mkdir()
    (output / "thesis.tex").write_text("precious")
    with pytest.raises(UMambaError, match="exists and does not hold a comparison"):
        compare(paths)
    assert [path.name for path in output.iterdir()] == ["thesis.tex"]
    with pytest.raises(UMambaError, match=r"nothing can be written to .*Not a directory"):
        compare(paths, output=output / "thesis.tex" / "below")


def test_a_call_runs_what_it_asks_for_and_says_what_else_there_is(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(compare(paths, models=("nnunet",), credit="Us 2019, CC0")) == 2
    capsys.readouterr()
    assert compare(paths, folds=(0,), seeds=(0, 1)) == [
        "unetpp_fold0_seed0",
        "nnunet_fold0_seed1",
        "unetpp_fold0_seed1",
    ]
    assert "compares: models unetpp; seeds 1\n" in capsys.readouterr().err
    # Not the product of all models, folds and seeds: only what was asked for.
    trainings = {(c["model"], c["fold"], c["seed"]) for c in results(paths)["trainings"]}
    assert len(trainings) == 2 + 3
    assert ("unetpp", 1, 0) not in trainings
    assert compare(paths, folds=(0,)) == []
    assert results(paths)["dataset"]["credit"] == "Us 2019, CC0"  # later calls keep it


def test_folders_of_before_calls_were_told_apart_go_on(paths: Paths) -> None:
    compare(paths)
    file = request_for(paths).output / "comparison.json"
    settings = json.loads(file.read_text())
    del settings["asked"]
    file.write_text(json.dumps(settings))
    assert compare(paths, folds=(0,), seeds=(1,)) == ["nnunet_fold0_seed1", "unetpp_fold0_seed1"]
    assert len(results(paths)["trainings"]) == 4 + 2


def test_a_full_disk_is_one_line_and_keeps_what_is_done(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name in ("results.json", "unetpp_fold0_seed0.json"):
            raise OSError(28, "No space left on device")
        return replace_file(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(whole_files.Path, "replace", full)
        with pytest.raises(UMambaError, match=r"cannot write .*results\.json: No space left"):
            compare(paths)
    assert compare(paths) == []
    assert {training["status"] for training in results(paths)["trainings"]} == {"done"}


_COMPARE = """
import signal, sys, time
from pathlib import Path
from umamba.comparison.runs import engine, opening
from umamba.comparison.runs.cost import Cost

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # who runs tests may ignore it
step, ready = sys.argv[1:3]
known = {model: Cost(10, 20, 30, None, 36.0, 2.0) for model in ("nnunet", "unetpp")}
opening.measure_costs = lambda *_: known

def hang(*_, **__):
    Path(ready).touch()
    while True:
        time.sleep(0.1)

for module in (opening, engine):
    if hasattr(module, step):
        setattr(module, step, hang)
from umamba.cli.main import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs groups of processes")
@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("prepare", signal.SIGTERM),
        pytest.param("measure_costs", signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param("stock_trainings", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_the_group_ends_it_within_seconds(
    paths: Paths, tmp_path: Path, step: str, number: signal.Signals
) -> None:
    ready = tmp_path / "ready"
    arguments = ["compare", "901", "--models", ",".join(MODELS), "--budget", "epochs:2"]
    arguments += ["-device", "cpu", "-o", str(tmp_path / "out"), "--seeds", "1", "--folds", "0"]
    for name in ("preprocessed", "results"):
        arguments += [f"--{name}", str(paths.require(name))]
    command = [sys.executable, "-c", _COMPARE, step, str(ready), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not ready.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "run the same command again to continue" in said
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
