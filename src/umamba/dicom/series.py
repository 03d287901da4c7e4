"""Series of DICOM: slices in order, on one grid; imports nothing slow."""

from dataclasses import dataclass
from pathlib import Path

from umamba.images.contents import Geometry

__all__ = ["FoundSeries", "LeftOut", "Plane", "Resampling", "Series", "SeriesError", "SeriesHead"]


class SeriesError(Exception):
    """The error of a series that cannot be read as a volume; its arguments say why, and the fix."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


@dataclass(frozen=True)
class SeriesHead:
    """The statements of a header about its series; "" where it makes none.

    Attributes:
        uid: The SeriesInstanceUID.
    """

    uid: str
    study_uid: str = ""
    patient_id: str = ""
    frame_of_reference_uid: str = ""
    modality: str = ""
    description: str = ""
    sop_class_uid: str = ""


@dataclass(frozen=True)
class Plane:
    """One slice: a file, or a frame of a file.

    Attributes:
        path: The file.
        frame: The frame in it, from 0.
        sop_instance_uid: The file's SOPInstanceUID.
        position: The centre of its first pixel (left, back, up), in mm.
        orientation: The unit vectors along a row and along a column.
        spacing: The distances of rows and of columns, in mm.
        shape: The numbers of rows and of columns.
        slope: The factor from stored to true values.
        intercept: The true value of a stored 0.
        limits: The least and the greatest value that may be stored; `None` for real numbers.
        is_inverted: Whether stored values have to be turned over, as their least one is white.
        thickness: The distance to the next slice by the header; `None` if it says nothing.
        transfer_syntax: The UID of the way in which its pixels are encoded.
    """

    path: Path
    frame: int
    sop_instance_uid: str
    position: tuple[float, float, float]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    slope: float = 1.0
    intercept: float = 0.0
    limits: tuple[int, int] | None = None
    is_inverted: bool = False
    thickness: float | None = None
    transfer_syntax: str = ""


@dataclass(frozen=True)
class Resampling:
    """The way from slices that do not lie on a regular grid onto one.

    Attributes:
        text: What is done to them, and why.
        distances: The place of each slice along the normal, in mm from the first.
        shifts: How far the grid's first pixel lies before that of each slice, along columns and
            along rows, in pixels.
    """

    text: str
    distances: tuple[float, ...]
    shifts: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Series:
    """A volume: the slices of one series, in the order of their places along the normal.

    Attributes:
        head: The identity of the series.
        planes: The slices, the first one at the origin.
        geometry: The grid of the voxels: x along a row, y along a column, z along the normal.
        shape: The number of voxels as (z, y, x).
        resampling: How the slices come onto that grid; `None` if they lie on it.
        notes: Remarks for the user, without anything of the patient.
    """

    head: SeriesHead
    planes: tuple[Plane, ...]
    geometry: Geometry
    shape: tuple[int, int, int]
    resampling: Resampling | None = None
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder of its first file."""
        return min(plane.path for plane in self.planes).parent


@dataclass(frozen=True)
class LeftOut:
    """A series or a file that cannot be used.

    Attributes:
        head: The identity of the series; `None` if the file could not be read.
        path: A file of it.
        reason: What is wrong, and what to do, without anything of the patient.
    """

    head: SeriesHead | None
    path: Path
    reason: str


@dataclass(frozen=True)
class FoundSeries:
    """The contents of a folder of DICOM.

    Attributes:
        series: The volumes, in the order of their paths.
        failed: What should be a volume, and cannot be used.
        notes: What was left out as no volume at all, and how much of it.
    """

    series: tuple[Series, ...]
    failed: tuple[LeftOut, ...]
    notes: tuple[str, ...]
