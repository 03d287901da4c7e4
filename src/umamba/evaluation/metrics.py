"""The list of all metrics; whatever shows, writes or compares them goes by it.

A metric that is not defined is NaN, never 0 or 1: without reference voxels sensitivity and the
volume error, without predicted voxels precision, without one of both the surface distances,
and without both everything. Dice, IoU and NSD are 0 where just one is empty, as their formulas
say; `OverlapCounts.empty` tells such cases apart, for an average over them means little.

Source: Maier-Hein et al. 2024, arXiv:2206.01653, on empty references and predictions.
"""

from collections.abc import Mapping

from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.metric import Metric
from umamba.evaluation.overlap_metrics import DICE, IOU, PRECISION, SENSITIVITY, VOLUME_ERROR
from umamba.evaluation.surface_metrics import ASSD, HD95, NSD

__all__ = ["METRICS", "measure"]

# In the order in which tables show them.
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (DICE, IOU, NSD, HD95, ASSD, VOLUME_ERROR, SENSITIVITY, PRECISION)
}


def measure(masks: LabelMasks) -> dict[str, float]:
    """Return all metrics of one label by name; NaN where undefined."""
    return {name: metric.measure(masks) for name, metric in METRICS.items()}
