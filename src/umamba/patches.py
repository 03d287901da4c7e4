"""Patches: sizes that fit the strides of a network, places and weights; free of torch."""

import math
from collections.abc import Sequence
from typing import Any

__all__ = [
    "count_windows",
    "describe_misfit",
    "describe_skipped",
    "describe_small_map",
    "fitting_patch",
    "gaussian_weights",
    "other_patch",
    "total_stride",
    "window_starts",
]

_MIN_EDGE = 4  # nnU-Net's UNet_featuremap_min_edge_length


def total_stride(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the factor by which the deepest feature map is smaller than the patch, per axis."""
    return tuple(math.prod(axis) for axis in zip(*strides, strict=True))


def fitting_patch(
    patch: Sequence[int], total: Sequence[int], *, normalises_instances: bool
) -> list[int]:
    """Return the smallest patch that contains the given one and fits a network.

    Args:
        patch: Its size, per axis.
        total: The network's total stride, per axis.
        normalises_instances: Whether the network has instance normalisation, for which a single
            voxel has no variance.

    Returns:
        Size per axis; the given one if it fits.
    """
    fits = [-(-size // step) * step for size, step in zip(patch, total, strict=True)]
    if normalises_instances and fits == list(total):
        fits[-1] *= 2
    return fits


def other_patch(patch: Sequence[int], total: Sequence[int]) -> tuple[int, ...]:
    """Return another patch that fits a network, of other size along every axis.

    Args:
        patch: A patch that fits, per axis.
        total: The network's total stride, per axis.

    Returns:
        About half of it where that leaves two voxels in the deepest feature map, or else more.
    """
    halves = [max(size // (2 * step), 2) * step for size, step in zip(patch, total, strict=True)]
    return tuple(
        size + step if half == size else half
        for size, half, step in zip(patch, halves, total, strict=True)
    )


def _smaller_patch(
    patch: Sequence[int], total: Sequence[int], *, normalises_instances: bool
) -> list[int] | None:
    """Return the largest patch inside the given one that fits a network; `None` if none does."""
    fits = [size // step * step for size, step in zip(patch, total, strict=True)]
    too_small = not all(fits) or (normalises_instances and fits == list(total))
    return None if too_small else fits


def describe_small_map(patch: Sequence[int], strides: Sequence[Sequence[int]]) -> str:
    """Say that a patch leaves too little in the deepest feature map, and name one that does not.

    Args:
        patch: Its size, per axis.
        strides: Stride per stage and axis.

    Returns:
        The text after `patch_size [...]` in a message; "" if every axis that is pooled keeps at
        least as much as nnU-Net's planner leaves of it.
    """
    total = total_stride(strides)
    deepest = [size // step for size, step in zip(patch, total, strict=True)]
    enough = [
        size if step == 1 else max(size, _MIN_EDGE * step)
        for size, step in zip(patch, total, strict=True)
    ]
    if enough == list(patch):
        return ""
    voxels = math.prod(deepest)
    return (
        f"leaves {' x '.join(map(str, deepest))} in the deepest of {len(strides)} stages, {voxels} "
        f"voxels in all, whereas nnU-Net's planner keeps {_MIN_EDGE} along every axis; a "
        f"patch that does so is {enough}"
    )


def describe_misfit(
    patch: Sequence[int],
    strides: Sequence[Sequence[int]],
    *,
    normalises_instances: bool,
    noun: str = "patch",
) -> str:
    """Say why a patch does not fit a network, and name one that does.

    Args:
        patch: Its size, per axis.
        strides: Stride per stage and axis.
        normalises_instances: Whether the network has instance normalisation, for which a single
            voxel has no variance.
        noun: The word for a patch in the message.

    Returns:
        The text after `patch_size [...]` in a message; "" if the patch fits.
    """
    total = total_stride(strides)
    fits = fitting_patch(patch, total, normalises_instances=normalises_instances)
    if fits == list(patch):
        return ""
    if tuple(patch) == total:
        return (
            "leaves one voxel in the deepest feature map, which instance normalisation cannot "
            f"normalise; a {noun} that fits is {fits}"
        )
    smaller = _smaller_patch(patch, total, normalises_instances=normalises_instances)
    or_smaller = "" if smaller is None else f", the next smaller {smaller}"
    return (
        f"is not divisible by the total stride {list(total)} of the network; the next larger "
        f"{noun} that fits is {fits}{or_smaller}"
    )


def window_starts(
    shape: Sequence[int], patch_size: Sequence[int], step_size: float = 0.5
) -> list[list[int]]:
    """Return, for each axis, the places at which the patches of a sliding window start.

    As in nnU-Net (`compute_steps_for_sliding_window`), steps are as long as they may be, and even;
    but none is shorter than a voxel.

    Args:
        shape: Spatial shape of the image, nowhere smaller than a patch.
        patch_size: Spatial shape of a patch.
        step_size: The longest step, as a part of the patch.
    """
    starts = []
    for size, patch in zip(shape, patch_size, strict=True):
        n_steps = math.ceil(min((size - patch) / (patch * step_size), size - patch))
        step = (size - patch) / max(n_steps, 1)
        starts.append([round(step * i) for i in range(n_steps + 1)])
    return starts


def count_windows(shape: Sequence[int], patch_size: Sequence[int]) -> int:
    """Return how many patches nnU-Net's sliding window has, at its usual step of half a patch.

    Args:
        shape: Spatial shape of the image; where it is smaller than a patch, it is padded.
        patch_size: Spatial shape of a patch.
    """
    padded = [max(sizes) for sizes in zip(shape, patch_size, strict=True)]
    return math.prod(map(len, window_starts(padded, patch_size)))


def describe_skipped(n_skipped: int, n_patches: int) -> str:
    """Return what to say about the patches that a prediction was allowed to skip.

    Args:
        n_skipped: How many were skipped; 0 also where a coarse pass would have taken as long.
        n_patches: How many there were.
    """
    return (
        f"{n_skipped} of {n_patches} patches were skipped, as a coarse pass found background alone "
        "in them"
    )


def gaussian_weights(patch_size: Sequence[int], sigma: float = 0.125) -> Any:
    """Return the weight of every voxel of a patch: a Gaussian whose maximum is 10, as in nnU-Net.

    Args:
        patch_size: Spatial shape of a patch.
        sigma: The standard deviation as a part of the patch.

    Returns:
        A float64 numpy array; in a corner it may be too small for half precision.
    """
    import numpy as np
    from scipy.ndimage import gaussian_filter

    weights = np.zeros(patch_size)
    weights[tuple(size // 2 for size in patch_size)] = 1
    weights = gaussian_filter(weights, [size * sigma for size in patch_size], mode="constant")
    return weights / (weights.max() / 10)
