"""The course of a training in TensorBoard's format, for those who look there."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from umamba.errors import UMambaError

__all__ = ["TensorBoardLog", "require_tensorboard"]

_FOLDER = "tensorboard"
_FILES = "events.out.tfevents.*"
# Names in TensorBoard, by nnU-Net's.
_SCALARS = {
    "loss/train": "train_losses",
    "loss/validation": "val_losses",
    "pseudo Dice/mean": "mean_fg_dice",
    "pseudo Dice/smoothed": "ema_fg_dice",
    "learning rate": "lrs",
}
_PER_LABEL = "dice_per_class_or_region"


def require_tensorboard() -> None:
    """Check that TensorBoard is installed.

    Raises:
        UMambaError: If it is not.
    """
    if find_spec("tensorboard") is None:
        msg = "--tensorboard needs the package tensorboard: pip install 'umamba[tensorboard]'"
        raise UMambaError(msg)


class TensorBoardLog:
    """The log of a training, with a value per epoch.

    A training that is resumed has all its epochs in its checkpoint, so the log is written anew and
    replaces the earlier one: no epoch is in it twice, and none is missing.

    Args:
        folder: The folder of the fold; the log goes into `tensorboard` there.
        logged: Returns nnU-Net's values of all epochs by name.

    Raises:
        UMambaError: If TensorBoard is not installed.
    """

    def __init__(self, folder: Path, logged: Callable[[str], Sequence[Any]]) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        place = folder / _FOLDER
        earlier = set(place.glob(_FILES))
        self._logged, self._next = logged, 0
        self._writer = SummaryWriter(str(place))
        self.update()
        for file in earlier:
            file.unlink(missing_ok=True)

    def update(self) -> None:
        """Write the epochs that have ended since the last time."""
        ends = self._logged("epoch_end_timestamps")
        for epoch in range(self._next, len(ends)):
            for name, value in self._values(epoch).items():
                self._writer.add_scalar(name, value, epoch + 1, walltime=ends[epoch])
        self._next = len(ends)
        self._writer.flush()

    def _values(self, epoch: int) -> dict[str, float]:
        values = {name: float(self._logged(key)[epoch]) for name, key in _SCALARS.items()}
        values |= {
            f"pseudo Dice/label {number}": float(dice)
            for number, dice in enumerate(self._logged(_PER_LABEL)[epoch], start=1)
        }
        begin, end = (self._logged(f"epoch_{name}_timestamps")[epoch] for name in ("start", "end"))
        return values | {"seconds per epoch": float(end - begin)}

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._writer.close()
