"""`umamba compare`: what it takes, what it prints, and its exit codes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import umamba
from faked_trainings import (
    CASES,
    FakeExecutor,
    InlineProcess,
    option,
    validation_cases,
    write_dataset,
)
from toy import folder_options, prepare_toy
from umamba.cli import main as cli
from umamba.comparison.results import to_plain
from umamba.comparison.runs import calls, collecting, cost
from umamba.comparison.runs.cells import read_cell
from umamba.nnunet import places
from umamba.nnunet.paths import Paths

pytestmark = pytest.mark.usefixtures("unchecked")  # other files test the statistics

SMALL = ["--features", "4,8", "--patch-size", "16", "16", "16", "--batch-size", "2"]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return write_dataset(tmp_path)


def command(paths: Paths, *options: str) -> list[str]:
    root = paths.require("results").parent
    arguments = ["compare", "901", "--models", "nnunet,unetpp", "--folds", "0-1", "--seeds", "1"]
    arguments += ["--budget", "epochs:2", "-device", "cpu", "-o", str(root / "out"), *SMALL]
    return [*arguments, *folder_options(root), *options]


def use_fake_executor(
    monkeypatch: pytest.MonkeyPatch, paths: Paths, **options: Any
) -> FakeExecutor:
    fake = FakeExecutor(paths, **options)
    inline = partial(collecting.Collector, make=InlineProcess)
    monkeypatch.setattr(calls.collecting, "Collector", inline)
    monkeypatch.setattr(places.local, "LocalExecutor", lambda _: fake)
    return fake


def test_a_dry_run_shows_models_with_time_and_memory(
    paths: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(paths.require("results").parent.rglob("*"))
    assert cli.main(command(paths, "--dry-run", "--measure", "--json")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [(c["model"], c["fold"], c["seed"]) for c in plan["trainings"]] == [
        ("nnunet", 0, 0),
        ("unetpp", 0, 0),
        ("nnunet", 1, 0),
        ("unetpp", 1, 0),
    ]
    assert all(training["memory_bytes"] > 0 for training in plan["trainings"])
    assert plan["hours"] == pytest.approx(
        sum(training["hours_left"] for training in plan["trainings"])
    )
    assert plan["trainings"][1]["hours_left"] > 0

    def fail(*_: object) -> None:
        pytest.fail("measured")

    monkeypatch.setattr(cost, "time_interleaved", fail)
    options = ("--dry-run", "--seeds", "5", "--folds", "0-4")
    assert cli.main(command(paths, *options)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 + 2  # models, not trainings
    assert lines[1].split()[:5] == ["nnunet", "25", "0", "0", "2"]
    assert lines[1].endswith("  estimated from its multiply-adds")
    assert "?" not in lines[1]
    assert lines[3].startswith("50 trainings: about ")
    assert lines[4].startswith("add --measure to measure")
    assert sorted(paths.require("results").parent.rglob("*")) == before


def test_results_and_exit_codes(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_fake_executor(monkeypatch, paths, stop_after=1)
    assert cli.main(command(paths)) == 75
    assert "run the same command again to continue" in capsys.readouterr().err
    summary = paths.require("results").parent / "out" / "summary.md"
    assert "1 done, 1 interrupted, 2 pending." in summary.read_text()
    use_fake_executor(monkeypatch, paths, failing=["unetpp_fold1_seed0"])
    assert cli.main(command(paths)) == 1
    captured = capsys.readouterr()
    assert "[3/4] unetpp_fold1_seed0 failed after 0 s: out of luck" in captured.err
    use_fake_executor(monkeypatch, paths)
    assert cli.main(command(paths, "--json")) == 0
    captured = capsys.readouterr()
    results = json.loads(captured.out)
    assert {training["status"] for training in results["trainings"]} == {"done"}
    assert results["verdicts"]["unetpp"].startswith("unetpp against nnunet")
    assert f"- {results['verdicts']['unetpp']}" in summary.read_text()
    found = json.loads((Path(results["output"]) / "results.json").read_text())
    assert found["dataset"]["n_dims"] == 3
    cost = found["cost"]["unetpp"]
    assert cost["seconds_per_iteration"] > 0
    # The median case is 32 wide, a patch 16: 3 positions per axis, mirrored along 3 axes.
    assert cost["multiply_adds"] > 0
    assert cost["problem"] is None


def test_the_function_returns_what_the_command_prints(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_fake_executor(monkeypatch, paths)
    import_module("umamba.nnunet.training.trainers")  # torch and blosc2 set variables of their own
    before = dict(os.environ)
    result = umamba.compare(
        dataset=901,
        models=["nnunet", "unetpp"],
        folds=[0, 1],
        seeds=1,
        budget="epochs:2",
        features=[4, 8],
        patch_size=[16, 16, 16],
        batch_size=2,
        device="cpu",
        output=paths.require("results").parent / "out",
        paths=paths,
    )
    assert dict(os.environ) == before
    assert capsys.readouterr().out == ""
    assert cli.main(command(paths, "--json")) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {
        "output": str(result.output),
        "trainings": to_plain(result.trainings),
        "verdicts": result.verdicts,
    }
    assert not result.failed
    assert result.verdicts["unetpp"] in result._repr_html_()
    table = result.to_pandas()
    assert set(table["model"]) == {"nnunet", "unetpp"}
    assert len(table) == 2 * 4 * 2  # models, validation cases of two folds, labels
    with pytest.raises(umamba.UMambaError, match="folds: '0-x' is not a list of folds"):
        umamba.compare(dataset=901, models="unetpp", budget="epochs:2", folds="0-x", paths=paths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "days:3"], "not a budget such as epochs:100, iterations:25000 or hours:1.5"),
        (["--models", "unetpp,nonet"], "model 'nonet' does not exist"),
        (["--folds", "0-x"], "is not a list of folds"),
        (["--folds", "4-2"], "is not a list of folds"),
        (["--seeds", "0"], "not a positive number"),
        (["--margin", "0"], "'0' is not a number of points between 0 and 100"),
        (["--margin", "one"], "'one' is not a number of points between 0 and 100"),
        (["--empty", "nan"], "'nan' is not a value; choose one of undefined, one, zero"),
    ],
)
def test_arguments_that_fit_nothing(
    paths: Paths, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(command(paths, *options))
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_cases_that_belong_together_are_checked_before_any_training(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = paths.require("results").parent / "clusters.csv"
    table.write_text("case,cluster\ncase_00,Anna\ncase_77,Bo\n")
    assert cli.main(command(paths, "--clusters", str(table))) == 2
    assert "--clusters: case case_77 is not in the data set" in capsys.readouterr().err
    table.write_text("case,patient\ncase_00,Anna\n")
    assert cli.main(command(paths, "--clusters", str(table))) == 2
    assert "the first line is case,patient" in capsys.readouterr().err
    assert not (table.parent / "out" / "logs").exists()
    use_fake_executor(monkeypatch, paths)
    lines = [f"{case},{'Anna' if i % 2 else 'Bo'}" for i, case in enumerate(CASES)]
    table.write_text("\n".join(["case,cluster", *lines]))
    assert cli.main(command(paths, "--clusters", str(table), "--empty", "one")) == 0
    results = json.loads((table.parent / "out" / "results.json").read_text())
    assert results["settings"]["analysis"]["clusters"]["case_01"] == "Anna"
    assert results["settings"]["analysis"]["empty"] == "one"
    (comparison,) = results["statistics"]["dice"]["comparisons"]
    assert (comparison["n_cases"], comparison["n_clusters"]) == (4, 2)


@pytest.mark.slow
@pytest.mark.nnunet
def test_a_real_comparison_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    prepare_toy(tmp_path)
    arguments = ["compare", "901", "--models", "nnunet,umamba_bot", "--no-controls", "--folds"]
    arguments += ["0", "--seeds", "1", "--budget", "iterations:60", "-device", "cpu"]
    arguments += ["--features", "4,8", "--patch-size", "8", "16", "16", "--batch-size", "2"]
    arguments += ["-o", str(tmp_path / "out"), *folder_options(tmp_path)]
    run = [sys.executable, "-m", "umamba.cli.main", *arguments]
    latest = "nnUNetTrainerUMamba__nnUNetPlans_*/fold_0/checkpoint_latest.pth"
    process = subprocess.Popen(run, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "results").glob(f"*/{latest}")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    again = subprocess.run(run, capture_output=True, text=True, timeout=600, check=False)
    assert again.returncode == 0, again.stderr
    assert "1 interrupted" in again.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {training["status"] for training in results["trainings"]} == {"done"}
    assert all(len(curve["epoch"]) == 20 for curve in results["curves"])
    third = subprocess.run(run, capture_output=True, text=True, timeout=300, check=False)
    assert third.returncode == 0
    assert "started" not in third.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-jobs", "3"], "--max-jobs is for --executor slurm or ray; give that as well"),
        (
            ["--executor", "slurm", "--workers", "2"],
            "--workers is for --executor local; give that as well",
        ),
        (["--detach"], "only jobs of Slurm go on without this process; give"),
        (["--executor", "slurm", "--slurm", "no.toml"], "--slurm: no.toml cannot be read: No such"),
        (["--executor", "slurm", "--cancel"], "there is no command"),
    ],
)
def test_options_of_a_cluster_go_together(
    paths: Paths,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    batch = paths.require("results").parent / "out" / "slurm" / "umamba-1"
    if "--cancel" in options:
        batch.mkdir(parents=True)
        (batch / "batch.json").write_text('{"jobs": ["a"], "created": 1, "array": "7"}')
    assert cli.main(command(paths, *options)) == 2
    assert message in capsys.readouterr().err
    assert not (paths.require("results").parent / "out" / "cells").exists()


_SLURM = """#!{bash}
echo "$(basename "$0") $*" >>{root}/asked
case "$(basename "$0") $*" in
sbatch*) echo 7 ;;
scontrol*partition) echo "PartitionName=all Default=YES MaxTime=UNLIMITED" ;;
scontrol*config) echo "MaxArraySize = 1001" ;;
squeue*) cat {root}/queue ;;
esac
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `queue`, which squeue shows, and `asked`, the commands that were run."""
    root = tmp_path / "bin"
    root.mkdir()
    for name in ("sbatch", "squeue", "scontrol", "scancel"):
        (root / name).write_text(_SLURM.format(bash=shutil.which("bash"), root=root))
        (root / name).chmod(0o755)
    (root / "queue").touch()
    monkeypatch.setenv("PATH", str(root), prepend=os.pathsep)
    return root


def test_jobs_on_a_cluster_are_shown_submitted_looked_at_and_cancelled(
    paths: Paths, slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = paths.require("results").parent / "out"
    (slurm / "site.toml").write_text("stage = '$TMPDIR'")
    on_slurm = ("--executor", "slurm", "--max-jobs", "3", "--slurm", str(slurm / "site.toml"))
    assert cli.main(command(paths, *on_slurm, "--print-jobs")) == 0
    printed = capsys.readouterr().out
    assert "#SBATCH --array=0-3%3\n" in printed
    assert "#   3: unetpp_fold1_seed0\n" in printed
    assert "#SBATCH --cpus-per-task=8\n#SBATCH --mem=17G\n" in printed  # 8 + 8 and some training
    assert not out.exists()
    assert cli.main(command(paths, *on_slurm, "--detach")) == 0
    assert "4 jobs are with Slurm" in capsys.readouterr().out
    (batch,) = (out / "slurm").glob("umamba-*")
    cell = read_cell(out / "cells" / "unetpp_fold1_seed0.job.json")
    assert cell.evaluation.cases == set(validation_cases(paths, 1))
    assert cell.trained is not None
    assert option(cell.trained.command, "--stage") == "$TMPDIR"
    (slurm / "queue").write_text(
        f"{batch.name} 7_0 RUNNING 0 0 None\n{batch.name} 7_1 PENDING 1 0 BeginTime\n"
        f"{batch.name} 7_2 PENDING 0 0 Resources\n{batch.name} 7_3 PENDING 0 0 Resources\n"
    )
    assert cli.main(command(paths, *on_slurm, "--detach")) == 0  # and nothing twice
    capsys.readouterr()
    assert cli.main(command(paths, *on_slurm, "--status")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["nnunet", "0", "1", "1", "0", "0"]
    assert lines[2] == "  fold 0 seed 0: starts"
    assert lines[3].split() == ["unetpp", "0", "0", "2", "0", "0"]
    assert lines[4].endswith(" left, 3 at a time")
    assert lines[5:] == ["1 wait, says Slurm: BeginTime", "2 wait, says Slurm: Resources"]
    (batch / "3.0.ended").write_text("2\n")
    (out / "logs" / "unetpp_fold1_seed0.log").write_text("umamba cell: no room\n")
    queue = (slurm / "queue").read_text()
    (slurm / "queue").write_text(queue.replace("7_3 PENDING 0 0", "7_3 FAILED 0 512"))
    assert cli.main(command(paths, *on_slurm, "--status")) == 0
    assert "unetpp_fold1_seed0 failed: no room\n" in capsys.readouterr().out
    assert cli.main(command(paths, *on_slurm, "--cancel")) == 0
    assert capsys.readouterr().out == "3 jobs cancelled; what they had saved is kept\n"
    asked = (slurm / "asked").read_text().splitlines()
    assert sum(line.startswith("sbatch") for line in asked) == 1
    assert asked[-1] == "scancel 7"
