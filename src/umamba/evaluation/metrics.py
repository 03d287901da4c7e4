"""The list of all metrics; whatever shows, writes or compares them goes by it.

A metric that is not defined is NaN, never 0 or 1: without reference voxels sensitivity and the
volume error, without predicted voxels precision, without one of both the surface distances,
and without both everything. Dice, IoU and NSD are 0 where just one is empty, as their formulas
say; `OverlapCounts.empty` tells such cases apart, for an average over them means little.

Source: Maier-Hein et al. 2024, arXiv:2206.01653, on empty references and predictions.
"""

from collections.abc import Iterable, Mapping

from umamba.errors import EvaluationError
from umamba.evaluation.boundary_iou import BOUNDARY_IOU
from umamba.evaluation.calibration import CALIBRATION_ERROR
from umamba.evaluation.centerline_dice import CENTERLINE_DICE
from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.lesion_metrics import LESION_DICE, LESION_HD95
from umamba.evaluation.metric import Metric
from umamba.evaluation.object_metrics import (
    LESION_FALSE_POSITIVES,
    LESION_RECALL,
    PANOPTIC_QUALITY,
)
from umamba.evaluation.overlap_metrics import (
    DICE,
    IOU,
    PRECISION,
    SENSITIVITY,
    VOLUME_BIAS,
    VOLUME_ERROR,
)
from umamba.evaluation.settings import EvaluationSettings
from umamba.evaluation.surface_metrics import ASSD, HD95, NSD

__all__ = [
    "ALL",
    "METRICS",
    "chosen_metrics",
    "measure",
    "measured_metrics",
    "needs_probabilities",
]

ALL = "all"  # in place of the names of all metrics

# In the order in which tables show them.
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        DICE,
        IOU,
        NSD,
        HD95,
        ASSD,
        VOLUME_ERROR,
        VOLUME_BIAS,
        SENSITIVITY,
        PRECISION,
        PANOPTIC_QUALITY,
        LESION_RECALL,
        LESION_FALSE_POSITIVES,
        CENTERLINE_DICE,
        BOUNDARY_IOU,
        LESION_DICE,
        LESION_HD95,
        CALIBRATION_ERROR,
    )
}


def chosen_metrics(settings: EvaluationSettings) -> dict[str, Metric]:
    """Return the standard metrics, and those that the settings add.

    Raises:
        EvaluationError: If there is no metric of a name.
    """
    unknown = sorted(set(settings.metrics) - {*METRICS, ALL})
    if unknown:
        others = ", ".join(name for name, metric in METRICS.items() if not metric.is_standard)
        msg = f"there is no metric {unknown[0]}; besides the standard ones there are {others}"
        raise EvaluationError(msg)
    added = METRICS.keys() if ALL in settings.metrics else settings.metrics
    return {n: metric for n, metric in METRICS.items() if metric.is_standard or n in added}


def needs_probabilities(settings: EvaluationSettings) -> bool:
    """Return whether a metric that the settings choose needs them."""
    return any(metric.of_probabilities for metric in chosen_metrics(settings).values())


def measured_metrics(rows: Iterable[Mapping[str, float | None]]) -> dict[str, Metric]:
    """Return the metrics that some cases have.

    Args:
        rows: Of each case its metrics, by name.
    """
    names = {name for row in rows for name in row}
    return {name: metric for name, metric in METRICS.items() if name in names}


def measure(masks: LabelMasks) -> dict[str, float]:
    """Return the metrics of one label that its settings choose, by name; NaN where undefined."""
    return {name: metric.measure(masks) for name, metric in chosen_metrics(masks.settings).items()}
