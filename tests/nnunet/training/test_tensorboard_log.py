"""What TensorBoard shows of a training: every epoch once, also after a resume."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from umamba.errors import UMambaError
from umamba.nnunet.training import tensorboard_log
from umamba.nnunet.training.tensorboard_log import TensorBoardLog


def values_of(n_epochs: int) -> dict[str, list[Any]]:
    """nnU-Net's log."""
    return {
        "train_losses": [1.0 / (epoch + 1) for epoch in range(n_epochs)],
        "val_losses": [2.0 / (epoch + 1) for epoch in range(n_epochs)],
        "mean_fg_dice": [0.25 * epoch for epoch in range(n_epochs)],
        "ema_fg_dice": [0.125 * epoch for epoch in range(n_epochs)],
        "dice_per_class_or_region": [[0.5, 0.25]] * n_epochs,
        "lrs": [0.01] * n_epochs,
        "epoch_start_timestamps": [100.0 * epoch for epoch in range(n_epochs)],
        "epoch_end_timestamps": [100.0 * epoch + 64 for epoch in range(n_epochs)],
    }


def shown(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    found = EventAccumulator(str(folder / "tensorboard")).Reload()
    tags = found.Tags()["scalars"]
    return {tag: [(e.step, e.value, e.wall_time) for e in found.Scalars(tag)] for tag in tags}


def test_every_epoch_is_logged_once_whatever_was_interrupted(tmp_path: Path) -> None:
    logged = values_of(2)
    first = TensorBoardLog(tmp_path, logged.__getitem__)
    logged |= values_of(3)
    first.update()
    first.update()
    assert [step for step, *_ in shown(tmp_path)["loss/train"]] == [1, 2, 3]
    # A checkpoint may be an epoch behind the log; the file of a killed process is not closed.
    resumed = TensorBoardLog(tmp_path, values_of(2).__getitem__)
    first.close()
    resumed.close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    whole = TensorBoardLog(tmp_path, values_of(4).__getitem__)
    whole.close()
    found = shown(tmp_path)
    assert found["loss/train"] == [
        (n + 1, pytest.approx(1 / (n + 1)), 100.0 * n + 64) for n in range(4)
    ]
    assert [value for _, value, _ in found["pseudo Dice/mean"]] == [0.0, 0.25, 0.5, 0.75]
    assert {value for _, value, _ in found["pseudo Dice/label 2"]} == {0.25}
    assert {value for _, value, _ in found["seconds per epoch"]} == {64.0}
    assert [value for _, value, _ in found["learning rate"]] == pytest.approx([0.01] * 4)


def test_the_package_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard_log, "find_spec", lambda _: None)
    with pytest.raises(UMambaError, match=r"needs the package tensorboard: pip install 'umamba\["):
        TensorBoardLog(tmp_path, values_of(1).__getitem__)
    assert not list(tmp_path.iterdir())
