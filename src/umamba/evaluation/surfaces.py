"""Surfaces of masks as weighted points, and the distances between two of them.

There are two definitions. In that of DeepMind's surface-distance, `LabelSurfaces`, a surface runs
between voxels. Each cell of 2 x 2 (x 2) neighbouring voxels that are not all equal holds one
element: a point at its centre, weighted with the length or area of the piece of surface that
marching cubes puts there. The weights keep anisotropic voxels and oblique surfaces from counting
more than their size, as they would with border voxels. In the definition by voxels, `BorderVoxels`,
a surface is the set of voxels in the mask that share a face with one outside; each is a point at
its centre, and all count the same.

Source: Nikolov et al. 2021, doi:10.2196/26151, Appendix; for marching cubes Lorensen and Cline
1987, doi:10.1145/37401.37422. Border voxels, and the metrics of their distances, are as in MONAI;
MedPy uses the same voxels, but pools both directions for HD95 and averages the two means for ASSD.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "DEFINITIONS",
    "BorderVoxels",
    "LabelSurfaces",
    "Surface",
    "SurfaceDefinition",
    "SurfaceDistances",
    "measure_distances",
]

Array = npt.NDArray[Any]
SurfaceDefinition = Literal["surface-distance", "voxels"]

# Distances come from coordinates of up to a few hundred mm: their rounding is far below this.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Surface:
    """Elements of a surface.

    Attributes:
        points: Positions, (elements, dimensions), in the unit of the spacing.
        areas: Sizes: lengths in 2D, areas in 3D; 1 for border voxels.
    """

    points: Array
    areas: Array


class LabelSurfaces:
    """The surfaces of all labels of an image.

    Only cells whose corners differ are kept, so that memory and the time of each label grow with
    the surfaces, not with the image.

    Args:
        labelled: Label numbers as unsigned integers, 2D or 3D; everything beyond the array is 0.
    """

    def __init__(self, labelled: Array) -> None:
        padded = np.pad(labelled, 1)
        shape = [n + 1 for n in labelled.shape]
        corners = list(product((0, 1), repeat=labelled.ndim))
        windows = [
            padded[tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))]
            for corner in corners
        ]
        mixed = np.zeros(shape, bool)
        for window in windows[1:]:
            mixed |= window != windows[0]
        # flatnonzero and unravel_index are faster than nonzero in 3D
        self._places = np.unravel_index(np.flatnonzero(mixed), mixed.shape)
        first = np.ravel_multi_index(self._places, padded.shape)
        steps = [np.ravel_multi_index(corner, padded.shape) for corner in corners]
        self._corners = [padded.ravel()[first + step] for step in steps]

    def surface(self, label: int, spacing: tuple[float, ...]) -> Surface:
        """Return the surface of one label.

        Args:
            label: Its number.
            spacing: Distance between voxels along each axis.
        """
        codes = np.zeros(len(self._corners[0]), np.uint8)
        for bit, corner in enumerate(self._corners):
            codes |= (corner == label).view(np.uint8) << bit
        all_inside = 2 ** len(self._corners) - 1
        own = np.flatnonzero((codes != 0) & (codes != all_inside))
        points = np.stack(
            [axis[own] * step for axis, step in zip(self._places, spacing, strict=True)], axis=-1
        )
        return Surface(points, _areas_by_code(spacing)[codes[own]])


class BorderVoxels:
    """The voxels of all labels of an image that share a face with a voxel outside their label.

    Args:
        labelled: Label numbers as unsigned integers, 2D or 3D; everything beyond the array is 0.
    """

    def __init__(self, labelled: Array) -> None:
        padded = np.pad(labelled, 1)
        middle = (slice(1, -1),) * labelled.ndim
        border = np.zeros(labelled.shape, bool)
        for axis in range(labelled.ndim):
            for neighbours in (slice(None, -2), slice(2, None)):
                window = (*middle[:axis], neighbours, *middle[axis + 1 :])
                border |= padded[window] != labelled
        places = np.flatnonzero(border & (labelled > 0))
        self._labels = labelled.ravel()[places]
        self._places = np.unravel_index(places, labelled.shape)

    def surface(self, label: int, spacing: tuple[float, ...]) -> Surface:
        """Return the border of one label.

        Args:
            label: Its number.
            spacing: Distance between voxels along each axis.
        """
        own = np.flatnonzero(self._labels == label)
        points = np.stack(
            [axis[own] * step for axis, step in zip(self._places, spacing, strict=True)], axis=-1
        )
        return Surface(points, np.ones(len(points)))


DEFINITIONS: dict[SurfaceDefinition, type[LabelSurfaces] | type[BorderVoxels]] = {
    "surface-distance": LabelSurfaces,
    "voxels": BorderVoxels,
}


@lru_cache
def _areas_by_code(spacing: tuple[float, ...]) -> Array:
    """Return the area in a cell by the bits of its corners; the last axis varies fastest."""
    n_corners = 2 ** len(spacing)
    bits = np.arange(2**n_corners)[:, None] >> np.arange(n_corners) & 1
    cells = bits.reshape(-1, *[2] * len(spacing)).astype(float)
    areas = np.zeros(len(cells))
    area = _contour_length if len(spacing) == 2 else _triangle_area
    areas[1:-1] = [area(cell, spacing) for cell in cells[1:-1]]
    # If a cell is ambiguous, it gets the smaller surface, so that a mask and its complement agree.
    return np.minimum(areas, areas[::-1])


def _contour_length(cell: Array, spacing: tuple[float, ...]) -> float:
    """Return the length of the contour in a square, by marching squares."""
    rows, columns = (spacing[axis] * np.abs(np.diff(cell, axis=1 - axis)).sum() for axis in (0, 1))
    # Each contour joins the midpoints of two edges, opposite or neighbouring ones.
    return float(math.hypot(rows, columns)) / 2


def _triangle_area(cell: Array, spacing: tuple[float, ...]) -> float:
    """Return the area of the surface in a cube."""
    from skimage.measure import marching_cubes, mesh_surface_area

    vertices, faces, _, _ = marching_cubes(cell, 0.5, spacing=spacing, method="lorensen")
    return float(mesh_surface_area(vertices, faces))


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances of the elements of each surface from the other surface, and their sizes.

    The two surfaces must have elements.

    Attributes:
        distances: Distances of the elements of the first, and of the second surface.
        areas: Sizes of the same elements.
        definition: Definition of the surfaces.
    """

    distances: tuple[Array, Array]
    areas: tuple[Array, Array]
    definition: SurfaceDefinition = "surface-distance"

    def within(self, tolerance: float) -> float:
        """Return the normalised surface distance (NSD), the surface Dice at a tolerance.

        This is the share of both surfaces together that is within `tolerance` of the other one.

        Source: Nikolov et al. 2021, doi:10.2196/26151.
        """
        limit = tolerance * (1 + _ROUNDING)
        near = sum(
            float(areas[distances <= limit].sum())
            for distances, areas in zip(self.distances, self.areas, strict=True)
        )
        return near / self._total_area

    def average(self) -> float:
        """Return the average symmetric surface distance (ASSD): the mean over both surfaces.

        Source: Heimann et al. 2009, doi:10.1109/TMI.2009.2013851.
        """
        pairs = zip(self.distances, self.areas, strict=True)
        return float(sum(distances @ areas for distances, areas in pairs)) / self._total_area

    def hausdorff(self, percent: float) -> float:
        """Return the Hausdorff distance at a percentile: the larger value of both directions.

        In one direction it is the smallest distance within which `percent` of the surface lies; for
        border voxels the percentile is interpolated, as in MONAI.

        Source: Maier-Hein et al. 2024, arXiv:2206.01653; weighted as in Nikolov et al. 2021.
        """
        if self.definition == "voxels":
            return float(max(np.percentile(distances, percent) for distances in self.distances))
        pairs = zip(self.distances, self.areas, strict=True)
        return max(_weighted_percentile(distances, areas, percent) for distances, areas in pairs)

    @property
    def _total_area(self) -> float:
        return float(sum(areas.sum() for areas in self.areas))


def _weighted_percentile(values: Array, weights: Array, percent: float) -> float:
    order = np.argsort(values)
    shares = np.cumsum(weights[order])
    index = np.searchsorted(shares, percent / 100 * shares[-1] * (1 - _ROUNDING))
    return float(values[order][index])


def measure_distances(
    first: Surface, second: Surface, definition: SurfaceDefinition = "surface-distance"
) -> SurfaceDistances:
    """Find the nearest element of the other surface for each element.

    The time grows with the surfaces, not with the box around them: a voxel far away costs nothing.
    It is longest if large surfaces are parallel and far apart, as those of concentric balls, since
    many elements are almost equally near then: half a minute for 300,000 elements.

    Args:
        first: A surface with elements.
        second: Another surface with elements.
        definition: Definition by which both were found.
    """
    from scipy.spatial import KDTree

    distances = tuple(
        KDTree(there.points, compact_nodes=False, balanced_tree=False).query(here.points)[0]
        for here, there in ((first, second), (second, first))
    )
    return SurfaceDistances((distances[0], distances[1]), (first.areas, second.areas), definition)
