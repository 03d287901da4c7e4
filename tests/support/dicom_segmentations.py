"""A small label map, and series of DICOM in several orientations on which it lies."""

from pathlib import Path

import numpy as np

from dicom_files import write_series
from umamba.dicom.derived import Maker
from umamba.dicom.finding import find_series

MAKER = Maker("Dataset004 3d_fullres", "0123456789ab")
LABELS = {"liver": (1,), "tumour": (2,), "nothing": (3,)}
AXES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "decubitus": ((0, 1, 0), (-1, 0, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "oblique": ((0.8, 0.6, 0), (-0.48, 0.64, 0.6)),
}


def label_map() -> np.ndarray:
    """Return labels with a hole, an island in it, single voxels, and empty slices at both ends."""
    labels = np.zeros((5, 9, 11), np.uint8)
    labels[1, 1:8, 1:9] = 1
    labels[1, 2:7, 2:7] = 0
    labels[1, 4, 4] = 1
    labels[1, 0, 10] = labels[2, 8, 0] = labels[3, 3, 3] = labels[3, 4, 4] = 2
    return labels


def source(folder: Path, axes: str = "axial", *, reverse: bool = False, n_slices: int = 5):
    """Write a series, and return it as it is found."""
    row, column = np.array(AXES[axes])
    step = np.cross(row, column) * (-2.5 if reverse else 2.5)
    positions = [np.array([-10.5, 20.25, 30.125]) + n * step for n in range(n_slices)]
    stored = np.zeros((n_slices, 9, 11), np.int16)
    write_series(folder, stored, positions=positions, axes=[*row, *column])
    (series,) = find_series(folder).series
    return series


def affine(series) -> np.ndarray:
    """Return the matrix from (z, y, x) to the patient's coordinates."""
    geometry = series.geometry
    matrix = np.eye(4)
    steps = np.reshape(geometry.direction, (3, 3)) * geometry.spacing
    matrix[:3, :3], matrix[:3, 3] = steps[:, ::-1], geometry.origin
    return matrix
