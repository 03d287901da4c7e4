"""The contents of an image file once it is read: voxels, grid, and what is odd about it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from umamba.system.limits import usable_memory

__all__ = [
    "Array",
    "FileToRead",
    "Geometry",
    "HeaderConflict",
    "LoadedImage",
    "SkewedAxesError",
    "UnreadableFileError",
    "check_size",
    "numbers",
    "without_numbers",
]

Array = npt.NDArray[Any]

# A misfit below these is rounding in a header: relative, in voxels, and absolute.
_SPACING_TOLERANCE = 1e-4
_ORIGIN_TOLERANCE = 1e-2
_DIRECTION_TOLERANCE = 1e-3

# Reading, checking and hashing an image takes up to six times the memory of its voxels.
_COPIES = 8


class UnreadableFileError(Exception):
    """The error of a file that cannot be used; its two arguments say why, and what to do."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


class SkewedAxesError(UnreadableFileError):
    """The error of a file whose axes are not at right angles, where the reader refuses those."""


def check_size(n_bytes: int) -> None:
    """Check that the voxels that a header announces fit into memory, before any is read.

    Args:
        n_bytes: Their size.

    Raises:
        UnreadableFileError: If they do not, together with the copies that are made of them.
    """
    if n_bytes > usable_memory() // _COPIES:
        problem = f"its header claims {n_bytes} bytes of voxels, more than fit into the memory here"
        raise UnreadableFileError(problem, "replace the file, or use a machine with more memory")


@dataclass(frozen=True)
class Geometry:
    """The place of the voxels in space, in millimetres and in the file's order (x, y, z).

    Attributes:
        spacing: The voxel size.
        origin: The centre of the first voxel, in the space of ITK and DICOM (left, back, up).
        direction: The unit vectors of the axes, as the columns of a matrix that is written row
            by row.
    """

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    def differences(self, other: "Geometry") -> dict[str, str]:
        """Name what differs by more than rounding; the texts have both values, ours first."""
        if len(self.spacing) != len(other.spacing):
            return {"dimensions": f"{len(self.spacing)} dimensions but {len(other.spacing)}"}
        smallest = min(self.spacing)
        limits = (
            ("spacing", _SPACING_TOLERANCE * smallest),
            ("origin", _ORIGIN_TOLERANCE * smallest),
            ("direction", _DIRECTION_TOLERANCE),
        )
        return {
            name: f"{name} {numbers(getattr(self, name))} but {numbers(getattr(other, name))}"
            for name, limit in limits
            if not np.allclose(getattr(self, name), getattr(other, name), rtol=0, atol=limit)
        }


@dataclass(frozen=True)
class HeaderConflict:
    """Two statements of one header about the same thing.

    Attributes:
        about: `voxel size`, `orientation`, `origin` or `unit`.
        text: Both statements, and which of them is used.
    """

    about: str
    text: str

    @property
    def kind(self) -> str:
        """The text without its numbers: what differs, and which of the two is used."""
        return f"{self.about}: {without_numbers(self.text)}"


def without_numbers(text: str) -> str:
    """Return a message without its numbers, so that the same one about other files is equal."""
    return re.sub(r"\([^()]*\)|\d[\d.e+-]*", "", text)


class FileToRead(NamedTuple):
    """A file, and how to read it.

    Attributes:
        path: The file.
        ending: The ending of its name in lower case, one of `FORMATS`.
        reader: nnU-Net's reader that will be used; `None` for the one that nnU-Net has for the
            ending, of volumes SimpleITK's.
        is_mask: Whether it is a mask.
    """

    path: Path
    ending: str
    reader: str | None = None
    is_mask: bool = False


@dataclass(frozen=True)
class LoadedImage:
    """One file in memory.

    Attributes:
        array: The voxels as (channels, z, y, x) or (channels, y, x).
        geometry: `None` for formats that carry none.
        departure: What nnU-Net's own reader finds in this file instead; "" where it finds the
            same channels, so that the file can be used as it is.
        notes: Remarks for the user.
        odd_spacing: The voxel size in the header, if nnU-Net's readers replace it because it is
            not positive.
        conflicts: Contradictions in the header.
        step: The distance of neighbouring values, where the file holds scaled integers.
    """

    path: Path
    array: Array
    geometry: Geometry | None = None
    departure: str = ""
    notes: tuple[str, ...] = ()
    odd_spacing: tuple[float, ...] | None = None
    conflicts: tuple[HeaderConflict, ...] = ()
    step: float = 0.0


def numbers(values: Sequence[float]) -> str:
    """Show a few numbers as a tuple, without superfluous digits."""
    return "(" + ", ".join(f"{value + 0.0:.6g}" for value in values) + ")"  # 0 instead of -0
