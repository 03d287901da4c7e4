"""Resample images and logits as nnU-Net does, to the last bit, with SciPy alone.

Source: nnU-Net v2's `resample_data_or_seg_to_shape` (Isensee et al. 2021,
doi:10.1038/s41592-020-01008-z, Apache-2.0). It calls scikit-image's `resize` with repeated edges
and without smoothing, which is `scipy.ndimage.zoom` on a grid of cells, cut to its input's range.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from umamba.runtime.pipeline import Resampling

__all__ = ["new_shape", "resample", "thick_axis"]

Array = npt.NDArray[Any]


def new_shape(
    shape: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]
) -> tuple[int, ...]:
    """Return how many voxels an image has on a grid of another spacing.

    Args:
        shape: How many it has now.
        spacing: Its voxel size, per axis.
        new_spacing: The other voxel size, per axis.
    """
    sizes = zip(spacing, new_spacing, shape, strict=True)
    return tuple(round(size / new_size * n) for size, new_size, n in sizes)


def thick_axis(
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    resampling: Resampling,
    threshold: float,
) -> int | None:
    """Return the axis of thick slices, each of which is resampled apart; `None` if there is none.

    Args:
        spacing: The voxel size now, per axis.
        new_spacing: The voxel size afterwards, per axis.
        resampling: Whether slices are resampled apart, or whether that depends on the spacing.
        threshold: The largest voxel size divided by the smallest, above which slices are thick.
    """
    if resampling.separate_z is False:
        return None
    if resampling.separate_z:
        thick = spacing
    else:
        both = (spacing, new_spacing)
        thick = next((given for given in both if max(given) / min(given) > threshold), ())
    # Where two axes are equally thick, or all three, nnU-Net resamples all together.
    axes = [axis for axis, size in enumerate(thick) if max(thick) / size == 1]
    return axes[0] if len(axes) == 1 else None


def resample(channel: Array, shape: Sequence[int], axis: int | None, how: Resampling) -> Array:
    """Resample a channel.

    Args:
        channel: Its voxels, (z, y, x).
        shape: The new shape.
        axis: The axis of thick slices, each of which is resampled by itself.
        how: The orders of the splines.

    Returns:
        The new voxels in the same type; the channel itself if it has that shape.
    """
    if channel.shape == tuple(shape):
        return channel
    voxels = channel.astype(np.float64)
    if axis is None:
        return _resize(voxels, shape, how.order).astype(channel.dtype)
    in_plane = [n for other, n in enumerate(shape) if other != axis]
    slices = [_resize(plane, in_plane, how.order) for plane in np.moveaxis(voxels, axis, 0)]
    stacked = np.stack(slices, axis)
    return _along(stacked, axis, shape[axis], how.order_z).astype(channel.dtype)


def _resize(voxels: Array, shape: Sequence[int], order: int) -> Array:
    factors = [1 / (n / new) for n, new in zip(voxels.shape, shape, strict=True)]
    resized = ndimage.zoom(voxels, factors, order=order, mode="nearest", grid_mode=True)
    np.clip(resized, voxels.min(), voxels.max(), out=resized)
    return np.asarray(resized)


def _along(stacked: Array, axis: int, n_slices: int, order: int) -> Array:
    """Take the nearest slice for each new one, or blend the two nearest ones."""
    n_given = stacked.shape[axis]
    if n_given == n_slices:
        return stacked
    places = n_given / n_slices * (np.arange(n_slices) + 0.5) - 0.5
    if order == 0:
        nearest = np.floor(np.clip(places, 0, n_given - 1) + 0.5).astype(int)
        slices: Array = np.take(stacked, nearest, axis)
        return slices
    places = np.clip(places, 0, n_given - 1)
    below = np.minimum(places.astype(int), max(n_given - 2, 0))
    shape = [1] * stacked.ndim
    shape[axis] = n_slices
    part = (places - below).reshape(shape)
    above = np.minimum(below + 1, n_given - 1)
    blended: Array = np.take(stacked, below, axis) * (1 - part)
    blended += np.take(stacked, above, axis) * part
    return blended
