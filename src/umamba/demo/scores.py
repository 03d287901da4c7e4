"""Dice, and a segmentation without a network: two thresholds, fitted on the training part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.demo.data import LABELS

__all__ = ["Thresholds", "dice", "dice_per_label", "fit_thresholds", "mean_dice"]

Volume = npt.NDArray[Any]

_CANDIDATES = 400


def dice(reference: Volume, prediction: Volume) -> float:
    """Return the Dice of two masks, 2 |A and B| / (|A| + |B|); NaN if both are empty."""
    total = int(np.count_nonzero(reference)) + int(np.count_nonzero(prediction))
    if total == 0:
        return float("nan")
    return 2 * int(np.count_nonzero(reference & prediction)) / total


def dice_per_label(reference: Volume, prediction: Volume) -> dict[str, float]:
    """Return the Dice of every label."""
    return {name: dice(reference == value, prediction == value) for name, value in LABELS.items()}


def mean_dice(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average the Dice of every label over scans; `mean` is the average over labels."""
    means = {name: float(np.mean([score[name] for score in scores])) for name in LABELS}
    return {**means, "mean": float(np.mean(list(means.values())))}


@dataclass(frozen=True)
class Thresholds:
    """Two intensity thresholds: grey matter from `grey` upwards, white matter from `white`."""

    grey: float
    white: float

    def segment(self, image: Volume) -> Volume:
        """Return the labels of an image."""
        labels = np.zeros(image.shape, np.uint8)
        labels[image >= self.grey] = LABELS["grey_matter"]
        labels[image >= self.white] = LABELS["white_matter"]
        return labels


def fit_thresholds(images: Sequence[Volume], masks: Sequence[Volume]) -> Thresholds:
    """Find the two thresholds with the best Dice on all training scans together.

    All pairs of 400 intensities are tried; the best has the highest mean Dice.

    Args:
        images: The training scans.
        masks: Their labels.

    Returns:
        The thresholds.
    """
    image = np.concatenate([scan.ravel() for scan in images])
    labels = np.concatenate([mask.ravel() for mask in masks])
    edges = np.linspace(float(image.min()), float(image.max()), _CANDIDATES)

    def at_least(values: Volume) -> Volume:
        counts = np.histogram(values, [*edges, np.inf])[0]
        return np.cumsum(counts[::-1])[::-1].astype(float)

    everything = at_least(image)
    grey, white = (at_least(image[labels == value]) for value in LABELS.values())
    dice_white = 2 * white / np.maximum(everything + white[0], 1)
    # Rows are thresholds for grey matter, columns those for white matter.
    hits = grey[:, None] - grey[None, :]
    called = everything[:, None] - everything[None, :]
    dice_grey = 2 * hits / np.maximum(called + grey[0], 1)
    both = np.triu(dice_grey + dice_white[None, :])
    row, column = np.unravel_index(int(both.argmax()), both.shape)
    return Thresholds(float(edges[row]), float(edges[column]))
