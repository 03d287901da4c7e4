"""Processes of one training stop, fail and end together, and lose nothing."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import toy_process
from toy import NAME, PLANS, prepare_toy
from toy_process import Fault, fold_of
from umamba.errors import ResumableInterruptError, TrainingError, UMambaError
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.paths import Paths
from umamba.nnunet.requests import TrainingRequest
from umamba.nnunet.training.folds import checked_training, find_trainer
from umamba.nnunet.training.ranks import EXIT_LOST, Ranks
from umamba.nnunet.training.state import STATE
from umamba.system.environment import environment, loopback

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
Begin = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("ranks")
    with environment(nnUNet_def_n_proc="2", nnUNet_n_proc_DA="1", **loopback()):
        prepare_toy(root)
        yield root


@pytest.fixture
def root(tmp_path: Path, data: Path) -> Path:
    for name in ("raw", "preprocessed"):
        (tmp_path / name).symlink_to(data / name)
    return tmp_path


def begin(root: Path, faults: dict[int, Fault] | None = None, **options: Any) -> list[Any]:
    request = TrainingRequest(
        dataset=NAME,
        configuration="3d_fullres",
        fold="all",
        plans_name=PLANS,
        device="cpu",
        num_gpus=2,
        paths=Paths(
            root=root,
            raw=root / "raw",
            preprocessed=root / "preprocessed",
            results=root / "results",
        ),
        **options,
    )
    training = checked_training(request, find_trainer(request.trainer))
    return toy_process.start_ranks(root, 2, training, faults)


def codes(processes: list[Any]) -> list[int]:
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def uninterrupted(data: Path) -> Any:
    assert codes(begin(data, **LENGTH)) == [0, 0], (data / "said").read_text()
    return read_checkpoint(fold_of(data) / "checkpoint_final.pth")


@pytest.mark.nnunet
@pytest.mark.parametrize(
    "faults",
    [
        {1: Fault("train_step", 2, signal.SIGTERM)},
        {0: Fault("validation_step", 1, signal.SIGUSR1)},
        {0: Fault("train_step", 4, None)},
    ],
    ids=["the other one", "the first one", "a stop file"],
)
def test_all_stop_after_the_same_step_and_go_on_as_if_never_stopped(
    root: Path, uninterrupted: Any, faults: dict[int, Fault]
) -> None:
    assert codes(begin(root, faults, **LENGTH)) == [75, 75], (root / "said").read_text()
    saved = read_checkpoint(fold_of(root) / "checkpoint_latest.pth")
    assert len(saved[STATE]["other_processes"]) == 1
    assert codes(begin(root, resume=True)) == [0, 0], (root / "said").read_text()
    final = read_checkpoint(fold_of(root) / "checkpoint_final.pth")
    assert_same(final, uninterrupted)


def assert_same(got: Any, want: Any) -> None:
    for key, weight in want["network_weights"].items():
        assert torch.equal(got["network_weights"][key], weight), key
    curves = {key for key in want["logging"] if not key.endswith("timestamps")}
    assert {k: got["logging"][k] for k in curves} == {k: want["logging"][k] for k in curves}


@pytest.mark.nnunet
def test_a_process_that_dies_is_noticed_by_the_other(root: Path) -> None:
    faults = {1: Fault("train_step", 2, signal.SIGKILL)}
    assert codes(begin(root, faults, **LENGTH)) == [EXIT_LOST, -signal.SIGKILL]
