"""Turn an image into a network's input, and its logits into labels on the image's grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from umamba.errors import DatasetError, quoted
from umamba.logit_files import LOGITS_IN_MEMORY, LogitStore
from umamba.runtime.normalization import normalize
from umamba.runtime.pipeline import LARGEST, SMALLEST, Pipeline
from umamba.runtime.resampling import new_shape, resample, thick_axis
from umamba.system.limits import usable_memory

__all__ = ["SLICE_DISTANCE", "NetworkInput", "checked_image", "labels_of", "nonzero_box", "prepare"]

Array = npt.NDArray[Any]

SLICE_DISTANCE = 999  # that nnU-Net gives to a single slice, in its largest pixels


@dataclass(frozen=True)
class NetworkInput:
    """A preprocessed image, and what is needed to undo that. Axes are in the network's order.

    Attributes:
        image: (channels, z, y, x), on the network's grid.
        shape: The shape of the image as it was given.
        box: The part of it that was not cut off.
        spacing: The voxel size as it was given.
        network_spacing: The voxel size on the network's grid.
    """

    image: npt.NDArray[np.float32]
    shape: tuple[int, ...]
    box: tuple[slice, ...]
    spacing: tuple[float, ...]
    network_spacing: tuple[float, ...]


def checked_image(
    image: npt.ArrayLike, spacing: Sequence[float], channels: Sequence[str]
) -> tuple[Array, tuple[float, ...]]:
    """Return an image and its voxel size as nnU-Net's readers do: with three axes.

    Args:
        image: (channels, z, y, x), or (channels, y, x) for a single slice.
        spacing: The voxel size in mm, along the same axes.
        channels: The names of the model's channels.

    Raises:
        DatasetError: If they do not fit the model.
    """
    array = np.asarray(image)
    if array.ndim not in (3, 4) or len(array) != len(channels) or not array.size:
        msg = (
            f"the image has the shape {list(array.shape)}, but must have {len(channels)} "
            f"channel(s) ({', '.join(channels)}) first, then z, y, x or y, x"
        )
        raise DatasetError(msg)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        msg = f"the image ({array.dtype}) must hold finite real numbers; replace NaN and inf"
        raise DatasetError(msg)
    sizes = np.asarray(spacing, object).ravel().tolist()
    are_sizes = all(
        isinstance(size, int | float | np.integer | np.floating) and SMALLEST <= size <= LARGEST
        for size in sizes
    )
    if not are_sizes or len(sizes) != array.ndim - 1:
        msg = (
            f"spacing {quoted(sizes)} must be {array.ndim - 1} positive sizes of a voxel in mm, "
            f"in the order of the image's axes, each from {SMALLEST:g} to {LARGEST:g}"
        )
        raise DatasetError(msg)
    voxel = tuple(map(float, sizes))
    if array.ndim == 3:  # one slice, far from others, as nnU-Net reads flat images
        return array[:, None], (SLICE_DISTANCE * max(voxel), *voxel)
    return array, voxel


def prepare(image: Array, spacing: Sequence[float], pipeline: Pipeline) -> NetworkInput:
    """Transpose, crop, normalise and resample an image.

    Args:
        image: (channels, z, y, x); it stays as it is.
        spacing: The voxel size, (z, y, x), in mm.
        pipeline: How that is done.

    Raises:
        DatasetError: If the intensities do not fit, or the size on the network's grid does not.
    """
    axes = pipeline.transpose_forward
    # The order in memory is nnU-Net's as well: means are rounded by the order of their sum.
    given = image.astype(np.float32).transpose(0, *(axis + 1 for axis in axes))
    own = tuple(float(spacing[axis]) for axis in axes)
    nonzero = np.logical_or.reduce(given != 0)
    box = nonzero_box(nonzero)
    cropped = given[(slice(None), *box)]
    masked = any(channel.within_mask for channel in pipeline.channels)
    mask = ndimage.binary_fill_holes(nonzero)[box] if masked else None
    for voxels, channel in zip(cropped, pipeline.channels, strict=True):
        normalize(voxels, channel, mask)
    target = pipeline.spacing
    if len(target) < len(own):  # a network of slices, whose distance stays
        target = (own[0], *target)
    shape = new_shape(cropped.shape[1:], own, target)
    _check_size(shape, spacing, pipeline)
    how = pipeline.resampling_image
    axis = thick_axis(own, target, how, pipeline.anisotropy_threshold)
    resampled = np.stack([resample(voxels, shape, axis, how) for voxels in cropped])
    return NetworkInput(resampled, given.shape[1:], box, own, target)


def _check_size(shape: Sequence[int], spacing: Sequence[float], pipeline: Pipeline) -> None:
    """Check the image's size on the network's grid: its voxel size may be wrong.

    Raises:
        DatasetError: If nothing is left of it, or it does not fit into memory.
    """
    given = " x ".join(f"{size:g}" for size in spacing)
    if 0 in shape:
        msg = (
            f"with its voxel size of {given} mm the image is smaller than a voxel of the network's "
            "grid; correct the voxel size"
        )
        raise DatasetError(msg)
    patch = (1, *pipeline.patch_size)[-3:]
    n_voxels = math.prod(max(sizes) for sizes in zip(shape, patch, strict=True))
    # Channels and outputs, and one of them in float64 while it is resampled.
    n_bytes = n_voxels * (4 * len(pipeline.channels) + 8)
    n_bytes += min(2 * len(pipeline.output_labels) * n_voxels, LOGITS_IN_MEMORY)
    if n_bytes > usable_memory():
        msg = (
            f"with its voxel size of {given} mm the image takes {n_bytes / 2**30:.3g} GiB on the "
            "network's grid; correct the voxel size, crop the image, or use a larger machine"
        )
        raise DatasetError(msg)


def nonzero_box(mask: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the smallest box around a mask; all of it if it is empty."""
    box = []
    for axis, size in enumerate(mask.shape):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        there = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(there[0]), int(there[-1]) + 1) if there.size else slice(0, size))
    return tuple(box)


def labels_of(logits: LogitStore, case: NetworkInput, pipeline: Pipeline) -> Array:
    """Resample logits class by class, and keep the best label so far.

    Args:
        logits: (outputs, z, y, x), on the network's grid.
        case: The image that they are of.
        pipeline: How labels follow from them.

    Returns:
        The labels on the grid of the image as it was given, (z, y, x).
    """
    shape = tuple(part.stop - part.start for part in case.box)
    how = pipeline.resampling_logits
    axis = thick_axis(case.network_spacing, case.spacing, how, pipeline.anisotropy_threshold)
    kind = np.uint8 if max(pipeline.output_labels) <= 255 else np.uint16
    labels = np.zeros(shape, kind)
    best: Array | None = None
    for output, label in enumerate(pipeline.output_labels):
        resampled = resample(logits.channel(output)[0], shape, axis, how)
        if pipeline.has_regions:
            labels[resampled > 0] = label  # where the sigmoid is above one half
        elif best is None:
            best = resampled.copy()
            labels[...] = label
        else:
            better = resampled > best  # of equal ones the first counts
            labels[better] = label
            np.copyto(best, resampled, where=better)
    whole = np.zeros(case.shape, kind)
    whole[case.box] = labels
    return whole.transpose(pipeline.transpose_backward)
