"""Processes of one training stop, fail and end together, and lose nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

import toy_process
from toy import NAME, PLANS, folder_options, read_json
from toy_process import Fault, fold_of
from umamba.errors import ResumableInterruptError, SupersededError, TrainingError, UMambaError
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.paths import Paths
from umamba.nnunet.requests import TrainingRequest
from umamba.nnunet.training.folds import checked_training, find_trainer
from umamba.nnunet.training.ranks import EXIT_LOST, Ranks
from umamba.nnunet.training.running import CheckedTraining
from umamba.nnunet.training.state import STATE
from umamba.system.environment import environment, loopback

Faults = dict[int, Fault]

# Programs in the place of those that train.
BEGIN = """
import os, pathlib, signal, sys, time
number, folder = int(sys.argv[1]), pathlib.Path(sys.argv[3])
assert sys.argv[2] == "2"
def tell(text): (folder / f"told_{number}").write_text(text)
def save(*_): tell("interrupted; --resume"); sys.exit(75)
signal.signal(signal.SIGTERM, save)
(folder / f"ready_{number}").touch()
while not all((folder / f"ready_{n}").exists() for n in range(2)): time.sleep(0.01)
"""


def ranks(script: str, **seconds: float) -> Ranks:
    return Ranks(2, program=("-c", BEGIN + script), **seconds)


@pytest.fixture
def fold(tmp_path: Path) -> Path:
    """The folder of a fold that has a checkpoint."""
    (tmp_path / "checkpoint_latest.pth").touch()
    return tmp_path


def test_all_have_to_end_well(fold: Path) -> None:
    ranks("").run(None, fold)


def test_the_message_of_a_process_that_fails_is_the_trainings(fold: Path) -> None:
    script = "if number == 1: tell('no room; make some'); sys.exit(2)\nsignal.pause()"
    with pytest.raises(UMambaError, match=r"^no room; make some$"):
        ranks(script).run(None, fold)


def test_a_later_attempt_at_the_same_job_wins(fold: Path) -> None:
    script = "if number == 0: tell('attempt 2 has taken over'); sys.exit(76)\nsignal.pause()"
    with pytest.raises(SupersededError, match=r"^attempt 2 has taken over$"):
        ranks(script, seconds_to_fail=0.3).run(None, fold)


def test_a_process_that_fails_without_a_message_is_quoted(fold: Path) -> None:
    script = "if number == 1: sys.exit('odd')\nsignal.pause()"
    with pytest.raises(UMambaError, match=r"^process 2 of the training failed: odd$"):
        ranks(script).run(None, fold)


KILL = "if number == {}: os.kill(os.getpid(), signal.SIGKILL)\n"
HANG = "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("then", ["signal.pause()", HANG, f"sys.exit({EXIT_LOST})"])
def test_a_killed_process_ends_the_others(fold: Path, number: int, then: str) -> None:
    began = time.monotonic()
    want = (
        rf"^process {number + 1} of 2 was ended by SIGKILL, as by a system that is out of memory, "
        r"and this ended the training; --resume \(or --c\) continues from"
    )
    with pytest.raises(ResumableInterruptError, match=want):
        ranks(KILL.format(number) + then, seconds_to_fail=0.3).run(None, fold)
    assert time.monotonic() - began < 20


def test_a_process_killed_before_the_first_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="before the first checkpoint; run the command again"):
        ranks(KILL.format(0) + HANG, seconds_to_fail=0.1).run(None, tmp_path)


def test_processes_that_lose_each_other(fold: Path) -> None:
    with pytest.raises(ResumableInterruptError, match="the 2 processes of this training lost each"):
        ranks(f"sys.exit({EXIT_LOST})").run(None, fold)


def test_one_that_is_asked_to_stop_stops_all(fold: Path) -> None:
    """As when the validation cases are predicted, where each stops alone."""
    script = (
        "if number == 1: tell('interrupted by SIGUSR1; --resume'); sys.exit(75)\nsignal.pause()"
    )
    with pytest.raises(ResumableInterruptError, match=r"^interrupted by SIGUSR1; --resume$"):
        ranks(script).run(None, fold)


def test_a_signal_reaches_every_process(fold: Path) -> None:
    """The first one asks its parent to stop, as a scheduler does."""
    script = "if number == 0: os.kill(os.getppid(), signal.SIGTERM)\nsignal.pause()"
    with pytest.raises(ResumableInterruptError, match=r"^interrupted; --resume$"):
        ranks(script).run(None, fold)


def test_one_that_hangs_is_not_waited_for(fold: Path) -> None:
    script = "if number == 0: os.kill(os.getppid(), signal.SIGTERM)\nelse: " + HANG
    with pytest.raises(ResumableInterruptError, match=r"^interrupted; --resume$"):
        ranks(script + "\nsignal.pause()", seconds_to_stop=0.3).run(None, fold)


# Real trainings

LENGTH = {"epochs": 2, "iterations": 6, "seed": 7}


@pytest.fixture
def root(preprocessed_toy: Path, tmp_path: Path) -> Iterator[Path]:
    with environment(nnUNet_def_n_proc="2", nnUNet_n_proc_DA="1", **loopback()):
        yield shutil.copytree(preprocessed_toy, tmp_path / "toy")


def checked(root: Path, **options: Any) -> CheckedTraining:
    request = TrainingRequest(
        dataset=NAME,
        configuration="3d_fullres",
        fold="all",
        plans_name=PLANS,
        paths=Paths(root / "raw", root / "preprocessed", root / "results"),
        **{"device": "cpu", "num_gpus": 2} | options,
    )
    return checked_training(request, find_trainer(request.trainer))


def codes(root: Path, training: CheckedTraining, faults: Faults | None = None) -> list[int]:
    """Return how the processes of a training end."""
    processes = toy_process.start_ranks(root, 2, training, faults)
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def uninterrupted(preprocessed_toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = shutil.copytree(preprocessed_toy, tmp_path_factory.mktemp("ranks") / "toy")
    with environment(nnUNet_def_n_proc="2", nnUNet_n_proc_DA="1", **loopback()):
        assert codes(root, checked(root, **LENGTH)) == [0, 0], (root / "said").read_text()
    return read_checkpoint(fold_of(root) / "checkpoint_final.pth")


@pytest.mark.nnunet
@pytest.mark.parametrize(
    "faults",
    [
        {1: Fault("train_step", 2, signal.SIGTERM)},
        pytest.param({0: Fault("validation_step", 1, signal.SIGUSR1)}, marks=pytest.mark.slow),
        pytest.param({0: Fault("train_step", 4, None)}, marks=pytest.mark.slow),
    ],
    ids=["the other one", "the first one", "a stop file"],
)
def test_all_stop_after_the_same_step_and_go_on_as_if_never_stopped(
    root: Path, uninterrupted: Any, faults: Faults
) -> None:
    """The training goes on with a copy of the data, when the original is no longer there."""
    assert codes(root, checked(root, **LENGTH), faults) == [75, 75], (root / "said").read_text()
    saved = read_checkpoint(fold_of(root) / "checkpoint_latest.pth")
    assert len(saved[STATE]["other_processes"]) == 1
    assert not (fold_of(root) / "stop").exists()
    assert not list(fold_of(root).parent.glob(".*"))  # neither locks nor claims
    training = checked(root, resume=True, stage=root / "local")
    (data,) = (root / "preprocessed" / NAME).glob("*_3d_fullres")
    shutil.rmtree(data)
    assert codes(root, training) == [0, 0], (root / "said").read_text()
    assert_same(read_checkpoint(fold_of(root) / "checkpoint_final.pth"), uninterrupted)


def assert_same(got: Any, want: Any) -> None:
    for key, weight in want["network_weights"].items():
        assert torch.equal(got["network_weights"][key], weight), key
    curves = {key for key in want["logging"] if not key.endswith("timestamps")}
    assert {k: got["logging"][k] for k in curves} == {k: want["logging"][k] for k in curves}


@pytest.mark.nnunet
def test_another_number_of_processes_may_go_on_after_a_death(root: Path) -> None:
    faults = {1: Fault("train_step", 4, signal.SIGKILL)}
    assert codes(root, checked(root, **LENGTH), faults) == [EXIT_LOST, -signal.SIGKILL]
    assert toy_process.run(root, "--resume") == 0, (root / "said").read_text()
    wanted = "this training was on 2 GPUs or processes and goes on with 1, so it will not end with"
    assert wanted in (root / "said").read_text()


@pytest.mark.nnunet
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_gpus": 3}, "-num_gpus 3 is more than the patches in a batch of 3d_fullres, 2; give"),
        ({"device": "cuda"}, "-num_gpus 2 is more than the GPUs here, 1; give 1 or fewer"),
        ({"trainer": "nnUNetTrainer"}, "not nnUNetTrainer; train that one by nnUNetv2_train"),
        ({"num_gpus": 0}, "0 is not a positive number"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UMambaError, match=message):
        checked(root, **options)
    assert not (root / "results").exists()


@pytest.mark.slow
@pytest.mark.nnunet
def test_the_command_shares_a_training_and_its_validation(root: Path) -> None:
    """Killed, stopped and resumed, with real processes."""
    command = [sys.executable, "-m", "umamba.cli.main", "train", NAME, "3d_fullres", "0"]
    command += ["-p", PLANS, "-device", "cpu", "-num_gpus", "2", *folder_options(root)]
    fold = fold_of(root).with_name("fold_0")

    def run(*options: str) -> Any:
        return subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)

    first = run("--epochs", "40", "--iterations", "160", "--seed", "1")
    while not (fold / "checkpoint_latest.pth").exists():
        assert first.poll() is None
        time.sleep(0.05)
    os.kill(max(children_of(first.pid)), signal.SIGKILL)
    said = first.communicate(timeout=120)[1]
    assert first.returncode == 75, said
    assert "process 2 of 2 was ended by SIGKILL" in said
    assert f"--resume (or --c) continues from {fold}" in said
    second = run("--resume")
    while sum("Current learning rate" in log.read_text() for log in fold.glob("*.txt")) < 2:
        assert second.poll() is None
        time.sleep(0.05)
    second.send_signal(signal.SIGTERM)
    said = second.communicate(timeout=120)[1]
    assert second.returncode == 75, said
    assert said.count("interrupted by SIGTERM") == 1
    third = run("--resume")
    said = third.communicate(timeout=300)[1]
    assert third.returncode == 0, said
    summary = read_json(fold / "validation" / "summary.json")
    assert len(summary["metric_per_case"]) == len(list((fold / "validation").glob("*.nii.gz"))) == 2


def children_of(process_id: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == process_id:
                found.append(int(entry.parent.name))
    return found
