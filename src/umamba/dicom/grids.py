"""Find the regular grid on which the slices of a series lie, or say why there is none."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.dicom.series import Plane, Resampling, SeriesError
from umamba.images.contents import Geometry

__all__ = ["grid_of", "in_order"]

Array = npt.NDArray[Any]

# What headers round away: parts of a pixel, of the distance of slices, and mm.
_SIDEWAYS = 0.5
_ALONG = 0.02
_ALONG_MM = 0.006
_MULTIPLE = 0.05  # of a gap that is a whole number of others
_SAME_PLACE_MM = 1e-3
_MOST_TIMES = 10  # as many voxels along an axis as the slices have
_SAME_AXES = 1e-3  # half a pixel over 500 pixels

Grid = tuple[Geometry, tuple[int, int, int], Resampling | None]


def in_order(planes: Sequence[Plane]) -> tuple[Plane, ...]:
    """Sort slices by their places along the normal.

    Raises:
        SeriesError: If they do not form one stack: they differ in orientation, size or pixel size,
            or lie in the same place.
    """
    _check_alike(planes)
    ordered = sorted(planes, key=lambda plane: _along([plane])[0])
    places = _along(ordered)
    n_places = 1 + int((np.diff(places) > _SAME_PLACE_MM).sum())
    if n_places < len(ordered):
        problem = f"its {len(ordered)} slices lie in only {n_places} places"
        fix = "export one image of each place (one time, echo or b-value) as a series of its own"
        raise SeriesError(problem, fix)
    return tuple(ordered)


def _check_alike(planes: Sequence[Plane]) -> None:
    first = planes[0]
    axes: Counter[tuple[float, ...]] = Counter()
    for plane in planes:
        near = (known for known in axes if np.allclose(known, plane.orientation, atol=_SAME_AXES))
        axes[next(near, plane.orientation)] += 1
        if len(axes) > 9:
            break
    if len(axes) > 1:
        counts = " + ".join(map(str, axes.values()))
        problem = f"its slices have {len(axes)} orientations ({counts} slices)"
        raise SeriesError(problem, "export each orientation as a series of its own")
    sizes = Counter(plane.shape for plane in planes)
    if len(sizes) > 1:
        some = ", ".join(f"{n} of {rows} x {columns}" for (rows, columns), n in sizes.items())
        problem = f"its slices differ in size ({some} pixels)"
        raise SeriesError(problem, "export each size as a series of its own")
    if not all(np.allclose(plane.spacing, first.spacing, rtol=1e-3) for plane in planes):
        some = ", ".join(sorted({f"{a:g} x {b:g}" for a, b in (p.spacing for p in planes)})[:4])
        problem = f"its slices differ in pixel size ({some} mm)"
        raise SeriesError(problem, "export each pixel size as a series of its own")


def _axes(plane: Plane) -> tuple[Array, Array, Array]:
    """Return the unit vectors along a row, along a column, and normal to both."""
    row, column = np.reshape(plane.orientation, (2, 3))
    return row, column, np.cross(row, column)


def _along(planes: Sequence[Plane]) -> Array:
    return np.array([plane.position for plane in planes]) @ _axes(planes[0])[2]


def grid_of(planes: Sequence[Plane], *, resample: bool = False) -> Grid:
    """Return the grid of slices that are in order.

    Args:
        planes: What `in_order` returned.
        resample: Whether slices that lie on no regular grid are resampled onto one.

    Returns:
        The grid, its shape as (z, y, x), and how the slices come onto it.

    Raises:
        SeriesError: If they lie on no regular grid, unless they may be resampled.
    """
    distances, sideways = _places(planes)
    tilt, gaps = _tilt(planes, distances, sideways), _gaps(distances)
    reasons = [reason for reason in (tilt, gaps) if reason]
    if not reasons:
        return _regular(planes, distances)
    if not resample:
        fix = "export the series again, or add --resample-irregular"
        raise SeriesError(" and ".join(reasons), fix)
    done = [
        *(["every slice was shifted along itself to where it belongs"] if tilt else []),
        *(["slices were interpolated between neighbours"] if gaps else []),
    ]
    text = f"resampled, because {' and '.join(reasons)}: {' and '.join(done)}"
    resampled = _resampled(planes, distances, sideways, text)
    _check_size(resampled[1], planes, reasons)
    return resampled


def _check_size(
    shape: tuple[int, int, int], planes: Sequence[Plane], reasons: Sequence[str]
) -> None:
    """Check that a grid is not mostly empty, because a few slices lie far apart."""
    given = (len(planes), *planes[0].shape)
    if any(wanted > _MOST_TIMES * there for wanted, there in zip(shape, given, strict=True)):
        problem = f"{' and '.join(reasons)}: a grid of {' x '.join(map(str, shape))} voxels"
        raise SeriesError(problem, "remove the slices that lie apart, or export the series again")


def _places(planes: Sequence[Plane]) -> tuple[Array, Array]:
    """Return the places along the normal, and along columns and rows, in mm from the first."""
    row, column, normal = _axes(planes[0])
    steps = np.array([plane.position for plane in planes]) - planes[0].position
    return steps @ normal, np.stack([steps @ column, steps @ row], axis=1)


def _tilt(planes: Sequence[Plane], distances: Array, sideways: Array) -> str:
    most = np.abs(sideways / planes[0].spacing).max()
    if most <= _SIDEWAYS:
        return ""
    drift = float(np.linalg.norm(sideways[-1]))
    angle = float(np.degrees(np.arctan2(drift, distances[-1])))
    even = np.outer(distances / distances[-1], sideways[-1])
    if np.abs((sideways - even) / planes[0].spacing).max() > _SIDEWAYS:
        return f"its slices are shifted against each other by up to {most:.3g} pixels"
    return f"its slices are tilted by {angle:.3g} degrees against their stack (a tilted gantry)"


def _gaps(distances: Array) -> str:
    n = len(distances)
    if n < 3:
        return ""
    even = np.linspace(0, distances[-1], n)
    if np.abs(distances - even).max() <= _ALONG * distances[-1] / (n - 1) + _ALONG_MM:
        return ""
    gaps = np.diff(distances)
    for usual in (float(np.median(gaps)), float(gaps.min())):
        whole = np.rint(gaps / usual)
        if whole.min() == 1 and np.abs(gaps / usual - whole).max() <= _MULTIPLE:
            missing, where = int(whole.sum()) - n + 1, int(whole.argmax())
            return (
                f"{missing} {'slice is' if missing == 1 else 'slices are'} missing (slices "
                f"{where + 1} and {where + 2} of {n} are {gaps[where]:.4g} mm apart, others "
                f"{usual:.4g} mm)"
            )
    return (
        f"the gaps between its slices are unequal ({gaps.min():.4g} to {gaps.max():.4g} mm, "
        f"median {np.median(gaps):.4g} mm)"
    )


def _geometry(plane: Plane, z_spacing: float, origin: Array) -> Geometry:
    matrix = np.stack(_axes(plane), axis=1)
    return Geometry(
        spacing=(plane.spacing[1], plane.spacing[0], z_spacing),
        origin=tuple(map(float, origin)),
        direction=tuple(map(float, matrix.ravel())),
    )


def _regular(planes: Sequence[Plane], distances: Array) -> Grid:
    first, n = planes[0], len(planes)
    z_spacing = float(distances[-1]) / (n - 1) if n > 1 else first.thickness or 1.0
    return _geometry(first, z_spacing, np.array(first.position)), (n, *first.shape), None


def _resampled(planes: Sequence[Plane], distances: Array, sideways: Array, text: str) -> Grid:
    first = planes[0]
    n = 1 + max(1, round(float(distances[-1] / np.median(np.diff(distances)))))
    offsets = sideways / first.spacing  # along columns and rows, in pixels
    low, high = np.floor(offsets.min(axis=0)), np.ceil(offsets.max(axis=0))
    row, column, _ = _axes(first)
    origin = first.position + low[0] * first.spacing[0] * column + low[1] * first.spacing[1] * row
    size = [int(length + more) for length, more in zip(first.shape, high - low, strict=True)]
    resampling = Resampling(
        text,
        tuple(map(float, distances)),
        tuple((float(a), float(b)) for a, b in offsets - low),
    )
    geometry = _geometry(first, float(distances[-1]) / (n - 1), origin)
    return geometry, (n, size[0], size[1]), resampling
