"""Read the masks of ROIs from the contours of an RTSTRUCT."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from umamba.dicom.image_grid import ImageGrid
from umamba.dicom.outlines import filled
from umamba.dicom.series import SeriesError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["roi_mask", "roi_name"]

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_TILTED = 0.1  # of the distance of slices, that a contour may leave its plane
_SAME_PLANE = 0.09  # of it: contours of slices that are a tenth as thick stay apart
_DIGITS = 3  # of a voxel, to which two contours are the same


def roi_name(roi: "Dataset") -> str:
    """Return the name of a ROI; "" if it has none."""
    return str(roi.get("ROIName", "")).strip()


def roi_mask(content: "Dataset", index: int, grid: ImageGrid) -> tuple[Mask, tuple[str, ...]]:
    """Fill contours by the even-odd rule; a slice takes the contours that lie next to its centre.

    Contours between slices, as of a series with thinner ones, belong to the nearest slice; of
    several planes of contours in one slice only the nearest counts. A contour that is there twice
    is used once.

    Args:
        content: The RTSTRUCT.
        index: The place of the ROI in it.
        grid: The voxels of the image.

    Returns:
        The mask, and remarks on contours that it does not show.

    Raises:
        SeriesError: If the contours do not lie on the slices of the image.
    """
    roi = content.StructureSetROISequence[index]
    name = roi_name(roi)
    grid.check_frame(f"ROI {name!r}", roi.get("ReferencedFrameOfReferenceUID"))
    contours = list(_contours(content, roi.ROINumber))
    closed = [points for points in contours if points is not None]
    planes = _planes(name, closed, grid)
    nearest = _nearest(planes)
    _check_slices(name, nearest, grid)
    mask = np.zeros(grid.shape, bool)
    n_crossing = 0
    for number, place in nearest.items():
        polygons = _without_copies(planes[place])
        mask[number] = filled(polygons, grid.shape[1:])
        n_crossing += _are_crossing(polygons, grid.shape[1:])
    counts = (len(contours) - len(closed), len(planes) - len(nearest), n_crossing)
    return mask, _remarks(name, counts, mask, nearest)


def _contours(content: "Dataset", number: int) -> Iterator[Array | None]:
    """Yield the contours of a ROI as arrays of shape (points, 3), in mm; `None` if one is open."""
    for roi in content.get("ROIContourSequence", ()):
        if roi.ReferencedROINumber != number:
            continue
        for contour in roi.get("ContourSequence", ()):
            numbers = contour.get("ContourData")
            if contour.get("ContourGeometricType") in _CLOSED and numbers:
                points = np.asarray(numbers, float).reshape(-1, 3)
                if not np.isfinite(points).all():
                    msg = "a contour has a point without a place"
                    raise ValueError(msg)
                yield points
            else:
                yield None


def _planes(name: str, contours: Sequence[Array], grid: ImageGrid) -> dict[float, list[Array]]:
    """Return polygons of (column, row) by the place of their plane, in slices."""
    placed = []
    for points in contours:
        columns, rows, depth = grid.indices(points).T
        if np.ptp(depth) > _TILTED:
            problem = (
                f"a contour of {name!r} is not parallel to the slices: it extends over "
                f"{np.ptp(depth):.2g} of them"
            )
            raise SeriesError(problem, "export it on the slices of this series")
        placed.append((float(np.mean(depth)), np.stack([columns, rows], axis=1)))
    planes: dict[float, list[Array]] = {}
    last = -np.inf
    for place, polygon in sorted(placed, key=lambda pair: pair[0]):
        last = place if place - last >= _SAME_PLANE else last
        planes.setdefault(last, []).append(polygon)
    return planes


def _nearest(planes: dict[float, list[Array]]) -> dict[int, float]:
    """Return the place of the plane next to the centre of each slice."""
    nearest: dict[int, float] = {}
    for place in planes:
        number = int(np.ceil(place - 0.5))
        if abs(place - number) < abs(nearest.get(number, np.inf) - number):
            nearest[number] = place
    return nearest


def _check_slices(name: str, nearest: dict[int, float], grid: ImageGrid) -> None:
    outside = sum(not 0 <= number < grid.shape[0] for number in nearest)
    if outside:
        problem = (
            f"{outside} of {len(nearest)} slices with contours of {name!r} are not in the image"
        )
        raise SeriesError(problem, "pair it with the series on which it was drawn")


def _without_copies(polygons: Sequence[Array]) -> list[Array]:
    """Keep one of all polygons with the same edges, which would cancel out."""
    if len(polygons) == 1:
        return list(polygons)
    kept: dict[tuple[Any, ...], Array] = {}
    for polygon in polygons:
        points = list(map(tuple, np.round(polygon, _DIGITS).tolist()))
        pairs = zip(points, [*points[1:], points[0]], strict=True)
        edges = sorted((min(pair), max(pair)) for pair in pairs if pair[0] != pair[1])
        kept.setdefault(tuple(edges), polygon)
    return list(kept.values())


def _are_crossing(polygons: Sequence[Array], shape: tuple[int, int]) -> bool:
    """Return whether two polygons share voxels, but neither lies in the other one."""
    mask_of = cache(lambda number: filled([polygons[number]], shape))
    for one, other in combinations(range(len(polygons)), 2):
        a, b = polygons[one], polygons[other]
        if (a.max(0) < b.min(0)).any() or (b.max(0) < a.min(0)).any():
            continue
        shared = mask_of(one) & mask_of(other)
        inner = [np.array_equal(shared, mask_of(number)) for number in (one, other)]
        if shared.any() and inner[0] == inner[1]:
            return True
    return False


def _remarks(
    name: str, counts: tuple[int, int, int], mask: Mask, nearest: dict[int, float]
) -> tuple[str, ...]:
    n_open, n_planes, n_crossing = counts
    n_empty = sum(not mask[number].any() for number in nearest)
    n_between = max(nearest, default=0) - min(nearest, default=0) + 1
    n_bare = n_between - len(nearest) if nearest else 0
    left_out = f"of {name!r} are left out, as"
    remarks = {
        f"{n_open} points and open contours {left_out} they enclose nothing": n_open,
        f"{n_planes} planes of contours {left_out} another one is nearer to its slice": n_planes,
        f"contours of {name!r} overlap in {n_crossing} slices; "
        "what two of them enclose is outside": n_crossing,
        f"contours of {name!r} enclose no voxel in {n_empty} slices": n_empty,
        f"{name!r} has contours in {len(nearest)} of {n_between} slices "
        "from its first to its last": n_bare,
    }
    return tuple(text for text, count in remarks.items() if count)
