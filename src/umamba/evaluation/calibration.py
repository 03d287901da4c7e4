"""Calibration: agreement of a label's predicted probability with its observed frequency."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.metric import Metric

__all__ = ["CALIBRATION_ERROR", "calibration_error"]

Array = npt.NDArray[Any]
_N_BINS = 15


def calibration_error(probability: Array, is_there: Array, n_bins: int = _N_BINS) -> float:
    """Return the expected calibration error (ECE).

    Args:
        probability: Probability of the label in every voxel.
        is_there: Whether the label is there, in every voxel.
        n_bins: Number of bins of equal width; each includes its upper edge.

    Returns:
        The difference between mean probability and frequency, averaged over the bins with their
        numbers of voxels as weights.

    Source:
        Guo et al. 2017, arXiv:1706.04599, with the probability of one label in place of that of
        the predicted label.
    """
    edges = np.linspace(0, 1, n_bins + 1)[1:-1]
    bins = np.searchsorted(edges, probability)
    expected = np.bincount(bins, probability, n_bins)
    observed = np.bincount(bins, is_there, n_bins)
    return float(np.abs(expected - observed).sum() / len(probability))


def _of_masks(masks: LabelMasks) -> float:
    if masks.probability is None or masks.counts.empty == "both":
        return math.nan
    probability = masks.probability[masks.box].astype(np.float64)
    known = ~np.isnan(probability)
    return calibration_error(probability[known], masks.booleans[1][known])


CALIBRATION_ERROR = Metric(
    name="ece",
    title="ECE",
    measure=_of_masks,
    definition=(
        "Expected calibration error of the label's probability, in 15 bins, over the voxels of the "
        "smallest box that holds both masks, as background beyond it says little. It needs "
        "nnU-Net's probabilities (`CASE.npz`) next to the prediction; else it is undefined."
    ),
    source=(
        "Guo et al. 2017, arXiv:1706.04599; within a box as in Mehrtash et al. 2020, "
        "arXiv:1911.13273"
    ),
    empty="both: undefined",
    higher_is_better=False,
    of_probabilities=True,
)
