"""Check the cases of a data set one by one, before hours of work.

Nothing here writes; the same checks serve new data sets and existing ones.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from umamba.errors import DatasetError
from umamba.nnunet.dataset_images import (
    COLOUR_PNG_NOTE,
    Geometry,
    LoadedImage,
    UnreadableFileError,
    numbers,
    read_image,
)
from umamba.nnunet.file_names import shown

__all__ = [
    "Case",
    "CaseFacts",
    "DatasetProblemsError",
    "FileFacts",
    "Problem",
    "errors_of",
    "inspect_case",
    "integer_layer",
    "mask_layer",
    "short",
    "values_in",
]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one case.

    Attributes:
        case_id: The case; "" where the whole data set is meant.
        file: The file at fault, if it is one.
        problem: What is wrong.
        fix: What would fit, or what to do.
        severity: Errors stop the work, warnings do not.
    """

    case_id: str
    file: Path | None
    problem: str
    fix: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        places = [
            f"case {self.case_id}" if self.case_id else "",
            short(self.file) if self.file else "",
        ]
        where = ": ".join(filter(None, places)) or "all cases"
        return f"{where}: {self.problem}; {self.fix}"

    def to_dict(self) -> dict[str, str]:
        """Return what JSON can hold."""
        file = shown(self.file or "")
        return {
            "severity": self.severity,
            "case": self.case_id,
            "file": file,
            "problem": self.problem,
            "fix": self.fix,
        }


def short(path: Path) -> str:
    """Name a file with its folder: images and masks mostly have the same names."""
    return shown("/".join(path.parts[-2:]))


class DatasetProblemsError(DatasetError):
    """Some cases cannot be used; the message lists every problem."""

    def __init__(self, problems: Sequence[Problem], consequence: str) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in problems)
        noun = "problem" if len(problems) == 1 else "problems"
        super().__init__(f"{len(problems)} {noun}; {consequence}{lines}")


@dataclass(frozen=True)
class Case:
    """The files of one case; `images` in the order of the channels; no mask in prediction."""

    case_id: str
    images: tuple[Path, ...]
    mask: Path | None


@dataclass(frozen=True)
class FileFacts:
    """What is worth remembering of a file once its voxels are dropped.

    Attributes:
        constant: The value of all voxels, where they have the same.
        digest: Equal for files in which nnU-Net finds the same voxels.
    """

    path: Path
    shape: tuple[int, ...]
    n_channels: int
    dtype: str
    geometry: Geometry | None
    faithful: bool
    notes: tuple[str, ...]
    constant: float | None
    digest: str

    @classmethod
    def of(cls, loaded: LoadedImage) -> "FileFacts":
        """Take the facts from a loaded file."""
        return cls(
            path=loaded.path,
            shape=loaded.array.shape[1:],
            n_channels=len(loaded.array),
            dtype=str(loaded.array.dtype),
            geometry=loaded.geometry,
            faithful=loaded.faithful,
            notes=loaded.notes,
            constant=_constant(loaded.array),
            digest=_digest(loaded.array),
        )


def _constant(array: Array) -> float | None:
    first = array.flat[0]
    return float(first) if all((part == first).all() for part in array) else None


def _digest(array: Array) -> str:
    """Hash shape and voxels as float32, which nnU-Net makes of them, a slice at a time."""
    content = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    for channel in array:
        for part in channel:
            content.update(np.ascontiguousarray(part, dtype=np.float32).data)
    return content.hexdigest()


@dataclass(frozen=True)
class CaseFacts:
    """What is worth remembering of a case.

    Attributes:
        images: The files that could be read, in the order of the channels.
        mask: `None` if it could not be read.
        values: The mask's values as they stand in the file.
    """

    case: Case
    images: tuple[FileFacts, ...]
    mask: FileFacts | None
    values: frozenset[int]

    @property
    def n_channels(self) -> int:
        """Channels of all files together."""
        return sum(file.n_channels for file in self.images)

    @property
    def geometry(self) -> Geometry | None:
        """The geometry of the first file that has one: the one which all files get."""
        files = [*self.images, *([self.mask] if self.mask else [])]
        return next((file.geometry for file in files if file.geometry is not None), None)


def errors_of(problems: Iterable[Problem]) -> list[Problem]:
    """Leave the warnings out."""
    return [problem for problem in problems if problem.severity == "error"]


def inspect_case(
    case: Case, channel_names: Sequence[str] = (), tolerated: Collection[str] = ()
) -> tuple[CaseFacts, list[Problem]]:
    """Read every file of a case, one at a time, and check them.

    Args:
        case: Which files.
        channel_names: For messages; without names the channels are numbered.
        tolerated: What of `Geometry` may differ between the files with no more than a warning.

    Returns:
        The facts about what could be read, and all problems found.
    """
    problems: list[Problem] = []
    images: list[FileFacts] = []
    n_channels = 0
    for path in case.images:
        try:
            loaded = read_image(path)
        except UnreadableFileError as error:
            problems.append(Problem(case.case_id, path, error.problem, error.fix))
            continue
        problems += _check_voxels(case.case_id, loaded, n_channels, channel_names)
        images.append(FileFacts.of(loaded))
        n_channels += len(loaded.array)
    mask, values = None, frozenset[int]()
    if case.mask is not None:
        mask, values, mask_problems = _inspect_mask(case.case_id, case.mask)
        problems += mask_problems
    files = [*images, *([mask] if mask else [])]
    for file in files[1:]:
        problems += _check_same_grid(case.case_id, files[0], file, tolerated)
    return CaseFacts(case, tuple(images), mask, values), problems


def mask_layer(loaded: LoadedImage) -> Array | None:
    """Return the mask without its channel axis; `None` if it holds different channels."""
    first: Array = loaded.array[0]
    return first if all(np.array_equal(first, layer) for layer in loaded.array[1:]) else None


def integer_layer(loaded: LoadedImage) -> Array:
    """Return the mask without its channel axis.

    Raises:
        UnreadableFileError: If it holds different channels, or anything but whole numbers.
    """
    layer = mask_layer(loaded)
    if layer is None:
        problem = f"the mask has {len(loaded.array)} channels that differ"
        raise UnreadableFileError(problem, "save one channel with one integer per label")
    if layer.dtype.kind == "f":
        odd = layer[layer != np.round(layer)]  # NaN is not equal to itself; infinity is
        odd = odd if odd.size else layer[np.isinf(layer)]
        if odd.size:
            problem = f"the mask holds {odd.size} non-integer values, e.g. {odd.flat[0]:.6g}"
            raise UnreadableFileError(problem, "save labels, not probabilities")
    return layer


def values_in(layer: Array) -> frozenset[int]:
    """Return the values that a mask holds."""
    return frozenset(int(v) for part in layer for v in np.unique(part))


def _check_voxels(
    case_id: str, loaded: LoadedImage, first_channel: int, names: Sequence[str]
) -> list[Problem]:
    problems = []
    if COLOUR_PNG_NOTE in loaded.notes:
        fix = "save it as TIFF to keep all 16"
        problems.append(Problem(case_id, loaded.path, COLOUR_PNG_NOTE, fix, "warning"))
    if loaded.odd_spacing:
        problems.append(_odd_spacing(case_id, loaded.path, loaded.odd_spacing))
    for index, channel in enumerate(loaded.array, start=first_channel):
        name = names[index] if index < len(names) else str(index)
        constant = _constant(channel)
        if constant is not None:
            text = f"channel {name} is constant: every voxel is {constant:.6g}"
            fix = "export the image again, or take the case away, unless that is true"
            problems.append(Problem(case_id, loaded.path, text, fix, "warning"))
        if channel.dtype.kind != "f":
            continue
        counts = {"NaN": int(np.isnan(channel).sum()), "infinite": int(np.isinf(channel).sum())}
        found = " and ".join(f"{n} {kind}" for kind, n in counts.items() if n)
        if found:
            text = f"channel {name} holds {found} voxels (of {channel.size})"
            fix = "replace them by a number that means no signal, e.g. 0"
            problems.append(Problem(case_id, loaded.path, text, fix))
    return problems


def _odd_spacing(case_id: str, path: Path, spacing: tuple[float, ...]) -> Problem:
    text = f"the header gives the voxel size {numbers(spacing)}"
    if all(abs(size) > 0 for size in spacing):
        return Problem(case_id, path, text, "it is read without the sign: correct it", "warning")
    return Problem(case_id, path, text, "it is read as 1: write the true size in millimetres")


def _inspect_mask(
    case_id: str, path: Path
) -> tuple[FileFacts | None, frozenset[int], list[Problem]]:
    facts = None
    try:
        loaded = read_image(path, is_mask=True)
        facts = FileFacts.of(loaded)
        return facts, values_in(integer_layer(loaded)), []
    except UnreadableFileError as error:
        return facts, frozenset(), [Problem(case_id, path, error.problem, error.fix)]


def _check_same_grid(
    case_id: str, reference: FileFacts, file: FileFacts, tolerated: Collection[str]
) -> list[Problem]:
    if reference.shape != file.shape:
        text = f"shape {file.shape} but {short(reference.path)} has {reference.shape}"
        fix = "image and mask need the same grid: export the mask on the image's grid"
        if file.shape == reference.shape[::-1]:
            fix = "the axes look swapped: transpose one of them"
        return [Problem(case_id, file.path, text, fix)]
    if reference.geometry is None or file.geometry is None:
        return []
    return [
        Problem(
            case_id,
            file.path,
            f"{text} in {short(reference.path)}",
            "resample one onto the other, or correct the header that is wrong",
            "warning" if name in tolerated else "error",
        )
        for name, text in file.geometry.differences(reference.geometry).items()
    ]
