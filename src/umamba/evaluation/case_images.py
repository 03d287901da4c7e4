"""Images, reference and predictions of one case, turned so that they can be looked at."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from math import degrees, prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.datasets.checks import Case
from umamba.evaluation.mask_files import LoadedPair, read_all, read_any
from umamba.images.contents import Geometry, UnreadableFileError
from umamba.images.file_names import split_ending, visible_files
from umamba.system.path_names import path_below

__all__ = ["AXIS_LETTERS", "CaseVolumes", "find_images", "read_volumes"]

Array = npt.NDArray[Any]

# Where the axes z, y, x of an oriented case begin and end: inferior, superior, anterior, ...
AXIS_LETTERS = (("I", "S"), ("A", "P"), ("R", "L"))
_STORED = 2  # bytes of a value once it is encoded
_SKEWED = "The axes of the masks are not at right angles, but are drawn as if they were."
_CHANNEL = re.compile(r"(.+)_(\d{4})", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class CaseVolumes:
    """A case on one grid, (z, y, x) or (y, x), with values as stored.

    Attributes:
        channels: The channels of the image; colours are one, with three numbers on the last axis.
        reference: Its mask.
        predictions: Masks by name; those without a file are missing.
        spacing: Distance between voxels along each axis.
        oriented: Whether the axes are a patient's: upwards, backwards, and to the left.
        tilt: Largest angle between such an axis and the file's, in degrees.
        steps: Along each axis, one in so many voxels is kept.
        problem: Why there are no channels; "" if there are.
        notes: Remarks on how the files fit together.
    """

    channels: tuple[Array, ...]
    reference: Array
    predictions: Mapping[str, Array]
    spacing: tuple[float, ...]
    oriented: bool = False
    tilt: float = 0.0
    steps: tuple[int, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Image:
    """The image of a case, as it is stored; as in `CaseVolumes`."""

    channels: tuple[Array, ...] = ()
    geometry: Geometry | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()


def find_images(folder: Path, cases: Collection[str]) -> dict[str, tuple[Path, ...]]:
    """Find the images of cases: named like the case or, by channel, `CASE_0000`, `CASE_0001`, ...

    Args:
        folder: Their folder; subfolders are searched as well, and are a part of a case's name.
        cases: Names of the cases.

    Returns:
        The files of each case that has any, in the order of channels.
    """
    whole: dict[str, Path] = {}
    channels: dict[str, dict[int, Path]] = {}
    for path in visible_files(folder, deep=True):
        stem, ending = split_ending(path)
        name = path_below(folder, path.with_name(stem))
        if not ending:
            continue
        if name in cases:
            whole.setdefault(name, path)
        elif (parts := _CHANNEL.fullmatch(name)) and parts[1] in cases:
            channels.setdefault(parts[1], {}).setdefault(int(parts[2]), path)
    numbered = {case: tuple(its[n] for n in sorted(its)) for case, its in channels.items()}
    return numbered | {case: (path,) for case, path in whole.items()}


def read_volumes(
    case: Case,
    predictions: Mapping[str, Path],
    most_bytes: int | None = None,
    spacing: tuple[float, ...] | None = None,
) -> CaseVolumes:
    """Read image, reference and predictions, one file after another.

    Args:
        case: The files; images may be missing.
        predictions: Files by name; missing files are left out.
        most_bytes: Size of the channels at two bytes per value, above which voxels are left out;
            `None` keeps all.
        spacing: Distance between voxels along each axis, for references whose format has none; by
            default 1.

    Raises:
        UnreadableFileError: If a mask cannot be read, or grids of masks differ.
    """
    if case.mask is None:
        problem = "the case has no reference"
        raise UnreadableFileError(problem, "add one")
    there = {name: path for name, path in predictions.items() if path.is_file()}
    masks = read_all(case.mask, there, spacing)
    _, first = next(masks)
    reference, image = first.reference, _read_channels(case, first)
    geometry = first.geometry or image.geometry
    grid = _Grid(geometry if reference.ndim == 3 else None, reference.shape, first.spacing)
    n_bytes = _STORED * max(sum(c.size for c in image.channels) // max(reference.size, 1), 1)
    steps = grid.steps(n_bytes, most_bytes)
    turn = grid.turning(steps)
    return CaseVolumes(
        channels=tuple(map(turn, image.channels)),
        reference=turn(reference),
        predictions={name: turn(pair.prediction) for name, pair in masks if name is not None},
        spacing=tuple(mm * n for mm, n in zip(grid.spacing, steps, strict=True)),
        oriented=grid.geometry is not None,
        tilt=grid.tilt,
        steps=steps,
        problem=image.problem,
        notes=(*image.notes, *([_SKEWED] if "skewed axes" in first.notes else [])),
    )


def _read_channels(case: Case, masks: LoadedPair) -> _Image:
    """Read the channels and their geometry; if that fails, say why."""
    if not case.images:
        return _Image(problem="there is no image")
    channels: list[Array] = []
    geometry, notes = None, dict[str, None]()
    try:
        for path in case.images:
            found, its = _read_file(path, masks.reference.shape, alone=len(case.images) == 1)
            channels.extend(found)
            geometry = geometry or its
            if its is not None and masks.geometry is not None:
                notes |= dict.fromkeys(_misfits(its, masks.geometry))
    except UnreadableFileError as error:
        return _Image(problem=str(error))
    return _Image(tuple(channels), geometry, notes=tuple(notes))


def _read_file(
    path: Path, shape: tuple[int, ...], *, alone: bool
) -> tuple[list[Array], Geometry | None]:
    loaded, _ = read_any(path)
    if loaded.array.shape[1:] != shape:
        problem = f"the image has the shape {loaded.array.shape[1:]}, its reference {shape}"
        raise UnreadableFileError(problem, "replace one of them")
    if len(loaded.array) == 3 and alone and loaded.geometry is None:
        return [np.moveaxis(loaded.array, 0, -1)], None
    return list(loaded.array), loaded.geometry


def _misfits(image: Geometry, reference: Geometry) -> Iterator[str]:
    """Yield what the headers of an image and its reference contradict each other in.

    nnU-Net does not compare them when it trains, so such a case is shown as it was trained on.
    """
    for text in image.differences(reference).values():
        yield (
            f"The image has the {text} in its reference: they are laid over each other voxel by "
            "voxel, and one of them may be mirrored or shifted."
        )


class _Grid:
    """The axes of a file, and how they become a patient's.

    Args:
        geometry: Place in space; `None` leaves the axes as they are.
        shape: Voxels along the file's axes.
        spacing: Their distances.
    """

    def __init__(
        self, geometry: Geometry | None, shape: tuple[int, ...], spacing: tuple[float, ...]
    ) -> None:
        self.geometry = geometry
        self.order = tuple(range(len(shape)))
        self.backwards: tuple[int, ...] = ()
        self.tilt = 0.0
        if geometry is not None:
            # Cosines of the angles between the patient's z, y, x and the array's axes.
            cosines = np.reshape(geometry.direction, (3, 3))[::-1, ::-1]
            self.order = max(
                permutations(range(3)),
                key=lambda order: sum(abs(cosines[to, axis]) for to, axis in enumerate(order)),
            )
            along = [float(cosines[to, axis]) for to, axis in enumerate(self.order)]
            self.backwards = tuple(to for to, cosine in enumerate(along) if cosine < 0)
            self.tilt = degrees(float(np.arccos(min(1.0, *map(abs, along)))))
        self.shape = tuple(shape[axis] for axis in self.order)
        self.spacing = tuple(spacing[axis] for axis in self.order)

    def steps(self, n_bytes: int, most_bytes: int | None) -> tuple[int, ...]:
        """Return along each axis the step that keeps an image small, coarsest where it is finest.

        Args:
            n_bytes: Bytes per voxel.
            most_bytes: Most bytes of the image; `None` for any number.
        """
        steps = [1] * len(self.shape)

        def n_kept() -> int:
            return prod(-(-length // n) for length, n in zip(self.shape, steps, strict=True))

        while most_bytes is not None and n_bytes * n_kept() > most_bytes:
            long = [axis for axis, length in enumerate(self.shape) if length > steps[axis]]
            finest = min(long, key=lambda axis: self.spacing[axis] * steps[axis], default=None)
            if finest is None:
                break
            steps[finest] += 1
        return tuple(steps)

    def turning(self, steps: tuple[int, ...]) -> Callable[[Array], Array]:
        """Return the function that turns an array of this grid and leaves voxels out."""
        kept = tuple(
            slice(min(n // 2, length - 1), None, n)
            for n, length in zip(steps, self.shape, strict=True)
        )

        def turn(array: Array) -> Array:
            colours = range(len(self.order), array.ndim)
            turned: Array = np.flip(array.transpose(*self.order, *colours), self.backwards)
            # A copy, so that the whole array need not stay in memory.
            return np.ascontiguousarray(turned[kept]) if max(steps) > 1 else turned

        return turn
