"""Read the masks of segments from the frames of a SEG."""

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from umamba.dicom.decoding import decoded
from umamba.dicom.headers import planes_of
from umamba.dicom.image_grid import ImageGrid
from umamba.dicom.series import SeriesError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SegReader", "segments_in"]

Array = npt.NDArray[Any]

_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
_OFF = 0.1  # of a voxel, between two grids that should be one
_COARSE = 1.5  # times the distance of slices, from which a SEG has gaps between its own


def segments_in(content: "Dataset") -> list["Dataset"]:
    """Return the segments of a SEG without the background, which a label map has as number 0."""
    return [segment for segment in content.SegmentSequence if segment.SegmentNumber > 0]


class SegReader:
    """A SEG that is put frame by frame into the grid of an image.

    Args:
        path: The file.
        content: Its content.
        wanted: The places of the segments that will be read.
        grid: The voxels of the image.

    Raises:
        SeriesError: If its frames have no place.
    """

    def __init__(
        self, path: Path, content: "Dataset", wanted: Sequence[int], grid: ImageGrid
    ) -> None:
        self._content = content
        self._grid = grid
        self._planes = planes_of(path, content)
        self._segments = segments_in(content)
        self._wanted = [self._segments[index].SegmentNumber for index in wanted]
        self._label_map: Array | None = None
        grid.check_frame("the SEG", content.get("FrameOfReferenceUID"))

    def mask(self, index: int) -> Array:
        """Return the mask of a segment.

        Args:
            index: Its place in the SEG.

        Raises:
            SeriesError: If its voxels are not those of the image.
        """
        number = self._segments[index].SegmentNumber
        if self._content.SOPClassUID != _LABEL_MAP:
            frames = [n for n, owner in enumerate(self._owners) if owner == number]
            return self._placed(frames, [1], np.dtype(bool))
        if self._label_map is None:  # decoded once, for all segments
            self._label_map = self._placed(
                range(len(self._planes)), self._wanted, np.dtype(np.uint16)
            )
        mask: Array = self._label_map == number
        return mask

    @cached_property
    def _owners(self) -> list[int]:
        """The number of the segment of each frame."""
        items = (self._item(n, "SegmentIdentificationSequence") for n in range(len(self._planes)))
        return [int(item.ReferencedSegmentNumber) for item in items]

    def _item(self, frame: int, sequence: str) -> "Dataset":
        """Return the functional group of a frame, or the one that all share."""
        own = self._content.PerFrameFunctionalGroupsSequence[frame]
        found = own.get(sequence) or self._content.SharedFunctionalGroupsSequence[0].get(sequence)
        item: Dataset = found[0]
        return item

    def _placed(self, frames: Sequence[int], kept: Sequence[int], kind: "np.dtype[Any]") -> Array:
        """Put the pixels of frames that have one of some values into the grid."""
        target = np.zeros(self._grid.shape, kind)
        with closing(self._decoded(frames)) as decoded_frames:
            for frame, values in zip(frames, decoded_frames, strict=True):
                rows, columns = np.nonzero(np.isin(values, kept))
                if not len(rows):
                    continue
                origin, down, along = self._steps(frame)
                places = origin + rows[:, None] * down + columns[:, None] * along
                self._grid.check_inside("it", places)
                target[tuple(places[:, ::-1].T)] = values[rows, columns]
        return target

    def _decoded(self, frames: Sequence[int]) -> Generator[Array, None, None]:
        is_packed = not self._content.file_meta.TransferSyntaxUID.is_encapsulated
        if self._content.BitsAllocated == 1 and is_packed:
            return (self._bits(frame) for frame in frames)
        return decoded([self._planes[frame] for frame in frames])

    def _bits(self, frame: int) -> Array:
        """Return a frame of bits, which need not begin with a byte."""
        shape = self._planes[frame].shape
        size = shape[0] * shape[1]
        begin = frame * size
        packed = self._content.PixelData[begin // 8 : (begin + size + 7) // 8]
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
        return bits[begin % 8 : begin % 8 + size].reshape(shape)

    def _steps(self, frame: int) -> tuple[Array, Array, Array]:
        """Return the voxel of the first pixel, and the steps down a column and along a row.

        Raises:
            SeriesError: If the pixels are not voxels of the image.
        """
        plane = self._planes[frame]
        row, column = np.reshape(plane.orientation, (2, 3))
        down, along = column * plane.spacing[0], row * plane.spacing[1]
        last = np.array(plane.shape) - 1
        begin = np.array(plane.position)
        ends = [begin, begin + down, begin + along, begin + last[0] * down + last[1] * along]
        found = self._grid.indices(np.stack(ends))
        voxel, step_down, step_along = np.rint([found[0], found[1] - found[0], found[2] - found[0]])
        opposite = voxel + last[0] * step_down + last[1] * step_along
        off = np.abs([found[0] - voxel, found[3] - opposite]).max()
        steps = np.abs(step_down).sum(), np.abs(step_along).sum()
        if off > _OFF or steps != (1, 1) or self._is_coarse(frame, step_down, step_along):
            problem = f"its voxels are not those of the image, which are {self._grid}"
            raise SeriesError(problem, "resample it onto the image")
        return voxel.astype(int), step_down.astype(int), step_along.astype(int)

    def _is_coarse(self, frame: int, *steps: Array) -> bool:
        """Return whether its slices are thicker than voxels of the image."""
        distance = self._item(frame, "PixelMeasuresSequence").get("SpacingBetweenSlices")
        across = np.flatnonzero(np.sum(np.abs(steps), axis=0) == 0)
        spacing = self._grid.geometry.spacing[int(across[0])]
        return bool(distance) and float(distance) > _COARSE * spacing
