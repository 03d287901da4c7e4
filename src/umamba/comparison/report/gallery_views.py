"""Reading a case and its segmentations, and cutting them along planes as radiologists do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from umamba.datasets.checks import Case
from umamba.evaluation.case_images import AXIS_LETTERS, read_volumes
from umamba.images.contents import UnreadableFileError

__all__ = ["CaseImages", "View", "cut_views", "label_values", "read_case"]

Array = npt.NDArray[Any]

_MARGIN = 0.15  # margin around the segmented part, as a share of its length
_DISPLAYED = (0.5, 99.5)  # percentiles of grey values shown as black and white
_LARGEST = 420  # pixels of a 2D image along an axis; larger ones are shown as a detail
_DETAIL = 280  # pixels, so that small objects are visible
_PLANES = ("axial", "coronal", "sagittal")  # across the axes z, y, x


@dataclass(frozen=True)
class CaseImages:
    """A case on one grid, (z, y, x) or (y, x).

    Attributes:
        image: Grey values, or colours with three channels on the last axis.
        reference: Its mask.
        predictions: Masks by model; models without a file are missing.
        spacing: Distance between voxels along each axis.
        oriented: Whether the axes are a patient's: head at the top, back at the bottom, left on the
            right.
    """

    image: Array
    reference: Array
    predictions: Mapping[str, Array]
    spacing: tuple[float, ...]
    oriented: bool


@dataclass(frozen=True)
class View:
    """A plane through a case; for a 2D image the image itself, or a detail of it.

    Attributes:
        name: `axial`, `coronal`, `sagittal`, or another description.
        aspect: Height of a pixel over its width.
        image: Rows and columns from the upper left, colours on the last axis.
        reference: Reference mask on the same pixels.
        predictions: Predicted masks by model.
        pixel: Width of a pixel, in the unit of the spacing.
        letters: The patient's sides at the left, right, top and bottom; `None` if unknown.
    """

    name: str
    aspect: float
    image: Array
    reference: Array
    predictions: Mapping[str, Array]
    pixel: float = 1.0
    letters: tuple[str, str, str, str] | None = None


def label_values(labels: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the values of every label or region in a `dataset.json` except the background."""
    values = {n: tuple(v) if isinstance(v, list) else (v,) for n, v in labels.items()}
    return {n: v for n, v in values.items() if n not in ("background", "ignore") and v != (0,)}


def read_case(case: Case, predictions: Mapping[str, Path], ignore: int | None = None) -> CaseImages:
    """Read image, reference and predictions.

    Args:
        case: Files of the raw data set.
        predictions: Files by model; missing files are left out.
        ignore: The value in the reference that is not a label.

    Raises:
        UnreadableFileError: If a file cannot be read, or their grids differ.
    """
    found = read_volumes(case, predictions)
    if found.problem:
        problem, _, fix = found.problem.rpartition("; ")
        raise UnreadableFileError(problem, fix)
    spacing, reference, image = found.spacing, found.reference, found.channels[0]
    if ignore is not None:
        reference = np.where(reference == ignore, 0, reference)
    arrays = {"image": image, "reference": reference, **found.predictions}
    if reference.ndim == 3 and 1 in reference.shape:  # a single slice
        axis = reference.shape.index(1)
        arrays = {name: array.squeeze(axis) for name, array in arrays.items()}
        spacing = spacing[:axis] + spacing[axis + 1 :]
    return CaseImages(
        image=_displayed(arrays.pop("image"), is_colour=image.ndim > reference.ndim),
        reference=arrays.pop("reference"),
        predictions=arrays,
        spacing=spacing,
        oriented=found.oriented,
    )


def _displayed(image: Array, *, is_colour: bool) -> Array:
    """Scale grey values to the range 0 to 1; 8-bit colours stay as they are."""
    if is_colour and (image == image[..., :1]).all():
        image = image[..., 0]  # a grey image saved with colours
    elif is_colour and image.dtype == np.uint8:
        return image
    values = np.nan_to_num(image.astype(np.float32))
    low, high = np.percentile(values, _DISPLAYED)
    scaled: Array = np.clip((values - low) / max(float(high - low), 1e-12), 0, 1)
    return scaled


def cut_views(images: CaseImages) -> tuple[View, ...]:
    """Cut a volume along three planes through the slices in which the reference is largest.

    All planes show the box around the segmented part, with a margin. A large 2D image is reduced to
    the detail in which predictions differ most from the reference.
    """
    box = _box(images)
    foreground = images.reference > 0
    if foreground.ndim == 2:
        detail, name = _detail(images, box)
        return (_cut(images, detail, name, (0, 1)),)
    views = []
    for axis, name in enumerate(_PLANES):
        rows, columns = (other for other in range(3) if other != axis)
        areas = foreground.sum(axis=(rows, columns))
        at = int(areas.argmax()) if areas.any() else foreground.shape[axis] // 2
        index = tuple(at if other == axis else box[other] for other in range(3))
        views.append(
            _cut(
                images,
                index,
                name if images.oriented else f"across axis {axis + 1}",
                (rows, columns),
            )
        )
    return tuple(views)


def _cut(
    images: CaseImages,
    index: tuple[int | slice, ...],
    name: str,
    axes: tuple[int, int],
) -> View:
    """Cut all arrays, as copies, so that the volumes need not stay in memory.

    Args:
        images: The case.
        index: The part of its arrays.
        name: Name of the plane.
        axes: The axes that are rows and columns.
    """
    (row_step, pixel), letters = (images.spacing[axis] for axis in axes), None
    flipped = images.oriented and axes[0] == 0 and len(images.spacing) == 3  # the head points up
    if images.oriented and len(images.spacing) == 3:
        (top, bottom), sides = (AXIS_LETTERS[axis] for axis in axes)
        letters = (*sides, bottom, top) if flipped else (*sides, top, bottom)

    def cut(array: Array) -> Array:
        part: Array = array[index]
        return part[::-1].copy() if flipped else part.copy()

    predictions = {model: cut(mask) for model, mask in images.predictions.items()}
    reference = cut(images.reference)
    aspect = row_step / pixel
    return View(name, aspect, cut(images.image), reference, predictions, pixel, letters)


def _box(images: CaseImages) -> tuple[slice, ...]:
    """Return the box around everything segmented, with a margin; the whole image if nothing is."""
    foreground = images.reference > 0
    for mask in images.predictions.values():
        foreground |= mask > 0
    box = []
    for axis, length in enumerate(foreground.shape):
        others = tuple(other for other in range(foreground.ndim) if other != axis)
        places = np.flatnonzero(foreground.any(axis=others))
        first, last = (int(places[0]), int(places[-1])) if places.size else (0, length)
        margin = max(round(_MARGIN * (last - first)), 4)
        box.append(slice(max(first - margin, 0), min(last + margin + 1, length)))
    return tuple(box)


def _detail(images: CaseImages, box: tuple[slice, ...]) -> tuple[tuple[slice, ...], str]:
    """Return the part of a box to show, with its description; all of a small box, with none."""
    sizes = [part.stop - part.start for part in box]
    if max(sizes) <= _LARGEST:
        return box, ""
    differs = np.zeros(sizes, np.float32)
    for mask in images.predictions.values():
        differs += mask[box] != images.reference[box]
    shown = [min(size, _DETAIL) for size in sizes]
    centre = np.unravel_index(uniform_filter(differs, shown, mode="constant").argmax(), sizes)
    starts = [
        part.start + min(max(int(at) - n // 2, 0), size - n)
        for part, at, n, size in zip(box, centre, shown, sizes, strict=True)
    ]
    detail = tuple(slice(start, start + n) for start, n in zip(starts, shown, strict=True))
    height, width = images.reference.shape
    return detail, f"detail of {width} \N{MULTIPLICATION SIGN} {height} pixels"
