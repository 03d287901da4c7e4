"""What two masks of one label have in common: overlap, surfaces and volumes.

A metric that is not defined is NaN, never 0 or 1: without reference voxels sensitivity and the
volume error, without predicted voxels precision, without one of both the surface distances,
and without both everything. Dice, IoU and NSD are 0 where just one is empty, as their formulas
say; `OverlapCounts.empty` tells such cases apart, for an average over them means little.

Source: Maier-Hein et al. 2024, arXiv:2206.01653, on empty references and predictions.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from umamba.evaluation.surfaces import Surface, extract_surface, measure_distances

__all__ = ["METRICS", "Emptiness", "OverlapCounts", "compare_masks", "metrics_from"]

Array = npt.NDArray[Any]
Emptiness = Literal["reference", "prediction", "both"]

METRICS = ("dice", "iou", "nsd", "hd95", "assd", "volume_error", "sensitivity", "precision")


@dataclass(frozen=True)
class OverlapCounts:
    """Voxels that both masks, the prediction, and the reference hold."""

    common: int
    prediction: int
    reference: int

    @classmethod
    def of_masks(cls, prediction: Array, reference: Array) -> "OverlapCounts":
        """Count the voxels of two masks of booleans."""
        masks = (prediction & reference, prediction, reference)
        return cls(*(int(np.count_nonzero(mask)) for mask in masks))

    @property
    def empty(self) -> Emptiness | None:
        """Which of the masks holds no voxel, if one does."""
        if not self.reference:
            return "reference" if self.prediction else "both"
        return None if self.prediction else "prediction"


def compare_masks(
    prediction: Array, reference: Array, spacing: tuple[float, ...], nsd_tolerance: float
) -> dict[str, float]:
    """Compute all metrics of one label.

    Args:
        prediction: Booleans, 2D or 3D.
        reference: Likewise, of the same shape.
        spacing: Distance of voxels along each axis.
        nsd_tolerance: Distance up to which surfaces agree, in the unit of the spacing.

    Returns:
        As `metrics_from`.
    """
    predicted, referred = (extract_surface(mask, spacing) for mask in (prediction, reference))
    counts = OverlapCounts.of_masks(prediction, reference)
    return metrics_from(counts, predicted, referred, nsd_tolerance)


def metrics_from(
    counts: OverlapCounts, prediction: Surface, reference: Surface, nsd_tolerance: float
) -> dict[str, float]:
    """Compute all metrics of one label from what its two masks have in common.

    Args:
        counts: Voxels.
        prediction: The surface of the predicted mask.
        reference: The surface of the reference.
        nsd_tolerance: Distance up to which surfaces agree, in the unit of the surfaces.

    Returns:
        By the names in `METRICS`: `dice`, `iou`, `sensitivity` and `precision` of voxels; `nsd`,
        `hd95` and `assd` of surfaces (see `SurfaceDistances`), the latter two in the unit of the
        spacing; `volume_error`, the absolute difference of volumes as a share of the reference's
        (Heimann et al. 2009, doi:10.1109/TMI.2009.2013851). NaN where undefined.
    """
    common, predicted, referred = counts.common, counts.prediction, counts.reference
    return {
        "dice": _ratio(2 * common, predicted + referred),
        "iou": _ratio(common, predicted + referred - common),
        **_surface_metrics(counts, prediction, reference, nsd_tolerance),
        "volume_error": _ratio(abs(predicted - referred), referred),
        "sensitivity": _ratio(common, referred),
        "precision": _ratio(common, predicted),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _surface_metrics(
    counts: OverlapCounts, prediction: Surface, reference: Surface, nsd_tolerance: float
) -> dict[str, float]:
    if counts.empty is not None:
        nsd = math.nan if counts.empty == "both" else 0.0
        return {"nsd": nsd, "hd95": math.nan, "assd": math.nan}
    distances = measure_distances(prediction, reference)
    return {
        "nsd": distances.within(nsd_tolerance),
        "hd95": distances.hausdorff(95.0),
        "assd": distances.average(),
    }
