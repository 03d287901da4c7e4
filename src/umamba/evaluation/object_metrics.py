"""Metrics of single objects: connected components, or objects that masks number."""

import math

import numpy as np

from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.metric import Metric

__all__ = [
    "LESION_FALSE_POSITIVES",
    "LESION_FALSE_POSITIVE_VOLUME",
    "LESION_RECALL",
    "PANOPTIC_QUALITY",
]


def _panoptic_quality(masks: LabelMasks) -> float:
    objects = masks.objects
    n_objects = len(objects.reference_volumes) + len(objects.prediction_volumes)
    iou = objects.dice / (2 - objects.dice)
    return float(iou.sum()) / (n_objects / 2) if n_objects else math.nan


def _lesion_recall(masks: LabelMasks) -> float:
    n_lesions = len(masks.overlaps.reference)
    return len(np.unique(masks.overlaps.pairs[:, 0])) / n_lesions if n_lesions else math.nan


def _lesion_false_positives(masks: LabelMasks) -> float:
    overlaps = masks.overlaps
    return float(len(overlaps.prediction) - len(np.unique(overlaps.pairs[:, 1])))


def _lesion_false_positive_volume(masks: LabelMasks) -> float:
    overlaps = masks.overlaps
    is_false = np.ones(len(overlaps.prediction), dtype=bool)
    is_false[overlaps.pairs[:, 1]] = False
    return float(overlaps.prediction[is_false].sum()) * math.prod(masks.spacing)


PANOPTIC_QUALITY = Metric(
    name="panoptic_quality",
    title="PQ",
    measure=_panoptic_quality,
    definition=(
        "Panoptic quality: the sum of the IoUs of matched objects, divided by the number of "
        "matches plus half the number of all other objects. Objects match above an IoU of 0.5, or "
        "of `--matching-iou`."
    ),
    source="Kirillov et al. 2019, arXiv:1801.00868",
    empty="one: 0; both: undefined, or as `--empty` says",
    is_overlap=True,
)
LESION_RECALL = Metric(
    name="lesion_recall",
    title="lesion recall",
    measure=_lesion_recall,
    definition="The share of the reference's objects that contain at least one predicted voxel.",
    source="Hernandez Petzsche et al. 2022, doi:10.1038/s41597-022-01875-5",
    empty="reference: undefined; prediction: 0",
)
LESION_FALSE_POSITIVES = Metric(
    name="lesion_false_positives",
    title="false positive lesions",
    measure=_lesion_false_positives,
    definition="The number of predicted objects in a case that contain no voxel of the reference.",
    source="Gatidis et al. 2024, doi:10.1038/s42256-024-00912-9",
    empty="reference: all objects predicted; prediction or both: 0",
    higher_is_better=False,
    decimals=2,
)
LESION_FALSE_POSITIVE_VOLUME = Metric(
    name="lesion_false_positive_volume",
    title="false positive volume",
    measure=_lesion_false_positive_volume,
    definition=(
        "The volume, in 2D the area, of predicted objects in a case that contain no voxel of the "
        "reference."
    ),
    source="Gatidis et al. 2024, doi:10.1038/s42256-024-00912-9",
    empty="reference: the volume predicted; prediction or both: 0",
    unit="volume",
    higher_is_better=False,
    decimals=1,
)
