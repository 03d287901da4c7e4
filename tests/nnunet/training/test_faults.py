"""Trainings that are killed, starved of disk, or find their checkpoints damaged lose nothing."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

import toy_process
from toy_process import Fault
from umamba.errors import CheckpointError
from umamba.nnunet.checkpoints.files import (
    previous_of,
    read_checkpoint,
    remove_partial,
    write_checkpoint,
)
from umamba.nnunet.training.state import STATE, newest_checkpoint
from umamba.system.environment import environment

pytestmark = pytest.mark.nnunet

LENGTH = ["--epochs", "3", "--iterations", "12", "--seed", "7"]
NORMAL, SLOW = 3, 50


class Reference:
    """A data set, and what an uninterrupted training of it ends with."""

    def __init__(self, root: Path) -> None:
        self.root = root
        began = time.monotonic()
        assert toy_process.run(root, *LENGTH) == 0, (root / "said").read_text()
        self.seconds = time.monotonic() - began
        self.final = read_checkpoint(toy_process.fold_of(root) / "checkpoint_final.pth")

    def fresh(self, root: Path) -> Path:
        """Another place for results, beside the same data."""
        for name in ("raw", "preprocessed"):
            (root / name).symlink_to(self.root / name)
        return root


@pytest.fixture(scope="module")
def reference(
    preprocessed_toy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reference]:
    root = shutil.copytree(preprocessed_toy, tmp_path_factory.mktemp("faults") / "toy")
    with environment(nnUNet_def_n_proc="2", nnUNet_n_proc_DA="1"):
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
    with suppress(ProcessLookupError):  # it may end just now
        os.kill(process.pid, number)
    process.join(60)
    deadline = time.monotonic() + 10  # workers look for their parent once in a while
    while toy_process.processes_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not toy_process.processes_of(process.pid)
    return process.exitcode


FAULTS = {
    "before the first iteration": (Fault("on_train_start", 1, signal.SIGTERM), 130, None),
    "in a training iteration": (Fault("train_step", 6, signal.SIGINT), 75, (1, 2)),
    "in the last training iteration": (Fault("train_step", 8, signal.SIGUSR1), 75, (1, 4)),
    "in the last validation": (Fault("validation_step", 3, signal.SIGTERM), 75, (3, 0)),
    "in the final validation": (Fault("perform_actual_validation", 1, signal.SIGINT), 75, (3, 0)),
    "by a stop file": (Fault("train_step", 1, None), 75, (0, 1)),
}


@pytest.mark.parametrize(
    "when",
    [
        pytest.param("before the first iteration", marks=pytest.mark.slow),
        "in a training iteration",
        "in the final validation",
        pytest.param("in the last training iteration", marks=pytest.mark.slow),
        pytest.param("in the last validation", marks=pytest.mark.slow),
        pytest.param("by a stop file", marks=pytest.mark.slow),
    ],
)
def test_a_stop_costs_no_iteration(reference: Reference, tmp_path: Path, when: str) -> None:
    fault, wanted_code, progress = FAULTS[when]
    root = reference.fresh(tmp_path)
    assert toy_process.run(root, *LENGTH, fault=fault) == wanted_code
    fold = toy_process.fold_of(root)
    if progress is not None:
        finished = f"the training in {fold} is finished; --val validates it"
        advice = f"--resume (or --c) continues from {fold}"
        said = finished if when == "in the final validation" else advice
        assert said in (root / "said").read_text()
        checkpoint = read_checkpoint(newest_checkpoint(fold))
        unfinished = checkpoint[STATE]["unfinished_epoch"]
        iterations = 0 if unfinished is None else unfinished["iterations"]
        assert (checkpoint["current_epoch"], iterations) == progress
    assert not (fold / "stop").exists()
    assert_same_training(resume(root), reference.final)
    assert "logging issue" not in (root / "said").read_text()  # nnU-Net's, of a value logged twice


@pytest.mark.slow
def test_hours_end_a_training_and_a_second_one_beside_it_is_refused(
    reference: Reference, tmp_path: Path
) -> None:
    root = reference.fresh(tmp_path)
    long = ["--epochs", "100", "--iterations", "10000", "--seed", "7"]
    first = toy_process.start(root, *long, "--hours", str(6 / 3600))
    fold = toy_process.fold_of(root)
    while not fold.is_dir():
        time.sleep(0.1)
    assert toy_process.run(root, *LENGTH) == 2
    refusal = f"another process is at work in {fold}: process {first.pid} on"
    assert refusal in (root / "said").read_text()
    first.join(60)
    assert first.exitcode == 75
    assert "interrupted by the limit of --hours" in (root / "said").read_text()
    assert read_checkpoint(fold / "checkpoint_latest.pth")["umamba"]["epochs"] == 100


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
            # While Python starts up or shuts down, a process dies of it; before the first
            # iteration there is nothing to resume. FAULTS say when it has to be 75.
            assert code in {75, 130, -signal.SIGTERM}, code
            assert code != 75 or any(fold.glob("checkpoint_*.pth"))
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB in memory."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here ({error})")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    filler = folder / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(folder).free - leave))
    return filler


@pytest.mark.slow
def test_a_full_disk_is_named_before_the_training_and_loses_nothing_during_it(
    reference: Reference, small_disk: Path
) -> None:
    root = reference.fresh(small_disk)
    filler = fill(root, 20 * 2**20)
    assert toy_process.run(root, *LENGTH) == 2
    assert "the checkpoints of this training need 50 MiB" in (root / "said").read_text()
    filler.unlink()
    process = toy_process.start(root, "--epochs", "1000", "--iterations", "4000", "--seed", "7")
    latest = toy_process.fold_of(root) / "checkpoint_latest.pth"
    while not latest.is_file():
        time.sleep(0.02)
    (root / "said").write_text("")
    filler = fill(root, 8 * 2**10)
    process.join(60)
    assert process.exitcode == 2
    filler.unlink()
    said = (root / "said").read_text()
    assert "cannot be written" in said
    assert "Traceback" not in said
    assert toy_process.processes_of(process.pid) == []
    assert not list(latest.parent.glob(".*partial*"))
    assert read_checkpoint(newest_checkpoint(latest.parent))["umamba"]["epochs"] == 1000


def toy_checkpoint(value: int) -> dict[str, Any]:
    weights = {f"layer_{i}.weight": torch.full((8, 9), float(value)) for i in range(4)}
    return {"network_weights": weights, "current_epoch": value}


def damages(size: int) -> Iterator[tuple[str, int]]:
    """Where to cut a file, and where to flip a bit: everywhere, and at both ends in particular."""
    chance = random.Random(0)
    ends = [*range(0, 64, 8), *range(size - 64, size, 8)]
    yield from (("cut", position) for position in ends + chance.sample(range(size), 40))
    yield from (("flip", position) for position in ends + chance.sample(range(size), 200))


def test_damaged_checkpoints_are_refused_or_harmless(tmp_path: Path) -> None:
    """No damage, wherever it is, changes what a training goes on from, or ends in a traceback."""
    for value in (1, 2):
        write_checkpoint(
            toy_checkpoint(value), tmp_path / "checkpoint_latest.pth", keep_previous=True
        )
    latest = tmp_path / "checkpoint_latest.pth"
    whole = latest.read_bytes()
    chance, refused = random.Random(1), 0
    for kind, position in damages(len(whole)):
        damaged = bytearray(whole[:position] if kind == "cut" else whole)
        if kind == "flip":
            damaged[position] ^= 1 << chance.randrange(8)
        latest.unlink()
        latest.write_bytes(damaged)
        try:
            value = read_checkpoint(latest)["current_epoch"]
        except CheckpointError:
            value, refused = 1, refused + 1
        newest = read_checkpoint(newest_checkpoint(tmp_path))
        assert newest["current_epoch"] == value, (kind, position)
        for name, weight in toy_checkpoint(value)["network_weights"].items():
            assert torch.equal(newest["network_weights"][name], weight), (kind, position)
    assert refused > 100


@pytest.mark.parametrize(
    "moment",
    ["os.fsync", "pathlib.Path.hardlink_to", "pathlib.Path.replace", "pathlib.Path.unlink"],
)
@pytest.mark.parametrize("call", [1, 2])
def test_death_while_a_checkpoint_is_written_leaves_a_whole_one(
    tmp_path: Path, moment: str, call: int
) -> None:
    path = tmp_path / "checkpoint_latest.pth"
    for value in (1, 2):
        write_checkpoint(toy_checkpoint(value), path, keep_previous=True)
    child = os.fork()
    if child == 0:
        toy_process.die_at(moment, call)
        write_checkpoint(toy_checkpoint(3), path, keep_previous=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL
    assert read_checkpoint(newest_checkpoint(tmp_path))["current_epoch"] in (2, 3)
    remove_partial(tmp_path)
    write_checkpoint(toy_checkpoint(4), path, keep_previous=True)
    assert read_checkpoint(path)["current_epoch"] == 4
    assert {p.name for p in tmp_path.iterdir()} == {path.name, previous_of(path).name}
