"""Metrics of the voxels that two masks share, and of their volumes."""

import math

from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.metric import Metric

__all__ = ["DICE", "IOU", "PRECISION", "SENSITIVITY", "VOLUME_BIAS", "VOLUME_ERROR"]

_RELOADED = "Maier-Hein et al. 2024, arXiv:2206.01653"
_EMPTY_OVERLAP = "one: 0; both: undefined, or as `--empty` says"


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _dice(masks: LabelMasks) -> float:
    counts = masks.counts
    return _ratio(2 * counts.common, counts.prediction + counts.reference)


def _iou(masks: LabelMasks) -> float:
    counts = masks.counts
    return _ratio(counts.common, counts.prediction + counts.reference - counts.common)


def _volume_error(masks: LabelMasks) -> float:
    counts = masks.counts
    return _ratio(abs(counts.prediction - counts.reference), counts.reference)


def _volume_bias(masks: LabelMasks) -> float:
    counts = masks.counts
    return _ratio(counts.prediction - counts.reference, counts.reference)


def _sensitivity(masks: LabelMasks) -> float:
    return _ratio(masks.counts.common, masks.counts.reference)


def _precision(masks: LabelMasks) -> float:
    return _ratio(masks.counts.common, masks.counts.prediction)


DICE = Metric(
    name="dice",
    title="Dice",
    measure=_dice,
    definition="Twice the number of common voxels, as a share of the voxels of both masks.",
    source=_RELOADED,
    empty=_EMPTY_OVERLAP,
    is_overlap=True,
)
IOU = Metric(
    name="iou",
    title="IoU",
    measure=_iou,
    definition="The common voxels, as a share of the voxels in either mask.",
    source=_RELOADED,
    empty=_EMPTY_OVERLAP,
    is_overlap=True,
)
VOLUME_ERROR = Metric(
    name="volume_error",
    title="volume error",
    measure=_volume_error,
    definition="The absolute difference of the volumes, as a share of the reference's volume.",
    source="Heimann et al. 2009, doi:10.1109/TMI.2009.2013851",
    empty="reference: undefined; prediction: 1",
    higher_is_better=False,
)
VOLUME_BIAS = Metric(
    name="volume_bias",
    title="volume bias",
    measure=_volume_bias,
    definition=(
        "The predicted volume minus the reference's, as a share of the reference's; the mean says "
        "whether volumes are too large (positive) or too small (negative)."
    ),
    source="Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8",
    empty="reference: undefined; prediction: -1",
    higher_is_better=None,
)
SENSITIVITY = Metric(
    name="sensitivity",
    title="sensitivity",
    measure=_sensitivity,
    definition="The common voxels, as a share of the reference's voxels.",
    source=_RELOADED,
    empty="reference: undefined; prediction: 0",
)
PRECISION = Metric(
    name="precision",
    title="precision",
    measure=_precision,
    definition="The common voxels, as a share of the prediction's voxels.",
    source=_RELOADED,
    empty="reference: 0; prediction: undefined",
)
