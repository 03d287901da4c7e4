"""Trainings that are killed, starved of disk, or find their checkpoints damaged lose nothing."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import toy_process
from toy import prepare_toy
from umamba.nnunet.checkpoints import read_checkpoint
from umamba.nnunet.paths import environment

pytestmark = pytest.mark.nnunet

LENGTH = ["--epochs", "3", "--iterations", "12", "--seed", "7"]
NORMAL, SLOW = 5, 50


class Reference:
    """A data set, and what an uninterrupted training of it ends with."""

    def __init__(self, root: Path) -> None:
        self.root = root
        assert toy_process.run(root, *LENGTH) == 0, (root / "said").read_text()
        began = time.monotonic()  # now that the data are preprocessed
        assert toy_process.run(root, *LENGTH, "--overwrite") == 0
        self.seconds = time.monotonic() - began
        self.final = read_checkpoint(toy_process.fold_of(root) / "checkpoint_final.pth")

    def fresh(self, root: Path) -> Path:
        """Another place for results, beside the same data."""
        for name in ("raw", "preprocessed"):
            (root / name).symlink_to(self.root / name)
        return root


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    root = tmp_path_factory.mktemp("faults")
    with environment(nnUNet_def_n_proc="2", nnUNet_n_proc_DA="1"):
        prepare_toy(root)
        yield Reference(root)


def assert_same_training(got: dict[str, Any], want: dict[str, Any]) -> None:
    """Weights, momentum, curves and counters are equal, bit for bit; times are not."""
    assert got["current_epoch"] == want["current_epoch"]
    assert got["_best_ema"] == want["_best_ema"]
    for key, weight in want["network_weights"].items():
        assert torch.equal(got["network_weights"][key], weight), key
    for key, state in want["optimizer_state"]["state"].items():
        momentum = got["optimizer_state"]["state"][key]["momentum_buffer"]
        assert torch.equal(momentum, state["momentum_buffer"]), key
    curves = {key for key in want["logging"] if not key.endswith("timestamps")}
    assert {k: got["logging"][k] for k in curves} == {k: want["logging"][k] for k in curves}


def resume(root: Path) -> dict[str, Any]:
    """Train to the end, from what is there, and return the final checkpoint."""
    fold = toy_process.fold_of(root)
    begun = any(fold.glob("checkpoint_*.pth"))
    code = toy_process.run(root, *(["--resume"] if begun else LENGTH))
    assert code == 0, (root / "said").read_text()
    kept = {path.name for path in fold.glob("*checkpoint*.pth*")}
    assert kept == {"checkpoint_best.pth", "checkpoint_final.pth"}
    return read_checkpoint(fold / "checkpoint_final.pth")


def kill(process: Any, number: signal.Signals) -> int:
    """Kill a training, unless it has ended, and see that it leaves no worker; return its code."""
    if process.is_alive():
        os.kill(process.pid, number)
    process.join(60)
    deadline = time.monotonic() + 10  # workers look for their parent once in a while
    while toy_process.processes_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not toy_process.processes_of(process.pid)
    return process.exitcode


def survive(reference: Reference, root: Path, case: int) -> None:
    """Kill one or two times at random moments, go on, and compare."""
    chance = random.Random(case)
    root = reference.fresh(root)
    fold = toy_process.fold_of(root)
    for _ in range(1 + case % 2):
        begun = any(fold.glob("checkpoint_*.pth"))
        process = toy_process.start(root, *(["--resume"] if begun else LENGTH))
        time.sleep(chance.uniform(0.05, 1.0) * reference.seconds)
        number = chance.choice([signal.SIGKILL, signal.SIGTERM])
        code = kill(process, number)
        if code == 0:
            return  # it had been quicker
        if number == signal.SIGTERM:
            resumable = any(fold.glob("checkpoint_*.pth"))
            # While Python starts up, a process dies of it; before the first iteration
            # there is nothing to resume.
            assert code in ({75} if resumable else {130, -signal.SIGTERM}), code
    assert_same_training(resume(root), reference.final)


@pytest.mark.parametrize("case", range(NORMAL))
def test_a_killed_training_ends_as_an_uninterrupted_one(
    reference: Reference, tmp_path: Path, case: int
) -> None:
    survive(reference, tmp_path, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", range(NORMAL, NORMAL + SLOW))
def test_many_killed_trainings_end_as_an_uninterrupted_one(
    reference: Reference, tmp_path: Path, case: int
) -> None:
    survive(reference, tmp_path, case)
