"""Read the voxels of a series: decoded, in true values, and on its grid."""

import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.dicom.decoding import decoded
from umamba.dicom.series import Plane, Resampling, Series, SeriesError
from umamba.images.contents import UnreadableFileError, check_size

__all__ = ["read_series"]

Array = npt.NDArray[Any]


def read_series(series: Series) -> Array:
    """Read all voxels of a series, slice by slice.

    Stored values become true ones by RescaleSlope and RescaleIntercept of each slice (PS3.3,
    C.11.1.1.2). MONOCHROME1 is turned over within the range of stored values, as GDCM does, except
    of CT and PET, whose values have a unit. They stay integers where all of them are.

    Returns:
        The voxels as (z, y, x) on `series.geometry`: int16, int32 or float32.

    Raises:
        SeriesError: If pixels cannot be decoded, or do not fit into memory.
    """
    kind = np.dtype(np.float32) if series.resampling else _type(series)
    try:
        check_size(math.prod(series.shape) * kind.itemsize)
    except UnreadableFileError as error:
        raise SeriesError(error.problem, error.fix) from error
    voxels = np.empty(series.shape, kind)
    with closing(decoded(series.planes)) as stored:
        slices: Iterator[Array] = (
            _true_values(plane, values, kind)
            for plane, values in zip(series.planes, stored, strict=True)
        )
        if series.resampling:
            slices = _resampled(slices, series.resampling, series)
        for number, values in enumerate(slices):
            voxels[number] = values
    return voxels


def _type(series: Series) -> "np.dtype[Any]":
    """Return the smallest type that holds all true values that could be stored."""
    low, high = 0.0, 0.0
    for plane in series.planes:
        whole = plane.slope.is_integer() and plane.intercept.is_integer()
        if plane.limits is None or not whole:
            return np.dtype(np.float32)
        ends = [stored * plane.slope + plane.intercept for stored in plane.limits]
        low, high = min(low, *ends), max(high, *ends)
    fitting = (kind for kind in (np.int16, np.int32) if np.iinfo(kind).min <= low)
    return np.dtype(next((kind for kind in fitting if high <= np.iinfo(kind).max), np.float32))


def _true_values(plane: Plane, stored: Array, kind: "np.dtype[Any]") -> Array:
    if stored.shape != plane.shape:
        problem = f"a slice holds {' x '.join(map(str, stored.shape))} pixels, its header says "
        raise SeriesError(problem + f"{plane.shape[0]} x {plane.shape[1]}", "export it again")
    if plane.is_inverted and plane.limits is not None:
        stored = sum(plane.limits) - stored.astype(np.int64)
    if kind.kind == "i":
        return stored.astype(np.int64) * int(plane.slope) + int(plane.intercept)
    with np.errstate(over="ignore"):
        values = stored.astype(np.float32) * np.float32(plane.slope) + np.float32(plane.intercept)
    if not np.isfinite(values).all():
        problem = "a slice holds values that are not finite numbers"
        raise SeriesError(problem, "export the series again")
    return values


def _resampled(slices: Iterator[Array], way: Resampling, series: Series) -> Iterator[Array]:
    """Shift slices along themselves, and interpolate linearly between neighbours."""
    moved = (
        _shifted(values, shift, series.shape[1:])
        for values, shift in zip(slices, way.shifts, strict=True)
    )
    number, below, above = 0, next(moved), next(moved)
    for place in np.linspace(0, way.distances[-1], series.shape[0]):
        while number < len(way.distances) - 2 and place > way.distances[number + 1]:
            number, below, above = number + 1, above, next(moved)
        gap = way.distances[number + 1] - way.distances[number]
        part = min(1.0, (place - way.distances[number]) / gap)
        yield (1 - part) * below + part * above


def _shifted(values: Array, shift: tuple[float, float], shape: tuple[int, ...]) -> Array:
    """Put a slice into a larger one, a shift in pixels from its corner; its least value around."""
    from scipy.ndimage import shift as shift_by

    least = float(values.min())
    larger = np.full(shape, least)
    larger[: values.shape[0], : values.shape[1]] = values
    return np.asarray(shift_by(larger, shift, order=1, mode="constant", cval=least))
