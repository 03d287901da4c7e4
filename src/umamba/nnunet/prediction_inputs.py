"""Find the cases to predict, and check that they fit the model before any work starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umamba.errors import DatasetError
from umamba.nnunet.dataset_checks import Case, CaseFacts, errors_of, inspect_case
from umamba.nnunet.dataset_images import read_image, write_image

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
        DatasetError: If there is no image, or the channels cannot be told apart.
    """
    ending, channels = dataset_json["file_ending"], list(dataset_json["channel_names"].values())
    if not images.is_dir():
        msg = f"input folder {images} does not exist"
        raise DatasetError(msg)
    files = sorted(p for p in images.iterdir() if p.name.endswith(ending))
    if not files:
        msg = f"{images} has no files that end in {ending}, which this model reads"
        raise DatasetError(msg)
    stems = [file.name.removesuffix(ending) for file in files]
    numbered = all(len(s) > 5 and s[-5] == "_" and s[-4:].isdigit() for s in stems)
    if not numbered and len(channels) > 1 and ending not in _COLOUR_ENDINGS:
        msg = (
            f"the images in {images} have no channel numbers; this model reads the channels "
            f"{', '.join(channels)} as case_0000{ending}, case_0001{ending}, ..."
        )
        raise DatasetError(msg)
    cases: dict[str, list[Path]] = {}
    for stem, file in zip(stems, files, strict=True):
        cases.setdefault(stem[:-5] if numbered else stem, []).append(file)
    return [Case(case_id, tuple(paths), None) for case_id, paths in cases.items()]


def check_case(case: Case, dataset_json: Mapping[str, Any]) -> tuple[CaseFacts, list[str]]:
    """Read a case, and say why it cannot be predicted, if so.

    Args:
        case: The files.
        dataset_json: The `dataset.json` of the model.

    Returns:
        The facts, and one line per problem.
    """
    channels = list(dataset_json["channel_names"].values())
    facts, found = inspect_case(case, channels)
    problems = [
        f"{'' if p.file is None else p.file.name + ': '}{p.problem}; {p.fix}"
        for p in errors_of(found)
    ]
    if not problems and facts.n_channels != len(channels):
        problems.append(
            f"it has {facts.n_channels} channel(s), but the model was trained with "
            f"{len(channels)}: {', '.join(channels)}"
        )
    return facts, problems


def input_files(facts: CaseFacts, folder: Path, ending: str) -> list[Path]:
    """Return files that nnU-Net reads as the checks did, converting where it would not.

    Args:
        facts: A case that fits.
        folder: Where a converted file goes.
        ending: The model's file ending.

    Returns:
        One path per file, in the order of the channels.
    """
    files = []
    for i, file in enumerate(facts.images):
        path = file.path
        if not file.faithful and ending in _COLOUR_ENDINGS:  # an alpha channel that says nothing
            path = folder / f"{facts.case.case_id}_{i:04d}{ending}"
            array = read_image(file.path).array
            write_image(path, array[0] if len(array) == 1 else array.transpose(1, 2, 0))
        files.append(path)
    return files
