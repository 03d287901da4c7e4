"""Lesion-wise Dice and HD95 as in BraTS 2023: the mean over lesions, with penalties.

A reference lesion is everything that a dilation of the reference joins. Its prediction consists of
all predicted components that touch the dilated lesion. Lesions without a prediction, and predicted
components that touch no lesion, count with a Dice of 0 and the penalty as HD95.

Source: Moawad et al. 2023, arXiv:2306.00838; Saluja et al. 2023, the challenge's description of its
metrics. The challenge dilates by 3 voxels (1 for meningiomas and metastases), leaves out lesions of
at most 50 mm^3 (metastases: 2), and has a penalty of 374 mm.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.evaluation.instances import find_components
from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.metric import Metric
from umamba.evaluation.settings import EvaluationSettings

__all__ = ["LESION_DICE", "LESION_HD95"]

Array = npt.NDArray[Any]
Box = tuple[slice, ...]


def _lesion_dice(masks: LabelMasks) -> float:
    scores = masks.once(_lesion_scores)
    return float(np.mean([dice for dice, _ in scores])) if scores else math.nan


def _lesion_hd95(masks: LabelMasks) -> float:
    scores = masks.once(_lesion_scores)
    return float(np.mean([hd95 for _, hd95 in scores])) if scores else math.nan


def _lesion_scores(masks: LabelMasks) -> list[tuple[float, float]]:
    """Return Dice and HD95 of every lesion scored, and of every one falsely predicted."""
    from scipy import ndimage

    if masks.counts.empty == "both":
        return []
    settings = masks.settings
    prediction, reference = masks.booleans
    lesions = find_components(_dilate(reference, settings.lesion_dilation)) * reference
    predicted = find_components(prediction)
    boxes = ndimage.find_objects(predicted)
    volume = math.prod(masks.spacing)
    scores, touched = [], set[int]()
    for number, lesion, numbers in _lesions(lesions, predicted, settings.lesion_dilation):
        touched |= numbers
        if np.count_nonzero(lesions[lesion] == number) * volume <= settings.lesion_volume:
            continue
        box = _joined(lesion, *(boxes[n - 1] for n in numbers))
        pair = np.isin(predicted[box], list(numbers)), lesions[box] == number
        scores.append(_scores_of_pair(*pair, masks.spacing, settings))
    n_false = len(boxes) - len(touched)
    return scores + [(0.0, settings.lesion_penalty)] * n_false


def _lesions(
    lesions: Array, predicted: Array, dilation: int
) -> Iterator[tuple[int, Box, set[int]]]:
    """Yield each lesion's number, box, and the predicted components that touch it once dilated."""
    from scipy import ndimage

    for number, box in enumerate(ndimage.find_objects(lesions), start=1):
        if box is None:
            continue
        grown = tuple(slice(max(side.start - dilation, 0), side.stop + dilation) for side in box)
        around = _dilate(lesions[grown] == number, dilation)
        yield number, box, set(np.unique(predicted[grown][around]).tolist()) - {0}


def _dilate(mask: Array, n_voxels: int) -> Array:
    from scipy import ndimage

    if not n_voxels:
        return mask
    structure = ndimage.generate_binary_structure(mask.ndim, 2)
    dilated: Array = ndimage.binary_dilation(mask, structure, n_voxels)
    return dilated


def _joined(*boxes: Box) -> Box:
    """Return the smallest box that contains all boxes."""
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*boxes, strict=True)
    )


def _scores_of_pair(
    prediction: Array, reference: Array, spacing: tuple[float, ...], settings: EvaluationSettings
) -> tuple[float, float]:
    pair = LabelMasks.of_booleans(prediction, reference, spacing, settings)
    if pair.distances is None:
        return 0.0, settings.lesion_penalty
    counts = pair.counts
    return (
        2 * counts.common / (counts.prediction + counts.reference),
        pair.distances.hausdorff(95.0),
    )


_RULE = (
    "over reference lesions, joined where they touch after a dilation by `--lesion-dilation`, and "
    "predicted components that touch none. A lesion's prediction is every component that touches "
    "the dilated lesion. Lesions of at most `--lesion-volume` are left out."
)
_SOURCE = "BraTS 2023: Moawad et al. 2023, arXiv:2306.00838"

LESION_DICE = Metric(
    name="lesion_dice",
    title="lesion-wise Dice",
    measure=_lesion_dice,
    definition=f"The mean Dice {_RULE} Lesions missed or falsely predicted count as 0.",
    source=_SOURCE,
    empty="one: 0; both: undefined, or as `--empty` says",
    is_overlap=True,
)
LESION_HD95 = Metric(
    name="lesion_hd95",
    title="lesion-wise HD95",
    measure=_lesion_hd95,
    definition=(
        f"The mean HD95 {_RULE} Lesions missed or falsely predicted count as `--lesion-penalty`."
    ),
    source=_SOURCE,
    empty="one: the penalty; both: undefined",
    unit="length",
    higher_is_better=False,
    decimals=2,
    of_surfaces=True,
)
