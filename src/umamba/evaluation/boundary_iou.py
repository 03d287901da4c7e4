"""Boundary IoU: the IoU of the parts of two masks that are near their outlines."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.evaluation.instances import each_component
from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.metric import Metric

__all__ = ["BOUNDARY_IOU", "boundary_width"]

Array = npt.NDArray[Any]
_SHARE_OF_DIAGONAL = 0.02
_ROUNDING = 1e-9


def boundary_width(shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """Return the width of a boundary: 2 % of the image's diagonal, but at least one voxel.

    Args:
        shape: Shape of the image.
        spacing: Distance between voxels along each axis.
    """
    diagonal = math.hypot(*(n * step for n, step in zip(shape, spacing, strict=True)))
    return max(_SHARE_OF_DIAGONAL * diagonal, *spacing)


def _boundary_iou(masks: LabelMasks) -> float:
    if masks.counts.empty == "both":
        return math.nan
    width = boundary_width(masks.image_shape, masks.spacing)
    first, second = (_boundary(mask, masks.spacing, width) for mask in masks.booleans)
    return float(np.count_nonzero(first & second) / np.count_nonzero(first | second))


def _boundary(mask: Array, spacing: tuple[float, ...], width: float) -> Array:
    from scipy.ndimage import distance_transform_edt

    # As no other component touches it, the nearest voxel outside a component is outside the mask.
    boundary = np.zeros_like(mask)
    for box, component in each_component(mask):
        distances = distance_transform_edt(np.pad(component, 1), spacing)
        inner = distances[(slice(1, -1),) * mask.ndim]
        boundary[box] |= component & (inner <= width * (1 + _ROUNDING))
    return boundary


BOUNDARY_IOU = Metric(
    name="boundary_iou",
    title="boundary IoU",
    measure=_boundary_iou,
    definition=(
        "The IoU of the boundaries of both masks: the voxels of a mask that are within 2 % of the "
        "image's diagonal, but at least one voxel, of its outside. Distances are those in space, "
        "from voxel to voxel."
    ),
    source="Cheng et al. 2021, arXiv:2103.16562",
    empty="one: 0; both: undefined, or as `--empty` says",
    is_overlap=True,
)
