"""Find the cases to predict, and check that they fit the model before any work starts."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umamba.datasets.checks import Case, CaseFacts, errors_of, inspect_case
from umamba.datasets.description import channel_names
from umamba.errors import DatasetError, UMambaError
from umamba.images.checked_files import Reading
from umamba.images.file_names import (
    ENDINGS,
    GEOMETRY_ENDINGS,
    is_image,
    link_or_copy,
    split_ending,
    visible_files,
    why_no_name,
)
from umamba.images.files import read_image, write_image
from umamba.images.formats import READERS
from umamba.system.numerals import whole_number
from umamba.system.path_names import listed, shown

if TYPE_CHECKING:
    from umamba.dicom.series import Series

__all__ = ["FoundInputs", "check_case", "check_targets", "find_inputs", "input_files"]

# One file of these may hold several channels.
_COLOUR_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".jpg")


@dataclass(frozen=True)
class FoundInputs:
    """The contents of a folder of images; every file is in one of the attributes.

    Attributes:
        cases: In alphabetical order.
        failed: Reasons why images or whole cases cannot be predicted, by name.
        others: Names of files that are not images.
        notes: Remarks on what was left out, and on names.
        opened: Gives a case whose files can be read while the context lasts.
        series: The series of each channel, by case, where they come from DICOM.
    """

    cases: tuple[Case, ...]
    failed: Mapping[str, str]
    others: tuple[str, ...]
    notes: tuple[str, ...] = ()
    opened: Callable[[Case], AbstractContextManager[Case]] = nullcontext
    series: Mapping[str, tuple["Series", ...]] = field(default_factory=dict)


def find_inputs(
    images: Path, dataset_json: Mapping[str, Any], reader: str | None = None
) -> FoundInputs:
    """Group the files of a folder into cases.

    Args:
        images: Folder of images, named `case_0000.nii.gz`, ...; where one file holds all
            channels, the number may be missing.
        dataset_json: The `dataset.json` of the model.
        reader: nnU-Net's reader that the model was trained with, if that is known.

    Raises:
        DatasetError: If there is no image.
    """
    ending = dataset_json["file_ending"]
    if not images.is_dir():
        msg = f"input folder {images} does not exist"
        raise DatasetError(msg)
    readable = {ending.lower(), *READERS.get(reader or "", ())}
    files, failed, others = [], {}, []
    for path in visible_files(images):
        if _ending(path) not in readable:
            reason = f"the model reads {', '.join(sorted(readable))}: convert it, or remove it"
        else:
            reason = "it is a folder, not a file" if path.is_dir() else why_no_name(path.name)
        if not reason:
            files.append(path)
        elif is_image(path):
            failed[shown(path.name)] = reason
        elif not (path.suffix == ".json" and ending in (".tif", ".tiff")):  # a stack's voxel size
            others.append(shown(path.name) + ("/" if path.is_dir() else ""))
    if not files and not failed:
        found = f" (but {listed(others)})" if others else ""
        msg = f"{images} has no files that end in {ending}, which this model reads{found}"
        raise DatasetError(msg)
    channels = channel_names(dataset_json)
    strays = _stray_channels(files, channels[0]) if len(channels) == 1 else {}
    files = [path for path in files if shown(path.name) not in strays]
    cases, rivals = _group(files, ending, several=len(channels) > 1)
    return FoundInputs(tuple(cases), {**failed, **strays, **rivals}, tuple(others))


def _ending(path: Path) -> str:
    return split_ending(path)[1] or path.suffix.lower()


def _stray_channels(files: Sequence[Path], channel: str) -> dict[str, str]:
    """Return files that look like a further channel, though the model reads only one.

    `patient_0001` beside `patient_0002`, or alone, has a name with a number. `case_0001` beside
    `other_0000`, `STS_025_0001`, and `a_0001` beside `b_0001` have that of a channel.
    """
    numbers: dict[str, dict[int, Path]] = {}
    for path in files:
        name, number = _split_number(split_ending(path)[0])
        if number is not None:
            numbers.setdefault(name, {})[number] = path
    has_first = any(0 in there for there in numbers.values())
    all_alike = len(numbers) > 1 and len({tuple(there) for there in numbers.values()}) == 1
    strays = {}
    for name, there in numbers.items():
        number, path = next(iter(there.items()))
        alone = len(there) == 1 and number > 0
        if alone and (has_first or all_alike or name[-1].isdigit()):
            wanted = f"{shown(name)}_0000{path.name[len(name) + 5 :]}"
            strays[shown(path.name)] = (
                f"by its name it is channel {number} of {shown(name)}, but the model reads one "
                f"channel, {channel}, as _0000; if it is that channel, name it {wanted}"
            )
    return strays


def _group(
    files: Sequence[Path], ending: str, *, several: bool
) -> tuple[list[Case], dict[str, str]]:
    """Sort files by case and channel, and note the cases where that fails."""
    parts = sorted((split_ending(path)[0], path) for path in files)
    first = {name for name, number in (_split_number(stem) for stem, _ in parts) if number == 0}
    table: dict[str, dict[int, list[Path]]] = {}
    for stem, path in parts:
        name, number = _split_number(stem)
        # `patient_0001` alone is a name, not the second channel of `patient`
        counted = number is not None and (several or name in first)
        channels = table.setdefault(name if counted else stem, {})
        channels.setdefault(number if counted and number else 0, []).append(path)
    cases, failed = [], {}
    for case_id, channels in table.items():
        rivals = next((paths for paths in channels.values() if len(paths) > 1), None)
        if reason := why_no_name(f"{case_id}{ending}"):
            failed[shown(case_id)] = reason
        elif rivals:
            names = listed(path.name for path in rivals)
            failed[case_id] = f"{names} claim to be the same image: keep one"
        else:
            paths = tuple(channels[number][0] for number in sorted(channels))
            cases.append(Case(case_id, paths, None))
    return cases, failed


def _split_number(stem: str) -> tuple[str, int | None]:
    """Split `case_0001` into `case` and 1."""
    number = whole_number(stem[-4:])
    if len(stem) > 5 and stem[-5] == "_" and number is not None:
        return stem[:-5], number
    return stem, None


def check_case(
    case: Case, dataset_json: Mapping[str, Any], reader: str | None = None
) -> tuple[CaseFacts, list[str]]:
    """Read a case, and list the reasons why it cannot be predicted, if any.

    Args:
        case: The files.
        dataset_json: The `dataset.json` of the model.
        reader: The `image_reader_writer` of its plans.

    Returns:
        The facts, and one line per problem.
    """
    channels = channel_names(dataset_json)
    facts, found = inspect_case(case, channels, reading=Reading(reader))
    problems = [
        f"{'' if p.file is None else p.file.name + ': '}{p.problem}; {p.fix}"
        for p in errors_of(found)
    ]
    ending = dataset_json["file_ending"]
    numbers = [_split_number(split_ending(path)[0])[1] for path in case.images]
    if len(numbers) > 1 and numbers != list(range(len(numbers))):
        wanted = ", ".join(f"{case.case_id}_{i:04d}{ending}" for i in range(len(channels)))
        problems.append(f"the channels must be named {wanted}")
    if not problems:
        problems += _check_content(facts, channels, ending)
    return facts, problems


def _check_content(facts: CaseFacts, channels: Sequence[str], ending: str) -> list[str]:
    """Return the problems of files that can be read."""
    if facts.n_channels != len(channels):
        wanted = ", ".join(f"{facts.case.case_id}_{i:04d}{ending}" for i in range(len(channels)))
        return [
            f"it has {facts.n_channels} channel(s), but the model was trained with "
            f"{len(channels)}: {', '.join(channels)}; give {wanted}"
        ]
    if ending in GEOMETRY_ENDINGS and any(file.departure for file in facts.images):
        return ["one file holds several channels, which nnU-Net reads from one file each"]
    if all(file.constant is not None for file in facts.images):
        return [
            f"the image is empty: all voxels are {facts.images[0].constant:g}; export it again, "
            "or leave it out"
        ]
    return []


def check_targets(cases: Sequence[Case], output: Path, ending: str) -> None:
    """Check that no segmentation would overwrite an image that the input folder links to.

    Args:
        cases: The cases to segment.
        output: The folder for their segmentations.
        ending: How the names of these end.

    Raises:
        UMambaError: If one would.
    """
    targets = {output.resolve() / f"{case.case_id}{ending}" for case in cases}
    for path in (path for case in cases for path in case.images):
        if path.resolve() in targets:
            msg = (
                f"{path} is a link to {path.resolve()}, which would be overwritten; give another -o"
            )
            raise UMambaError(msg)


def input_files(facts: CaseFacts, folder: Path, ending: str) -> list[Path]:
    """Return files that nnU-Net reads as the checks did, under names that it understands.

    Args:
        facts: A case that fits.
        folder: The folder for a converted file, or for a link with nnU-Net's kind of name.
        ending: The model's file ending.

    Returns:
        One path per file, in the order of the channels.
    """
    case_id = facts.case.case_id
    files = []
    for i, file in enumerate(facts.images):
        path = file.path
        if file.departure and ending in _COLOUR_ENDINGS:  # an alpha channel that says nothing
            array = read_image(path).array
            named = folder / f"image_{i:04d}{ending if ending in ENDINGS else '.tif'}"
            write_image(named, array[0] if len(array) == 1 else array.transpose(1, 2, 0))
            path = named
        elif path.name != f"{case_id}_{i:04d}{_ending(path)}":
            named = folder / f"image_{i:04d}{_ending(path)}"
            link_or_copy(path, named)
            spacing = path.with_name(f"{case_id}.json")  # of a TIFF stack
            if spacing.is_file():
                link_or_copy(spacing, folder / "image.json")
            path = named
        files.append(path)
    return files
