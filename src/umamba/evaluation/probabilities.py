"""Probabilities that nnU-Net saved next to a prediction, as `CASE.npz`."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.datasets.checks import short
from umamba.images.contents import UnreadableFileError
from umamba.images.file_names import split_ending

__all__ = ["Labels", "Probabilities", "read_probabilities"]

Array = npt.NDArray[Any]
# A value in the masks, or several that form a region.
Labels = Mapping[str, int | tuple[int, ...]]
_KEY = "probabilities"
_FIX = "predict again with --npz, or leave out the metrics that need probabilities"
_ROUNDING = 1e-2


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Probabilities of all labels of an image.

    Attributes:
        channels: (channels, *spatial).
        labels: Labels and regions, as they are evaluated.
        is_softmax: Whether there is a channel per value, background first, or one per label.
    """

    channels: Array
    labels: Labels
    is_softmax: bool

    def of(self, name: str) -> Array:
        """Return the probability of a label, (*spatial): for a region the sum over its values."""
        if not self.is_softmax:
            return self._channel(list(self.labels).index(name))
        given = self.labels[name]
        values = given if isinstance(given, tuple) else (given,)
        if len(values) == 1:
            return self._channel(values[0])
        return np.asarray(sum(self._channel(value) for value in values))

    def _channel(self, index: int) -> Array:
        channel: Array = self.channels[index]
        return channel


def read_probabilities(
    prediction: Path, shape: tuple[int, ...], labels: Labels
) -> Probabilities | None:
    """Read the probabilities next to a prediction.

    Args:
        prediction: The file of the mask.
        shape: Shape of the mask.
        labels: Labels and regions.

    Returns:
        The probabilities; `None` if there is no such file.

    Raises:
        UnreadableFileError: If the file cannot be read, or is of another image or other labels.
    """
    file = prediction.with_name(f"{split_ending(prediction)[0]}.npz")
    if not file.is_file():
        return None
    n_values = 1 + max(
        max(given) if isinstance(given, tuple) else given for given in labels.values()
    )
    try:
        claimed = _claimed_shape(file)
        n_channels, spatial = claimed[0], claimed[1:]
        fits = spatial in (shape, (1, *shape)) and (
            n_channels >= n_values or n_channels == len(labels)
        )
        channels = np.load(file, allow_pickle=False)[_KEY] if fits else None
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        problem = f"{short(file)} does not hold probabilities: {error}"
        raise UnreadableFileError(problem, _FIX) from None
    if channels is None:
        problem = (
            f"{short(file)} has the shape {claimed}, which does not fit {len(labels)} labels of an "
            f"image of the shape {shape}"
        )
        raise UnreadableFileError(problem, _FIX)
    channels = channels.reshape(len(channels), *shape)
    is_softmax = len(channels) >= n_values and _sums_to_one(channels)
    if not is_softmax and len(channels) != len(labels):
        problem = f"{short(file)} has neither one channel per value nor one per label"
        raise UnreadableFileError(problem, _FIX)
    return Probabilities(channels, labels, is_softmax)


def _claimed_shape(file: Path) -> tuple[int, ...]:
    """Read only the shape, so that an array that does not fit is never unpacked."""
    with zipfile.ZipFile(file) as archive, archive.open(f"{_KEY}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(stream)
    if dtype.kind != "f":
        msg = f"they are of type {dtype}"
        raise ValueError(msg)
    return tuple(shape)


def _sums_to_one(channels: Array) -> bool:
    """Tell channels per value, which add up to 1, from channels per region, which overlap."""
    some = channels.reshape(len(channels), -1)[:, :: max(1, channels[0].size // 10_000)]
    return bool(np.all(np.abs(some.sum(axis=0, dtype=np.float64) - 1) < _ROUNDING))
