"""FROC: the share of lesions found, against the number of false positives per case.

A candidate is a connected component of voxels whose probability is at least 0.1; its score is the
highest probability in it. It finds every lesion of the reference that it shares a voxel with. A
candidate that finds none is a false positive at all thresholds up to its score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.evaluation.instances import find_components

__all__ = ["RATES", "Froc", "LesionScores", "froc", "lesion_scores"]

Array = npt.NDArray[Any]
CANDIDATE_FROM = 0.1
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false positives per case


@dataclass(frozen=True)
class LesionScores:
    """Scores of one label in one case.

    Attributes:
        lesions: For each lesion of the reference, the highest score of a candidate that finds it;
            0 if there is none.
        false_positives: Score of each candidate that finds no lesion.
    """

    lesions: tuple[float, ...]
    false_positives: tuple[float, ...]


def lesion_scores(probability: Array, reference: Array) -> LesionScores:
    """Score the lesions of one label.

    Args:
        probability: Probability of the label, 2D or 3D; voxels with NaN are left out.
        reference: Mask of the label, booleans of the same shape.
    """
    from scipy import ndimage

    if not probability.size:
        return LesionScores((), ())
    candidates = find_components(np.nan_to_num(probability) >= CANDIDATE_FROM)
    lesions = find_components(reference)
    n_candidates, n_lesions = int(candidates.max()), int(lesions.max())
    numbers = np.arange(1, n_candidates + 1)
    highest = np.zeros(n_candidates + 1)
    highest[1:] = ndimage.maximum(np.nan_to_num(probability), candidates, numbers)
    both = (candidates > 0) & (lesions > 0)
    found = np.zeros(n_lesions + 1)
    np.maximum.at(found, lesions[both], highest[candidates[both]])
    false = np.setdiff1d(numbers, candidates[both])
    return LesionScores(tuple(found[1:].tolist()), tuple(highest[false].tolist()))


@dataclass(frozen=True)
class Froc:
    """The curve of all cases together.

    Attributes:
        thresholds: Lowest scores with which candidates count, descending.
        false_positives: Number per case, at each threshold.
        sensitivity: Share of the lesions found, at each threshold.
        at_rates: The highest sensitivity with at most each of `RATES` false positives per case.
        score: Their mean, the competition performance metric.
        n_lesions: Number of lesions in all cases.
        n_cases: Number of cases.
    """

    thresholds: tuple[float, ...]
    false_positives: tuple[float, ...]
    sensitivity: tuple[float, ...]
    at_rates: tuple[float, ...]
    score: float
    n_lesions: int
    n_cases: int


def froc(cases: Sequence[LesionScores]) -> Froc | None:
    """Return the curve of some cases; `None` if none of them has a lesion.

    Source: Bunch et al. 1977, doi:10.1117/12.955926; rates and score: Setio et al. 2017,
    arXiv:1612.08012.
    """
    lesions = np.array([score for case in cases for score in case.lesions])
    false = np.array([score for case in cases for score in case.false_positives])
    if not len(lesions):
        return None
    thresholds = np.unique(np.concatenate([lesions[lesions > 0], false]))[::-1]
    found = np.array([np.count_nonzero(lesions >= t) for t in thresholds]) / len(lesions)
    rates = np.array([np.count_nonzero(false >= t) for t in thresholds]) / len(cases)
    at_rates = tuple(float(found[rates <= rate].max(initial=0.0)) for rate in RATES)
    return Froc(
        tuple(thresholds.tolist()),
        tuple(rates.tolist()),
        tuple(found.tolist()),
        at_rates,
        sum(at_rates) / len(RATES),
        len(lesions),
        len(cases),
    )
