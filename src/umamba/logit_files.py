"""Logits of large images, in memory or in files without a name; free of torch."""

import io
import math
import shutil
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from umamba.errors import UMambaError
from umamba.system.path_names import shown

__all__ = ["LOGITS_IN_MEMORY", "SUMS_IN_MEMORY", "CoarseLogits", "LogitStore", "SlabFile"]

Array = npt.NDArray[Any]

# Bytes of an image's logits, and of the sums of the planes that patches cover, above which they go
# to files.
LOGITS_IN_MEMORY = 1 << 30
SUMS_IN_MEMORY = 3 << 29
_HALF = 2
_CERTAIN = math.log(99)  # the background's lead where all else together has 1 %


class LogitStore:
    """Logits of a whole image in half precision: in memory, or in a file without a name.

    Args:
        shape: Classes first, then the image's.
        folder: The folder for a file, if one is needed; no crash can leave it there.
        most_in_memory: How many bytes may stay in memory; what is larger goes to a file.

    Raises:
        UMambaError: If the disk has no room for it.
    """

    def __init__(
        self, shape: Sequence[int], folder: Path, most_in_memory: int = LOGITS_IN_MEMORY
    ) -> None:
        self.shape = tuple(shape)
        n_bytes = math.prod(self.shape) * _HALF
        self._file: IO[bytes] = io.BytesIO()
        if n_bytes > most_in_memory:
            free = shutil.disk_usage(folder).free
            if free < n_bytes:
                msg = (
                    f"{n_bytes / 2**30:.1f} GiB are needed temporarily in {shown(folder)}, but "
                    f"only {free / 2**30:.1f} are free; make room, or take another disk"
                )
                raise UMambaError(msg)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`

    def close(self) -> None:
        """Release memory and disk."""
        self._file.close()

    def write(self, first: int, planes: Array) -> None:
        """Set planes along the image's first axis, from `first` on."""
        for channel, logits in enumerate(planes):
            self._seek(channel, first)
            self._file.write(np.ascontiguousarray(logits, np.float16).data)

    def read(self, first: int, n_planes: int) -> Array:
        """Return planes of all channels."""
        channels = range(self.shape[0])
        return np.stack([self._read(channel, first, n_planes) for channel in channels])

    def channel(self, index: int) -> Array:
        """Return one channel, with an axis of size one for it."""
        return self._read(index, 0, self.shape[1])[None]

    def box(self, box: Sequence[slice]) -> Array:
        """Return a part of all channels: some planes, and of these some rows and columns."""
        planes, rows, columns = box
        n_rows, width = rows.stop - rows.start, self.shape[3]
        content = np.empty([self.shape[0], *(part.stop - part.start for part in box)], np.float16)
        for channel, plane in product(range(self.shape[0]), range(planes.start, planes.stop)):
            self._seek(channel, plane, rows.start)
            found = np.frombuffer(self._file.read(n_rows * width * _HALF), np.float16)
            content[channel, plane - planes.start] = found.reshape(n_rows, width)[:, columns]
        return content

    def _seek(self, channel: int, plane: int, row: int = 0) -> None:
        n_rows, width = self.shape[2:]
        place = (channel * self.shape[1] + plane) * n_rows + row
        self._file.seek(place * width * _HALF)

    def _read(self, channel: int, first: int, n_planes: int) -> Array:
        self._seek(channel, first)
        content = np.empty((n_planes, *self.shape[2:]), np.float16)
        self._file.readinto(content.data.cast("B"))  # type: ignore[attr-defined]
        return content


class CoarseLogits(LogitStore):
    """Logits of a coarse first pass over an image, and where they leave background alone.

    A voxel is background if all other classes together, or any region, have less than 1 % of the
    probability.

    Args:
        shape: Classes or regions first, then the image's.
        folder: As of `LogitStore`.
        most_in_memory: As of `LogitStore`.
        inside: The image without its padding, which counts as background.
        has_regions: Whether logits are of regions, which have no background.
    """

    def __init__(
        self,
        shape: Sequence[int],
        folder: Path,
        most_in_memory: int,
        *,
        inside: Sequence[slice],
        has_regions: bool,
    ) -> None:
        super().__init__(shape, folder, most_in_memory)
        self._inside, self._has_regions = inside, has_regions
        self._is_background = np.zeros(self.shape[1:], bool)

    def write(self, first: int, planes: Array) -> None:
        """Set planes along the image's first axis, from `first` on."""
        super().write(first, planes)
        if self._has_regions:
            lead = -planes.max(0)
        else:
            with np.errstate(invalid="ignore"):  # of NaN, which is not background
                others = np.logaddexp.reduce(planes[1:].astype(np.float32), axis=0)
            lead = planes[0] - others
        self._is_background[first : first + planes.shape[1]] = lead >= _CERTAIN  # not NaN

    def background(self, box: Sequence[slice]) -> Array | None:
        """Return the logits of a part that is all background; `None` of any other."""
        within = tuple(
            slice(max(part.start, image.start), min(part.stop, image.stop))
            for part, image in zip(box, self._inside, strict=True)
        )
        return self.box(box) if self._is_background[within].all() else None


class SlabFile:
    """Sums of all channels in the planes that patches now cover, in half precision, in a file.

    Only some rows are in memory.

    Args:
        shape: Channels, depth, rows, columns.
        folder: The folder for the file; no crash can leave it there.
    """

    def __init__(self, shape: Sequence[int], folder: Path) -> None:
        self.shape = tuple(shape)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - see `close`
        self._file.truncate(math.prod(self.shape) * _HALF)  # zeros that do not take room yet
        self._front = 0  # the place of the first plane: places are used in turn

    def rows(self, first: int, n_rows: int) -> Array:
        """Return some rows of all planes, to be added to in place."""
        channels, depth, _, columns = self.shape
        return self._read((channels, depth, n_rows, columns), 0, first)

    def keep(self, first: int, rows: Array) -> None:
        """Write rows back."""
        self._write(rows, 0, first)

    def planes(self, first: int, n_planes: int) -> Array:
        """Return whole planes."""
        channels, _, *plane = self.shape
        return self._read((channels, n_planes, *plane), first, 0)

    def advance(self, n_planes: int) -> None:
        """Drop planes in front."""
        channels, depth, *plane = self.shape
        zero = np.zeros((1, 1, *plane), np.float16)
        for number in range(n_planes):
            for channel in range(channels):
                self._write(zero, number, 0, channel)
        self._front = (self._front + n_planes) % depth

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def _seek(self, channel: int, plane: int, row: int) -> None:
        _, depth, rows, columns = self.shape
        place = (self._front + plane) % depth
        self._file.seek(((channel * depth + place) * rows + row) * columns * _HALF)

    def _read(self, shape: tuple[int, ...], plane: int, row: int) -> Array:
        content = np.empty(shape, np.float16)
        for channel, number in product(range(shape[0]), range(shape[1])):
            self._seek(channel, plane + number, row)
            self._file.readinto(content[channel, number].data)  # type: ignore[attr-defined]
        return content

    def _write(self, values: Array, plane: int, row: int, first_channel: int = 0) -> None:
        content = np.ascontiguousarray(values)
        for channel, number in product(range(values.shape[0]), range(values.shape[1])):
            self._seek(first_channel + channel, plane + number, row)
            self._file.write(content[channel, number].data)
