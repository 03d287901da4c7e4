"""Images from DICOM: the series of a folder as cases, read one by one when their turn comes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from umamba.datasets.checks import Case
from umamba.datasets.description import channel_names
from umamba.datasets.inputs import FoundInputs, find_inputs
from umamba.dicom.studies import FoundStudies, StudyOptions, find_studies, write_case
from umamba.errors import DatasetError
from umamba.images.dicom_files import counts_as_dicom
from umamba.images.file_names import GEOMETRY_ENDINGS
from umamba.system.path_names import shown
from umamba.system.publishing import full_temporary_folder_explained, scratch_folder

__all__ = ["find_images_or_studies"]


def find_images_or_studies(
    images: Path,
    output: Path,
    dataset_json: Mapping[str, Any],
    reader: str | None,
    options: StudyOptions,
) -> FoundInputs:
    """Group a folder of images, or of DICOM in any nesting, into cases.

    Args:
        images: The folder; it counts as DICOM if it holds DICOM and no image of another format,
            which pictures are only for a model that reads pictures. Or a file of DICOM.
        output: The folder for the segmentations.
        dataset_json: The `dataset.json` of the model.
        reader: nnU-Net's reader that the model was trained with, if that is known.
        options: The options of reading DICOM.

    Returns:
        The cases; opening one from DICOM raises a `SeriesError` if it cannot be read.

    Raises:
        DatasetError: If there is no image.
        UMambaError: If DICOM cannot be read here.
    """
    pictures = dataset_json["file_ending"] not in GEOMETRY_ENDINGS
    if not counts_as_dicom(images, pictures=pictures, deep=False):
        if replace(options, key=None) != StudyOptions():
            msg = f"--series, --resample-... and --suv are for DICOM; {images} holds none"
            raise DatasetError(msg)
        return find_inputs(images, dataset_json, reader)
    return _find_studies(images, output, dataset_json, options)


def _find_studies(
    images: Path, output: Path, dataset_json: Mapping[str, Any], options: StudyOptions
) -> FoundInputs:
    ending = dataset_json["file_ending"]
    if ending not in GEOMETRY_ENDINGS:
        msg = f"{images} holds DICOM, but this model reads {ending}, which has no place in space"
        raise DatasetError(msg)
    channels = channel_names(dataset_json)
    found = find_studies(images, channels, options, options.key_beside(output))
    by_name = {case.name: case for case in found.cases}

    @contextmanager
    def opened(case: Case) -> Iterator[Case]:
        with scratch_folder() as folder:
            with full_temporary_folder_explained(folder.parent):
                files = write_case(by_name[case.case_id], folder, ending, options)
            yield Case(case.case_id, files, None)

    return FoundInputs(
        cases=tuple(Case(case.name, (), None) for case in found.cases),
        failed=found.failed,
        others=(),
        notes=_notes(found),
        opened=opened,
        series={case.name: case.series for case in found.cases},
    )


def _notes(found: FoundStudies) -> tuple[str, ...]:
    of_cases = (f"{case.name}: {note}" for case in found.cases for note in case.notes)
    names = f"cases have names without the patient; {shown(found.key)} tells whose they are"
    return (names, *found.notes, *of_cases)
