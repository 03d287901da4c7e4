"""Read masks from RTSTRUCT and SEG, onto the grid of an image."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from umamba.dicom.library import quiet_pydicom, require_pydicom
from umamba.dicom.outlines import filled
from umamba.dicom.series import SeriesError
from umamba.images.contents import Geometry, numbers

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Structures", "read_structures"]

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_SEGS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_TILTED = 0.1  # of the distance of slices, that a contour may leave its plane
_SAME_PLANE = 0.01
_OFF = 0.05  # of a voxel, between two grids that should be one


@dataclass(frozen=True)
class Structures:
    """The named masks of an RTSTRUCT or a SEG.

    Attributes:
        path: The file.
        names: The names of its ROIs or segments, in their order.
        series_uids: The series that it refers to.
        notes: Remarks on what is not read of it.
    """

    path: Path
    names: tuple[str, ...]
    series_uids: tuple[str, ...]
    notes: tuple[str, ...]
    _content: "Dataset"

    def mask(self, index: int, geometry: Geometry, shape: tuple[int, int, int]) -> Mask:
        """Return the mask of a name.

        Args:
            index: Its place in `names`.
            geometry: The grid of the image.
            shape: The number of its voxels as (z, y, x).

        Raises:
            SeriesError: If it does not lie on that grid.
        """
        name = self.names[index]
        if self._content.SOPClassUID == _RTSTRUCT:
            return _filled(name, _contours(self._content, index), geometry, shape)
        return _placed(name, self._content, index, geometry, shape)


def read_structures(path: Path) -> Structures | None:
    """Read an RTSTRUCT or a SEG; `None` if a file of DICOM is something else.

    Raises:
        SeriesError: If it cannot be read.
        UMambaError: If the extra `dicom` is not installed.
    """
    require_pydicom()
    from pydicom import dcmread

    try:
        with quiet_pydicom():
            content = dcmread(path, force=True)
            kind = str(content.get("SOPClassUID", ""))
            if kind == _RTSTRUCT:
                return _rtstruct(path, content)
            return _seg(path, content) if kind in _SEGS else None
    except (SeriesError, MemoryError):
        raise
    except Exception as error:
        problem = "it is torn, or not a valid RTSTRUCT or SEG"
        raise SeriesError(problem, "export it again") from error


def _rtstruct(path: Path, content: "Dataset") -> Structures:
    uids = [
        str(series.SeriesInstanceUID)
        for frame in content.get("ReferencedFrameOfReferenceSequence", ())
        for study in frame.get("RTReferencedStudySequence", ())
        for series in study.get("RTReferencedSeriesSequence", ())
    ]
    names = tuple(str(roi.get("ROIName", "")).strip() for roi in content.StructureSetROISequence)
    unused = sum(
        contour.get("ContourGeometricType") not in _CLOSED
        for roi in content.get("ROIContourSequence", ())
        for contour in roi.get("ContourSequence", ())
    )
    notes = (f"{unused} points and open contours, which enclose nothing, are not used",)
    return Structures(path, names, tuple(dict.fromkeys(uids)), notes if unused else (), content)


def _seg(path: Path, content: "Dataset") -> Structures:
    if content.get("SegmentationType") == "FRACTIONAL":
        problem = "it is a SEG of probabilities (FRACTIONAL)"
        raise SeriesError(problem, "export it as BINARY or LABELMAP")
    uids = [str(series.SeriesInstanceUID) for series in content.get("ReferencedSeriesSequence", ())]
    segments = [segment for segment in content.SegmentSequence if segment.SegmentNumber > 0]
    names = tuple(str(segment.SegmentLabel).strip() for segment in segments)
    return Structures(path, names, tuple(dict.fromkeys(uids)), (), content)


def _contours(content: "Dataset", index: int) -> Iterator[Array]:
    """Yield the closed contours of a ROI as arrays of shape (points, 3), in mm."""
    number = content.StructureSetROISequence[index].ROINumber
    for roi in content.get("ROIContourSequence", ()):
        if roi.ReferencedROINumber != number:
            continue
        for contour in roi.get("ContourSequence", ()):
            if contour.get("ContourGeometricType") in _CLOSED:
                yield np.asarray(contour.ContourData, float).reshape(-1, 3)


def _filled(
    name: str, contours: Iterator[Array], geometry: Geometry, shape: tuple[int, int, int]
) -> Mask:
    """Fill contours by the even-odd rule; a slice takes the contours that lie next to its centre.

    Contours between slices, as of a series with thinner ones, belong to the nearest slice; of
    several planes of contours in one slice only the nearest counts.
    """
    planes: dict[float, list[Array]] = {}
    for points in contours:
        columns, rows, depth = _indices(points, geometry).T
        if np.ptp(depth) > _TILTED:
            problem = (
                f"a contour of {name!r} is not parallel to the slices: it extends over "
                f"{np.ptp(depth):.2g} of them"
            )
            raise SeriesError(problem, "export it on the slices of this series")
        place = float(np.mean(depth))
        key = next((known for known in planes if abs(known - place) < _SAME_PLANE), place)
        planes.setdefault(key, []).append(np.stack([columns, rows], axis=1))
    mask = np.zeros(shape, bool)
    nearest: dict[int, float] = {}
    for place in planes:
        number = int(np.ceil(place - 0.5))
        if abs(place - number) < abs(nearest.get(number, np.inf) - number):
            nearest[number] = place
    for number, place in nearest.items():
        if 0 <= number < shape[0]:
            mask[number] = filled(planes[place], shape[1:])
    outside = sum(not 0 <= number < shape[0] for number in nearest)
    if outside:
        problem = (
            f"{outside} of {len(nearest)} slices with contours of {name!r} are not in the image"
        )
        raise SeriesError(problem, "pair it with the series on which it was drawn")
    return mask


def _indices(points: Array, geometry: Geometry) -> Array:
    """Return points in mm as (column, row, slice), in voxels from the centre of the first one."""
    axes = np.reshape(geometry.direction, (3, 3)) * geometry.spacing
    indices: Array = np.linalg.solve(axes, (points - geometry.origin).T).T
    return indices


def _placed(
    name: str, content: "Dataset", index: int, geometry: Geometry, shape: tuple[int, int, int]
) -> Mask:
    """Put the voxels of a segment into the grid of an image."""
    from highdicom.seg import Segmentation

    number = [s.SegmentNumber for s in content.SegmentSequence if s.SegmentNumber > 0][index]
    with quiet_pydicom():
        segmentation = Segmentation.from_dataset(content, copy=False)
        volume = segmentation.get_volume(segment_numbers=[number], combine_segments=True)
    voxels = np.argwhere(volume.array == number)
    mask = np.zeros(shape, bool)
    if not len(voxels):
        return mask
    corners = np.concatenate([np.eye(3), np.zeros((1, 3))]) * (np.array(volume.array.shape) - 1)
    _check_same_grid(name, corners @ volume.affine[:3, :3].T + volume.affine[:3, 3], geometry)
    points = voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    places = np.rint(_indices(points, geometry)).astype(int)[:, ::-1]
    if (places < 0).any() or (places >= shape).any():
        problem = f"{name!r} has voxels outside of the image"
        raise SeriesError(problem, "pair it with the series on which it was drawn")
    mask[tuple(places.T)] = True
    return mask


def _check_same_grid(name: str, corners: Array, geometry: Geometry) -> None:
    places = _indices(corners, geometry)
    if np.abs(places - np.rint(places)).max() > _OFF:
        problem = f"the voxels of {name!r} are not those of the image, which are {_size(geometry)}"
        raise SeriesError(problem, "resample it onto the image")


def _size(geometry: Geometry) -> str:
    return f"{numbers(geometry.spacing)} mm from {numbers(geometry.origin)}"
