"""The list of all metrics; everything that shows, writes or compares them uses it.

An undefined metric is NaN, never 0 or 1: without reference voxels this holds for sensitivity and
the volume error, without predicted voxels for precision, with either mask empty for the surface
distances, and with both empty for everything. Dice, IoU and NSD are 0 if just one mask is empty, as
their formulas say; `OverlapCounts.empty` tells such cases apart, as averages over them mean little.

Source: Maier-Hein et al. 2024, arXiv:2206.01653, on empty references and predictions.
"""

from collections.abc import Iterable, Mapping

from umamba.errors import EvaluationError
from umamba.evaluation.boundary_iou import BOUNDARY_IOU
from umamba.evaluation.calibration import CALIBRATION_ERROR
from umamba.evaluation.centerline_dice import CENTERLINE_DICE
from umamba.evaluation.extra_metrics import EXTRA_METRICS
from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.lesion_metrics import LESION_DICE, LESION_HD95
from umamba.evaluation.metric import Metric
from umamba.evaluation.object_metrics import (
    LESION_FALSE_POSITIVE_VOLUME,
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

# In the order of tables.
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
        LESION_FALSE_POSITIVE_VOLUME,
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
        EvaluationError: If a name is not that of a metric.
    """
    unknown = sorted(set(settings.metrics) - {*METRICS, ALL})
    if unknown:
        msg = (
            f"there is no metric {unknown[0]}; in addition to the standard ones there are "
            f"{', '.join(EXTRA_METRICS)}"
        )
        raise EvaluationError(msg)
    added = METRICS.keys() if ALL in settings.metrics else settings.metrics
    return {n: metric for n, metric in METRICS.items() if metric.is_standard or n in added}


def needs_probabilities(settings: EvaluationSettings) -> bool:
    """Return whether a metric that the settings choose needs probabilities."""
    return any(metric.of_probabilities for metric in chosen_metrics(settings).values())


def measured_metrics(rows: Iterable[Mapping[str, float | None]]) -> dict[str, Metric]:
    """Return the metrics that the given cases have.

    Args:
        rows: Metrics of each case, by name.
    """
    names = {name for row in rows for name in row}
    return {name: metric for name, metric in METRICS.items() if name in names}


def measure(masks: LabelMasks) -> dict[str, float]:
    """Return the metrics chosen for one label, by name; NaN where undefined."""
    return {name: metric.measure(masks) for name, metric in chosen_metrics(masks.settings).items()}
