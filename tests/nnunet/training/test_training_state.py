"""Checkpoints hold what a training needs to go on as if never stopped."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.utilities.collate_outputs import collate_outputs

from umamba.errors import CheckpointError, ResumableInterruptError
from umamba.nnunet.checkpoints.files import read_checkpoint, write_checkpoint
from umamba.nnunet.training.state import (
    STATE,
    UnfinishedEpoch,
    how_to_go_on,
    newest_checkpoint,
    random_states,
    restore_random_states,
)
from umamba.system.interruption import resumable


def through_a_file(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write, and read as safely as any checkpoint."""
    path = folder / "c.pth"
    write_checkpoint({"network_weights": {}, "state": state}, path, keep_previous=False)
    read: dict[str, Any] = read_checkpoint(path)["state"]
    return read


def draws() -> list[float]:
    drawn = [random.random(), random.gauss(0, 1), random.gauss(0, 1)]
    drawn += [float(np.random.rand()), *np.random.randn(3)]  # noqa: NPY002
    return [*drawn, float(torch.rand(())), float(torch.randn(()))]


@pytest.mark.parametrize("odd", [False, True])
def test_random_states_come_back(tmp_path: Path, odd: bool) -> None:
    if odd:  # half a pair of normal numbers is waiting in numpy and Python
        random.gauss(0, 1)
        np.random.randn()  # noqa: NPY002
    state = random_states()
    wanted = draws()
    state = through_a_file(state, tmp_path)
    assert draws() != wanted
    restore_random_states(state)
    assert draws() == wanted


def test_an_unfinished_epoch_comes_back_as_nnunet_collates_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    training = [{"loss": np.array(rng.normal(), np.float32)} for _ in range(5)]
    validation = [
        {"loss": np.array(rng.normal(), np.float32), "tp_hard": rng.random(2, np.float32)}
        for _ in range(3)
    ]
    state = through_a_file(UnfinishedEpoch(training, validation, 2.5).to_state(), tmp_path)
    assert state["iterations"] == 8
    back = UnfinishedEpoch.from_state(state)
    assert back.seconds == 2.5
    for got, want in ((back.training, training), (back.validation, validation)):
        got_collated, want_collated = collate_outputs(got), collate_outputs(want)
        assert got_collated.keys() == want_collated.keys()
        for key, values in want_collated.items():
            assert np.array_equal(got_collated[key], values)
            assert got_collated[key].dtype == values.dtype


def test_an_epoch_that_has_just_begun_comes_back() -> None:
    assert UnfinishedEpoch.from_state(UnfinishedEpoch().to_state()) == UnfinishedEpoch()


def checkpoint(folder: Path, name: str, epoch: int, iterations: int | None = None) -> Path:
    unfinished = None if iterations is None else {"iterations": iterations}
    contents = {
        "network_weights": {"w": torch.zeros(100)},
        "current_epoch": epoch,
        STATE: {"unfinished_epoch": unfinished},
    }
    write_checkpoint(contents, folder / f"checkpoint_{name}.pth", keep_previous=False)
    return folder / f"checkpoint_{name}.pth"


def test_the_checkpoint_that_got_farthest_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError, match="can be continued: there is none"):
        newest_checkpoint(tmp_path)
    best = checkpoint(tmp_path, "best", 3)
    previous = checkpoint(tmp_path, "latest_previous", 3, 2)
    latest = checkpoint(tmp_path, "latest", 3, 10)
    assert newest_checkpoint(tmp_path) == latest
    for torn, then in ((latest, previous), (previous, best)):
        torn.write_bytes(torn.read_bytes()[:-100])
        assert newest_checkpoint(tmp_path) == then
        message = capsys.readouterr().err
        assert f"checkpoint {torn} is damaged" in message or f"{torn} cannot be read" in message
        assert f"resuming from {then}" in message
    final = checkpoint(tmp_path, "final", 4)
    checkpoint(tmp_path, "latest", 4)
    assert newest_checkpoint(tmp_path) == final
    for path in tmp_path.glob("*.pth"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"can be continued: .*is damaged"):
        newest_checkpoint(tmp_path)


def test_a_checkpoint_of_stock_nnunet_counts_its_epochs(tmp_path: Path) -> None:
    stock = tmp_path / "checkpoint_best.pth"
    torch.save({"network_weights": {}, "current_epoch": 7}, stock)
    checkpoint(tmp_path, "latest", 6, 100)
    assert newest_checkpoint(tmp_path) == stock


def test_an_interrupt_names_how_to_go_on_if_there_is_a_checkpoint(tmp_path: Path) -> None:
    def interrupt(reason: str = "") -> None:
        with resumable(lambda: how_to_go_on(tmp_path)):
            raise KeyboardInterrupt(reason)

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    (tmp_path / "checkpoint_best.pth").touch()
    with pytest.raises(ResumableInterruptError, match="by SIGTERM; --resume") as caught:
        interrupt("SIGTERM")
    assert caught.value.code == 75
    (tmp_path / "checkpoint_final.pth").touch()
    with pytest.raises(
        ResumableInterruptError, match=r"interrupted; the training in .* is finished; --val"
    ):
        interrupt()
