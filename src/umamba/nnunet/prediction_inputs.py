"""Find the cases to predict, and check that they fit the model before any work starts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from umamba.errors import DatasetError
from umamba.nnunet.dataset_checks import Case, CaseFacts, errors_of, inspect_case
from umamba.nnunet.dataset_images import read_image, write_image
from umamba.nnunet.file_names import GEOMETRY_ENDINGS

__all__ = ["check_case", "find_cases", "input_files"]

# One file of these may hold several channels.
_COLOUR_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".jpg")


def find_cases(images: Path, dataset_json: Mapping[str, Any]) -> list[Case]:
    """Group the files of a folder into cases.

    Args:
        images: Folder of images, named `case_0000.nii.gz`, ...; where one file holds all
            channels, the number may be missing.
        dataset_json: The `dataset.json` of the model.

    Returns:
        The cases, sorted by name.

    Raises:
        DatasetError: If there is no image that the model reads.
    """
    ending = dataset_json["file_ending"]
    if not images.is_dir():
        msg = f"input folder {images} does not exist"
        raise DatasetError(msg)
    stems = sorted(p.name.removesuffix(ending) for p in images.iterdir() if p.name.endswith(ending))
    if not stems:
        msg = f"{images} has no files that end in {ending}, which this model reads"
        raise DatasetError(msg)
    numbered: dict[str, set[int]] = {}
    for stem in stems:
        name, number = _split_number(stem)
        if number is not None:
            numbered.setdefault(name, set()).add(number)
    several = len(channel_names(dataset_json)) > 1
    cases: dict[str, list[Path]] = {}
    for stem in stems:
        name, number = _split_number(stem)
        # `patient_0001` alone is a name, not the second channel of `patient`
        counted = number is not None and (several or 0 in numbered[name])
        cases.setdefault(name if counted else stem, []).append(images / f"{stem}{ending}")
    return [Case(case_id, tuple(paths), None) for case_id, paths in cases.items()]


def channel_names(dataset_json: Mapping[str, Any]) -> list[str]:
    """Return the names of the channels; nnU-Net v1 calls them modalities."""
    return list((dataset_json.get("channel_names") or dataset_json["modality"]).values())


def _split_number(stem: str) -> tuple[str, int | None]:
    """Split `case_0001` into `case` and 1."""
    if len(stem) > 5 and stem[-5] == "_" and stem[-4:].isdigit():
        return stem[:-5], int(stem[-4:])
    return stem, None


def check_case(case: Case, dataset_json: Mapping[str, Any]) -> tuple[CaseFacts, list[str]]:
    """Read a case, and say why it cannot be predicted, if so.

    Args:
        case: The files.
        dataset_json: The `dataset.json` of the model.

    Returns:
        The facts, and one line per problem.
    """
    channels = channel_names(dataset_json)
    facts, found = inspect_case(case, channels)
    problems = [
        f"{'' if p.file is None else p.file.name + ': '}{p.problem}; {p.fix}"
        for p in errors_of(found)
    ]
    ending = dataset_json["file_ending"]
    numbers = [_split_number(path.name.removesuffix(ending))[1] for path in case.images]
    if len(numbers) > 1 and numbers != list(range(len(numbers))):
        wanted = ", ".join(f"{case.case_id}_{i:04d}{ending}" for i in range(len(channels)))
        problems.append(f"the channels are to be named {wanted}")
    if not problems:
        problems += _check_content(facts, channels, ending)
    return facts, problems


def _check_content(facts: CaseFacts, channels: Sequence[str], ending: str) -> list[str]:
    """Say what is wrong with files that can be read."""
    if facts.n_channels != len(channels):
        wanted = ", ".join(f"{facts.case.case_id}_{i:04d}{ending}" for i in range(len(channels)))
        return [
            f"it has {facts.n_channels} channel(s), but the model was trained with "
            f"{len(channels)}: {', '.join(channels)}; give {wanted}"
        ]
    if ending in GEOMETRY_ENDINGS and not all(file.faithful for file in facts.images):
        return ["one file holds several channels, which nnU-Net reads from one file each"]
    if all(file.constant is not None for file in facts.images):
        return [
            f"the image is empty: all voxels are {facts.images[0].constant:g}; export it again, "
            "or leave it out"
        ]
    return []


def input_files(facts: CaseFacts, folder: Path, ending: str) -> list[Path]:
    """Return files that nnU-Net reads as the checks did, and under names that it understands.

    Args:
        facts: A case that fits.
        folder: Where a converted file, or a link with nnU-Net's kind of name, goes.
        ending: The model's file ending.

    Returns:
        One path per file, in the order of the channels.
    """
    case_id = facts.case.case_id
    files = []
    for i, file in enumerate(facts.images):
        path = file.path
        named = folder / f"{case_id}_{i:04d}{ending}"
        if not file.faithful and ending in _COLOUR_ENDINGS:  # an alpha channel that says nothing
            array = read_image(path).array
            write_image(named, array[0] if len(array) == 1 else array.transpose(1, 2, 0))
            path = named
        elif path.name != named.name:
            named.symlink_to(path.resolve())
            spacing = path.with_name(f"{case_id}.json")  # of a TIFF stack
            if spacing.is_file():
                (folder / spacing.name).symlink_to(spacing.resolve())
            path = named
        files.append(path)
    return files
