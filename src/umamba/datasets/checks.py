"""Check the cases of a data set one by one, before hours of work begin.

Nothing here writes; the same checks serve new data sets and existing ones.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from umamba.errors import DatasetError
from umamba.images.checked_files import Reading
from umamba.images.contents import Geometry, UnreadableFileError, numbers
from umamba.images.facts import FileFacts
from umamba.images.png import COLOUR_PNG_NOTE
from umamba.system.path_names import shown
from umamba.system.terminal import one_line

__all__ = [
    "Case",
    "CaseFacts",
    "DatasetProblemsError",
    "Problem",
    "errors_of",
    "inspect_case",
    "short",
]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one case.

    Attributes:
        case_id: The case; "" where the whole data set is meant.
        file: The file at fault, if there is one.
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
        """Return plain data for JSON."""
        file = shown(self.file or "")
        return {
            "severity": self.severity,
            "case": self.case_id,
            "file": file,
            "problem": self.problem,
            "fix": self.fix,
        }


def short(path: Path) -> str:
    """Return a file's name with its folder, as images and masks mostly have the same names."""
    return shown("/".join(path.parts[-2:]))


class DatasetProblemsError(DatasetError):
    """The error of a data set with cases that cannot be used; the message lists every problem."""

    def __init__(self, problems: Sequence[Problem], consequence: str) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  {one_line(problem)}" for problem in problems)
        noun = "problem" if len(problems) == 1 else "problems"
        super().__init__(f"{len(problems)} {noun}; {consequence}{lines}")


@dataclass(frozen=True)
class Case:
    """The files of one case; `images` are in channel order, and there is no mask in prediction."""

    case_id: str
    images: tuple[Path, ...]
    mask: Path | None


@dataclass(frozen=True)
class CaseFacts:
    """The facts about a case that checks of the whole data set need.

    Attributes:
        images: The files that could be read, in the order of the channels.
        mask: `None` if it could not be read.
    """

    case: Case
    images: tuple[FileFacts, ...]
    mask: FileFacts | None

    @property
    def n_channels(self) -> int:
        """The number of channels of all files together."""
        return sum(file.n_channels for file in self.images)

    @property
    def has_values(self) -> bool:
        """True if it is known which values the mask holds, as it is not after a failed read."""
        return self.mask is not None and self.mask.mask is not None and not self.mask.mask.refusal

    @property
    def values(self) -> frozenset[int]:
        """The mask's values as they stand in the file, rounded; empty if they are not known."""
        return self.mask.mask.values if self.mask and self.mask.mask else frozenset()

    @property
    def geometry(self) -> Geometry | None:
        """The geometry of the first file that has one; all files get it."""
        files = [*self.images, *([self.mask] if self.mask else [])]
        return next((file.geometry for file in files if file.geometry is not None), None)


def errors_of(problems: Iterable[Problem]) -> list[Problem]:
    """Leave the warnings out."""
    return [problem for problem in problems if problem.severity == "error"]


def inspect_case(
    case: Case,
    channel_names: Sequence[str] = (),
    tolerated: Collection[str] = (),
    reading: Reading | None = None,
) -> tuple[CaseFacts, list[Problem]]:
    """Read every file of a case, one at a time, and check them.

    Args:
        case: The files.
        channel_names: For messages; without names the channels are numbered.
        tolerated: Fields of `Geometry` in which files may differ with no more than a warning.
        reading: How nnU-Net will read them.

    Returns:
        The facts about what could be read, and all problems found.
    """
    reading = reading or Reading()
    problems: list[Problem] = []
    images: list[FileFacts] = []
    n_channels = 0
    for path in case.images:
        file, found = _read(case.case_id, path, reading, is_mask=False)
        problems += found
        if file is not None:
            problems += _check_channels(case.case_id, file, n_channels, channel_names)
            images.append(file)
            n_channels += file.n_channels
    mask = None
    if case.mask is not None:
        mask, found = _read(case.case_id, case.mask, reading, is_mask=True)
        problems += found
        if mask is not None:
            problems += _check_mask(case.case_id, mask, reading)
    files = [*images, *([mask] if mask else [])]
    for file in files[1:]:
        problems += _check_same_grid(case.case_id, files[0], file, tolerated)
    return CaseFacts(case, tuple(images), mask), problems


def _read(
    case_id: str, path: Path, reading: Reading, *, is_mask: bool
) -> tuple[FileFacts | None, list[Problem]]:
    try:
        facts = reading.facts(path, is_mask=is_mask)
    except UnreadableFileError as error:
        return None, [Problem(case_id, path, error.problem, error.fix)]
    problems = []
    if reading.as_it_is and facts.departure:
        text, fix = facts.departure, "save each channel in its own file, and labels as greyscale"
        problems.append(Problem(case_id, path, text, fix))
    return facts, problems


def _check_mask(case_id: str, mask: FileFacts, reading: Reading) -> list[Problem]:
    if mask.mask is None:
        return []
    if mask.mask.refusal:
        return [Problem(case_id, mask.path, *mask.mask.refusal)]
    if not reading.as_it_is:
        return []
    problems = []
    if mask.n_channels > 1 and not mask.departure:
        text = f"the mask has {mask.n_channels} channels, and nnU-Net takes masks of one channel"
        problems.append(Problem(case_id, mask.path, text, "save one channel"))
    if mask.mask.n_rounded:
        text = (
            f"{mask.mask.n_rounded} voxels of the mask are not integers, e.g. {mask.mask.example}: "
            "nnU-Net does not round them: it refuses them or drops what follows the point"
        )
        problems.append(Problem(case_id, mask.path, text, "round the labels, and save integers"))
    return problems


def _check_channels(
    case_id: str, file: FileFacts, first_channel: int, names: Sequence[str]
) -> list[Problem]:
    problems = []
    if COLOUR_PNG_NOTE in file.notes:
        fix = "save it as TIFF to keep all 16"
        problems.append(Problem(case_id, file.path, COLOUR_PNG_NOTE, fix, "warning"))
    if file.odd_spacing:
        problems.append(_odd_spacing(case_id, file.path, file.odd_spacing))
    n_voxels = math.prod(file.shape)
    for index, channel in enumerate(file.channels, start=first_channel):
        name = names[index] if index < len(names) else str(index)
        if channel.constant is not None:
            text = f"channel {name} is constant: every voxel is {channel.constant:.6g}"
            fix = "export the image again, or remove the case, unless the image is really constant"
            problems.append(Problem(case_id, file.path, text, fix, "warning"))
        counts = {"NaN": channel.n_nan, "infinite": channel.n_infinite}
        found = " and ".join(f"{n} {kind}" for kind, n in counts.items() if n)
        if found:
            text = f"channel {name} holds {found} voxels (of {n_voxels})"
            fix = "replace them with a number that means no signal, e.g. 0"
            problems.append(Problem(case_id, file.path, text, fix))
    return problems


def _odd_spacing(case_id: str, path: Path, spacing: tuple[float, ...]) -> Problem:
    text = f"the header gives the voxel size {numbers(spacing)}"
    if all(0 < abs(size) < math.inf for size in spacing):
        fix = "it is read without the sign: correct the header"
        return Problem(case_id, path, text, fix, "warning")
    fix = "it is read as 1: write the true size in millimetres into the header"
    return Problem(case_id, path, text, fix)


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
