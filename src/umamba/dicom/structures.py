"""Find the named masks of RTSTRUCT and SEG, and read them onto the grid of an image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from umamba.dicom.image_grid import ImageGrid
from umamba.dicom.library import quiet_pydicom, require_pydicom
from umamba.dicom.rtstruct_reading import roi_mask, roi_name
from umamba.dicom.seg_reading import SegReader, segments_in
from umamba.dicom.series import SeriesError
from umamba.images.dicom_files import is_dicom

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Structures", "read_structures"]

Mask = npt.NDArray[np.bool_]
NotedMask = tuple[Mask, tuple[str, ...]]

_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_SEGS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_TAGS = (
    *("SpecificCharacterSet", "SOPClassUID", "ReferencedFrameOfReferenceSequence"),
    *("StructureSetROISequence", "SegmentationType", "ReferencedSeriesSequence", "SegmentSequence"),
)


@dataclass(frozen=True)
class Structures:
    """The named masks of an RTSTRUCT or a SEG; only their names are in memory.

    Attributes:
        path: The file.
        names: The names of its ROIs or segments, in their order.
        series_uids: The series that it refers to.
        frames_of_reference: The FrameOfReferenceUID of those for which it states one.
    """

    path: Path
    names: tuple[str, ...]
    series_uids: tuple[str, ...]
    frames_of_reference: Mapping[str, str] = field(default_factory=dict)

    def masks(self, wanted: Sequence[int], grid: ImageGrid) -> Iterator[NotedMask]:
        """Read the masks of some names, one at a time.

        Args:
            wanted: Their places in `names`.
            grid: The voxels of the image.

        Yields:
            A mask for each, and remarks on what it does not show.

        Raises:
            SeriesError: If the file cannot be read, or a mask does not lie on that grid.
        """
        from pydicom import dcmread

        with _explained():
            content = dcmread(self.path, force=True)
            read = self._reader(content, wanted, grid)
        for index in wanted:
            with _explained():
                mask = read(index)
            yield mask

    def _reader(
        self, content: "Dataset", wanted: Sequence[int], grid: ImageGrid
    ) -> Callable[[int], NotedMask]:
        if content.SOPClassUID == _RTSTRUCT:
            return lambda index: roi_mask(content, index, grid)
        reader = SegReader(self.path, content, wanted, grid)
        return lambda index: (reader.mask(index), ())


def read_structures(path: Path) -> Structures | None:
    """Read the names in an RTSTRUCT or a SEG; `None` if a file is something else.

    Raises:
        SeriesError: If it cannot be read.
        UMambaError: If the extra `dicom` is not installed.
    """
    require_pydicom()
    from pydicom import dcmread

    with _explained():
        if not path.is_file() or not is_dicom(path):
            return None
        tags: list[Any] = list(_TAGS)
        header = dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
        kind = str(header.get("SOPClassUID", ""))
        if kind == _RTSTRUCT:
            return _rtstruct(path, header)
        return _seg(path, header) if kind in _SEGS else None


@contextmanager
def _explained() -> Iterator[None]:
    """Turn whatever a damaged file leads to into one line without its content.

    Raises:
        SeriesError: If that happens.
    """
    try:
        with quiet_pydicom():
            yield
    except (SeriesError, MemoryError):
        raise
    except PermissionError as error:
        problem = "permission denied"
        raise SeriesError(problem, "make the file readable") from error
    except Exception as error:
        problem = "it is torn, or not a valid RTSTRUCT or SEG"
        raise SeriesError(problem, "export it again") from error


def _rtstruct(path: Path, header: "Dataset") -> Structures:
    frames = {
        str(series.SeriesInstanceUID): str(frame.get("FrameOfReferenceUID") or "")
        for frame in header.get("ReferencedFrameOfReferenceSequence", ())
        for study in frame.get("RTReferencedStudySequence", ())
        for series in study.get("RTReferencedSeriesSequence", ())
    }
    names = tuple(map(roi_name, header.StructureSetROISequence))
    return Structures(path, names, tuple(frames), frames)


def _seg(path: Path, header: "Dataset") -> Structures:
    if header.get("SegmentationType") == "FRACTIONAL":
        problem = "it is a SEG of probabilities (FRACTIONAL)"
        raise SeriesError(problem, "export it as BINARY or LABELMAP")
    uids = [str(series.SeriesInstanceUID) for series in header.get("ReferencedSeriesSequence", ())]
    names = tuple(str(segment.SegmentLabel).strip() for segment in segments_in(header))
    return Structures(path, names, tuple(dict.fromkeys(uids)))
