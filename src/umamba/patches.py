"""Which patches fit the strides of a network: plain arithmetic, free of torch."""

import math
from collections.abc import Sequence

__all__ = ["describe_misfit", "fitting_patch", "total_stride"]


def total_stride(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return by how much the deepest feature map is smaller than the patch, per axis."""
    return tuple(math.prod(axis) for axis in zip(*strides, strict=True))


def fitting_patch(
    patch: Sequence[int], total: Sequence[int], *, normalises_instances: bool
) -> list[int]:
    """Return the smallest patch that holds the given one and fits a network.

    Args:
        patch: Its size, per axis.
        total: The network's total stride, per axis.
        normalises_instances: Whether the network has instance normalisation, which one voxel
            alone has no variance for.

    Returns:
        Size per axis; the given one where it fits.
    """
    fits = [-(-size // step) * step for size, step in zip(patch, total, strict=True)]
    if normalises_instances and fits == list(total):
        fits[-1] *= 2
    return fits


def describe_misfit(
    patch: Sequence[int], strides: Sequence[Sequence[int]], *, normalises_instances: bool
) -> str:
    """Say why a patch does not fit a network, and which one does.

    Args:
        patch: Its size, per axis.
        strides: Stride per stage and axis.
        normalises_instances: Whether the network has instance normalisation, which one voxel
            alone has no variance for.

    Returns:
        What follows `patch_size [...]` in a message; "" where the patch fits.
    """
    total = total_stride(strides)
    fits = fitting_patch(patch, total, normalises_instances=normalises_instances)
    if fits == list(patch):
        return ""
    if tuple(patch) == total:
        return (
            "leaves one voxel in the deepest feature map, which instance normalisation cannot "
            f"normalise; a patch that fits is {fits}"
        )
    return (
        f"is not divisible by the total stride {list(total)} of the network; the next larger "
        f"patch that fits is {fits}"
    )
