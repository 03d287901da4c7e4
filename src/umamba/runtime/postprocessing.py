"""Keep only the largest component of labels, as nnU-Net's post-processing does."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["keep_largest"]


def keep_largest(labels: npt.NDArray[Any], steps: Iterable[Sequence[int]]) -> npt.NDArray[Any]:
    """Set smaller components to background.

    Args:
        labels: A segmentation, which is not changed.
        steps: In order, the labels that are taken together as one foreground. Voxels that share a
            corner are of one component; of several that are largest, all are kept.

    Returns:
        The labels.

    Source:
        nnU-Net v2's `remove_all_but_largest_component_from_segmentation` (Isensee et al. 2021).
    """
    for step in steps:
        mask = np.isin(labels, step)
        components, _ = ndimage.label(mask, np.ones([3] * labels.ndim))
        sizes = np.bincount(components.ravel())
        sizes[0] = 0
        dropped = mask & (sizes[components] < sizes.max())
        labels = np.where(dropped, labels.dtype.type(0), labels)
    return labels
