"""Masks of one slice as polygons along the edges of voxels, and polygons as masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["filled", "outlines"]

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]

# Directions of the edges of voxels, clockwise where rows go down: east, south, west, north.
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
# Beyond it the digits of coordinates are rounding, which must not decide on which side of a
# contour the centre of a voxel lies.
_DIGITS = 5


def outlines(mask: Mask) -> list[Points]:
    """Return the polygons around the voxels of a mask, one for each island.

    They run along the edges of voxels, half a voxel from every centre, so that any sensible way of
    filling gives the same mask again. Voxels that only touch at a corner are islands of their own.
    A hole is joined to what surrounds it by a channel without width along the edges of voxels (the
    keyhole technique, DICOM PS3.3 C.8.8.6.3).

    Args:
        mask: One slice.

    Returns:
        Arrays of shape (points, 2): column and row, in voxels from the centre of the first voxel.
        The first point is not repeated at the end.
    """
    width = mask.shape[1] + 1
    loops = _loops(mask, width)
    islands = [loop for loop in loops if _signed_area(loop, width) > 0]
    holes = [loop for loop in loops if _signed_area(loop, width) < 0]
    owner = {vertex: number for number, loop in enumerate(islands) for vertex in loop}
    for hole in sorted(holes, key=lambda loop: min(vertex % width for vertex in loop)):
        _join(hole, islands, owner, width)
    return [_corners(loop, width) for loop in islands]


def _loops(mask: Mask, width: int) -> list[list[int]]:
    """Return the loops of edges that have the mask on their right, as corners of voxels.

    Args:
        mask: One slice.
        width: The number of corners in a row; corner (x, y) has the number y * width + x.
    """
    padded = np.pad(mask, 1)
    here, above, left = padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1]
    diagonal = padded[:-1, :-1]
    leaving = np.stack([here & ~above, left & ~here, diagonal & ~left, above & ~diagonal])
    several = leaving.sum(0) > 1
    direction = np.where(several, -1, leaving.argmax(0)).ravel().tolist()
    jump = [dx + dy * width for dx, dy in _STEPS]
    edges = np.argwhere(leaving.reshape(4, -1).T).tolist()
    unused = set(map(tuple, edges))
    loops = []
    for edge in edges:
        vertex, heading = edge
        loop = []
        while (vertex, heading) in unused:
            unused.remove((vertex, heading))
            loop.append(vertex)
            vertex += jump[heading]
            given = direction[vertex]
            heading = given if given >= 0 else (heading + 1) % 4  # stay with the same voxel
        if loop:
            loops.append(loop)
    return loops


def _signed_area(loop: Sequence[int], width: int) -> float:
    y, x = np.divmod(np.array(loop), width)
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def _join(hole: list[int], islands: list[list[int]], owner: dict[int, int], width: int) -> None:
    """Join a hole to the loop on its left, which is that of its island or a hole joined before.

    The channel begins at the upper one of the hole's leftmost corners. Between it and the first
    corner on its way that belongs to a loop there are only voxels of the mask on both sides, so
    that corner belongs to no other loop, and no other channel ends there.
    """
    begin = hole.index(min(hole, key=lambda vertex: (vertex % width, vertex)))
    end = hole[begin] - 1
    while end not in owner:
        end -= 1
    number = owner[end]
    loop = islands[number]
    at = loop.index(end)
    islands[number] = loop[: at + 1] + hole[begin:] + hole[: begin + 1] + loop[at:]
    owner.update(dict.fromkeys(hole, number))


def _corners(loop: Sequence[int], width: int) -> Points:
    """Return the points at which a loop turns."""
    y, x = np.divmod(np.array(loop), width)
    points = np.stack([x, y], axis=1)
    arriving = np.sign(points - np.roll(points, 1, axis=0))
    leaving = np.roll(arriving, -1, axis=0)
    corners: Points = points[(arriving != leaving).any(axis=1)] - 0.5
    return corners


def filled(polygons: Sequence[npt.NDArray[Any]], shape: tuple[int, int]) -> Mask:
    """Return the voxels whose centre is inside polygons, by the even-odd rule over all of them.

    So a polygon in another one is a hole, and channels of keyholes cancel out. A centre exactly on
    a line counts where the inside is at its right or, on a horizontal line, below.

    Args:
        polygons: Arrays of shape (points, 2): column and row, in voxels from the centre of the
            first voxel. The last point is joined to the first one.
        shape: Rows and columns.
    """
    rows, columns = shape
    rounded = [np.round(polygon, _DIGITS) for polygon in polygons]
    begin = np.concatenate([*rounded, np.empty((0, 2))])
    end = np.concatenate([*(np.roll(points, -1, axis=0) for points in rounded), np.empty((0, 2))])
    down = (begin[:, 1] <= end[:, 1])[:, None]  # both directions of a channel: the same numbers
    begin, end = np.where(down, begin, end), np.where(down, end, begin)
    first, last = (np.clip(np.ceil(y), 0, rows).astype(int) for y in (begin[:, 1], end[:, 1]))
    edge = np.repeat(np.arange(len(begin)), last - first)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - last, last - first)
    x0, y0 = begin[edge].T
    x1, y1 = end[edge].T
    crossing = np.round(x0 + (row - y0) * (x1 - x0) / (y1 - y0), _DIGITS)
    column = np.clip(np.ceil(crossing), 0, columns).astype(int)
    places = row * (columns + 1) + column
    crossings = np.bincount(places, minlength=rows * (columns + 1))
    crossings = crossings.reshape(rows, columns + 1)
    inside: Mask = (np.cumsum(crossings, axis=1) % 2 == 1)[:, :columns]
    return inside
