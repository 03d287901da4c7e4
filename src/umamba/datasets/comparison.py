"""Compare the cases of a data set with each other: channels, orientation, spacing, duplicates."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from umamba.datasets.checks import CaseFacts, Problem, short
from umamba.images.contents import Geometry, numbers
from umamba.images.file_names import GEOMETRY_ENDINGS, split_ending
from umamba.images.nifti import NOT_COMPRESSED_NOTE

__all__ = ["check_across", "check_channel_count", "check_headers", "duplicates", "is_whole"]

_HEADER_FIX = (
    "nnU-Net uses the same: correct what is wrong, as patches, resampling and distances rely on it"
)
# A voxel size in millimetres outside of these bounds is most likely in another unit.
_LARGEST_SPACING = 25.0
_SMALLEST_SPACING = 1e-5
_LARGEST_ANISOTROPY = 30.0
_LARGEST_RATIO_TO_MEDIAN = 4.0
# From this ratio on, cases differ in the unit, not in the protocol.
_RATIO_OF_UNITS = 500.0
# The ends of the axes x, y, z in the space of ITK and DICOM, for a positive and a negative step.
_AXIS_ENDS = (("L", "R"), ("P", "A"), ("S", "I"))


def is_whole(fact: CaseFacts) -> bool:
    """Return whether all images of a case could be read."""
    return len(fact.images) == len(fact.case.images)


def check_across(facts: Sequence[CaseFacts], *, reorients: bool = False) -> list[Problem]:
    """Find the cases that differ from most cases, or are equal to another one.

    Args:
        facts: All cases.
        reorients: Whether the data set's reader brings all images into one orientation.

    Returns:
        Errors where dimensions or channels differ, warnings for the rest.
    """
    headers = check_headers(facts)
    whole = [fact for fact in facts if is_whole(fact)]
    dims = [len(fact.images[0].shape) for fact in whole]
    problems = _check_alike(whole, [f"{n}D" for n in dims], "give 2D or 3D images, not both")
    if problems:
        return [*problems, *headers]
    channels = [_describe_channels(fact) for fact in whole]
    problems = _check_alike(whole, channels, "every case needs the same channels")
    if not reorients:
        problems += _check_orientation(whole)
    problems += _check_spacing(whole)
    return [*problems, *_check_equal_channels(whole), *headers, *_check_duplicates(whole)]


def check_channel_count(facts: Sequence[CaseFacts], n_named: int, where: str) -> list[Problem]:
    """Compare the number of channels that most cases have with the number of names.

    Args:
        facts: All cases.
        n_named: How many channels are named; 0 if none has to be.
        where: The place where channels are named, for the message.

    Returns:
        One problem for all cases, or none.
    """
    counts = Counter(fact.n_channels for fact in facts if is_whole(fact))
    if not n_named or not counts:
        return []
    n_channels = counts.most_common(1)[0][0]
    if n_channels == n_named:
        return []
    text = f"{where} names {n_named}, but the images have {n_channels}"
    return [Problem("", None, text, "name every channel, in the order of the files")]


def duplicates(facts: Sequence[CaseFacts]) -> list[tuple[CaseFacts, ...]]:
    """Return the groups of cases whose images hold the same voxels, constant ones left out."""
    groups: dict[tuple[str, ...], list[CaseFacts]] = defaultdict(list)
    for fact in facts:
        if is_whole(fact) and any(file.constant is None for file in fact.images):
            groups[tuple(file.digest for file in fact.images)].append(fact)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _describe_channels(fact: CaseFacts) -> str:
    if fact.n_channels == 1:
        return "1 channel"
    has_alpha = any(
        split_ending(file.path)[1] not in GEOMETRY_ENDINGS and file.n_channels in (2, 4)
        for file in fact.images
    )
    alpha = " (the last one perhaps an alpha channel, but it is not constant)" if has_alpha else ""
    return f"{fact.n_channels} channels{alpha}"


def _check_alike(
    facts: Sequence[CaseFacts],
    values: Sequence[str],
    fix: str,
    severity: Literal["error", "warning"] = "error",
) -> list[Problem]:
    """Report the cases that differ from most of them."""
    if not facts:
        return []
    usual, n_usual = Counter(values).most_common(1)[0]
    return [
        Problem(
            fact.case.case_id,
            fact.images[0].path,
            f"the image has {value}, but {n_usual} of {len(facts)} cases have {usual}",
            fix,
            severity,
        )
        for fact, value in zip(facts, values, strict=True)
        if value != usual
    ]


def _check_orientation(facts: Sequence[CaseFacts]) -> list[Problem]:
    """Report differing orientations: networks see arrays, which nnU-Net does not usually turn."""
    spatial = [fact for fact in facts if fact.geometry and len(fact.geometry.spacing) == 3]
    codes = [f"the orientation {_axis_codes(f.geometry)}" for f in spatial if f.geometry]
    fix = (
        "save images and masks in one orientation, or set overwrite_image_reader_writer in "
        "dataset.json to NibabelIOWithReorient (NIfTI)"
    )
    return _check_alike(spatial, codes, fix, "warning")


def _axis_codes(geometry: Geometry) -> str:
    """Name the end to which each axis (x, y, z) of the array runs, e.g. LPS."""
    matrix = np.reshape(geometry.direction, (3, 3))
    codes = ""
    for column in matrix.T:
        axis = int(np.argmax(np.abs(column)))
        codes += _AXIS_ENDS[axis][int(column[axis] < 0)]
    return codes


def _check_spacing(facts: Sequence[CaseFacts]) -> list[Problem]:
    spacings = [fact.geometry.spacing if fact.geometry else None for fact in facts]
    known = [spacing for spacing in spacings if spacing]
    if not known:
        return []
    # The sizes in ascending order, because the slices may lie along any of the axes.
    median = np.median([sorted(spacing) for spacing in known], axis=0)
    problems = []
    for fact, spacing in zip(facts, spacings, strict=True):
        found = _judge_spacing(spacing, median if len(known) > 2 else None) if spacing else None
        if found:
            file = fact.images[0].path
            problems.append(Problem(fact.case.case_id, file, *found, severity="warning"))
    return problems


def _judge_spacing(
    spacing: Sequence[float], median: npt.NDArray[np.float64] | None
) -> tuple[str, str] | None:
    """Say what is wrong with a voxel size, and what to do; `None` if nothing is."""
    shown = f"the voxel size {numbers(spacing)}"
    smallest, largest = min(spacing), max(spacing)
    if largest > _LARGEST_SPACING or smallest < _SMALLEST_SPACING:
        unit = "micrometres" if largest > _LARGEST_SPACING else "metres"
        fix = f"write millimetres into the header; it looks like {unit}"
        return f"{shown} can hardly be in millimetres", fix
    if median is not None:
        ratios = np.sort(spacing) / median
        ratio = float(max(ratios.max(), 1 / ratios.min()))
        if ratio > _LARGEST_RATIO_TO_MEDIAN:
            text = f"{shown} is far from the data set's median {numbers(median.tolist())}"
            if ratio > _RATIO_OF_UNITS:
                return text, "the unit seems to differ: write millimetres into the header"
            return text, "correct the header, or remove the case, unless that is its true size"
    if largest / smallest > _LARGEST_ANISOTROPY:
        text = f"{shown} is {largest / smallest:.0f} times as long as wide"
        return text, "correct the header unless that is its true size"
    return None


def check_headers(facts: Sequence[CaseFacts]) -> list[Problem]:
    """Warn of headers that contradict themselves, and of odd files, in one line for each kind."""
    groups: dict[tuple[str, str, str], list[tuple[str, Path, str]]] = defaultdict(list)
    for fact in facts:
        for file in (*fact.images, *([fact.mask] if fact.mask else [])):
            found = {
                (f"the header contradicts itself ({one.about})", _HEADER_FIX, one.kind): one.text
                for one in file.conflicts
            }
            if NOT_COMPRESSED_NOTE in file.notes:
                found[NOT_COMPRESSED_NOTE, "nnU-Net's SimpleITKIO reads it nevertheless", ""] = ""
            for group, text in found.items():
                groups[group].append((fact.case.case_id, file.path, text))
    problems = []
    for (kind, fix, _), files in groups.items():
        case_id, path, text = files[0]
        shown = f"{kind}: {text}" if text else kind
        if len(files) > 1:
            shown, case_id = f"{shown} (the same kind in {len(files)} files)", ""
        problems.append(Problem(case_id, path, shown, fix, "warning"))
    return problems


def _check_equal_channels(facts: Sequence[CaseFacts]) -> list[Problem]:
    """Warn of grey images that were saved as colour."""
    grey = [fact for fact in facts if any(file.has_equal_channels for file in fact.images)]
    if not grey:
        return []
    text = f"all channels of an image hold the same values in {len(grey)} of {len(facts)} cases"
    fix = (
        "greyscale images seem to be saved as colour: one channel would be enough, and need less "
        "memory and time"
    )
    case_id = grey[0].case.case_id if len(grey) == 1 else ""
    return [Problem(case_id, grey[0].images[0].path, text, fix, "warning")]


def _check_duplicates(facts: Sequence[CaseFacts]) -> list[Problem]:
    problems = []
    for first, *others in duplicates(facts):
        for fact in others:
            text = f"it holds the same voxels as {short(first.images[0].path)}"
            fix = f"remove one, or keep {first.case.case_id} and it in the same part of every fold"
            path = fact.images[0].path
            problems.append(Problem(fact.case.case_id, path, text, fix, "warning"))
    for fact in facts:
        problems += _check_repeated_channels(fact)
    return problems


def _check_repeated_channels(fact: CaseFacts) -> list[Problem]:
    seen: dict[str, str] = {}
    problems = []
    for file in fact.images:
        first = seen.setdefault(file.digest, short(file.path))
        if first != short(file.path) and file.constant is None:
            text = f"it holds the same voxels as {first}, another channel"
            fix = "put the right image there"
            problems.append(Problem(fact.case.case_id, file.path, text, fix, "warning"))
    return problems
