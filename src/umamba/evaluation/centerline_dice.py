"""clDice: the overlap of the centre lines of one mask with the other mask, for vessels."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.evaluation.instances import each_component
from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.metric import Metric

__all__ = ["CENTERLINE_DICE"]

Array = npt.NDArray[Any]


def _centerline_dice(masks: LabelMasks) -> float:
    if masks.counts.empty is not None:
        return math.nan if masks.counts.empty == "both" else 0.0
    prediction, reference = masks.booleans
    precision = _share_inside(_skeleton(prediction), reference)
    sensitivity = _share_inside(_skeleton(reference), prediction)
    both = precision + sensitivity
    return 2 * precision * sensitivity / both if both else 0.0


def _share_inside(skeleton: Array, mask: Array) -> float:
    return float(np.count_nonzero(skeleton & mask) / np.count_nonzero(skeleton))


def _skeleton(mask: Array) -> Array:
    from skimage.morphology import skeletonize

    skeleton = np.zeros_like(mask)
    for box, component in each_component(mask):
        thin = skeletonize(np.pad(component, 1))[(slice(1, -1),) * mask.ndim] > 0
        skeleton[box] |= thin if thin.any() else component
    return skeleton


CENTERLINE_DICE = Metric(
    name="cldice",
    title="clDice",
    measure=_centerline_dice,
    definition=(
        "Centre line Dice: the harmonic mean of the share of the prediction's skeleton that lies "
        "in the reference, and the share of the reference's skeleton that lies in the prediction. "
        "Skeletons are those of scikit-image; all voxels count the same, whatever the spacing."
    ),
    source="Shit et al. 2021, arXiv:2003.07311",
    empty="one: 0; both: undefined, or as `--empty` says",
    is_overlap=True,
)
