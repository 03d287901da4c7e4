"""Pair the series of a folder of DICOM with masks, as cases of a new data set."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from umamba.datasets.cases import FileNaming, FoundCases
from umamba.datasets.checks import Case, Problem
from umamba.datasets.structured_masks import paired_structures, write_mask
from umamba.dicom.roi_rules import RoiRules
from umamba.dicom.series import SeriesError
from umamba.dicom.structures import Structures
from umamba.dicom.studies import FoundStudies, ImagedCase, StudyOptions, find_studies, write_case
from umamba.errors import DatasetError
from umamba.images.dicom_files import counts_as_dicom, holds_dicom
from umamba.images.file_names import ENDINGS, GEOMETRY_ENDINGS, split_ending, visible_files
from umamba.system.progress import ShowProgress
from umamba.system.publishing import scratch_folder

__all__ = ["are_dicom", "paired_series"]

_ENDING = ".nii.gz"


def are_dicom(images: Path, masks: Path, naming: FileNaming) -> bool:
    """Return whether a folder of images holds DICOM, and nothing else to be read as images."""
    if not images.is_dir():
        return False
    pictures = bool(_masks(masks, naming, ENDINGS)) and not _masks(masks, naming)
    if pictures and not naming.mask_suffix:  # they may belong to the viewer on a CD
        pictures = not holds_dicom(masks)
    return counts_as_dicom(images, pictures=pictures, besides=_masks(masks, naming, ENDINGS))


def _masks(
    masks: Path, naming: FileNaming, endings: Sequence[str] = GEOMETRY_ENDINGS
) -> list[Path]:
    return [
        path
        for path in visible_files(masks, deep=True)
        if split_ending(path)[1] in endings and split_ending(path)[0].endswith(naming.mask_suffix)
    ]


@contextmanager
def paired_series(
    images: Path,
    masks: Path,
    naming: FileNaming,
    options: StudyOptions,
    rules: RoiRules,
    target: Path,
    progress: ShowProgress,
) -> Iterator[FoundCases]:
    """Read the series of a folder, and pair them with masks by folder, PatientID or UID.

    Args:
        images: Folder of DICOM, in any nesting.
        masks: Folder of masks; each has the name of a folder of its series below `images`, or that
            series' PatientID or SeriesInstanceUID, and the suffix. Or of RTSTRUCT and SEG, which
            refer to their series.
        naming: The channels, and the suffix of masks.
        options: The options of reading DICOM.
        rules: The names of ROIs in RTSTRUCT and SEG.
        target: The folder of the new data set, beside which the key file and files of images lie.
        progress: Shows how far it is.

    Yields:
        The cases, whose files of images are there while the context lasts; their names tell
        nothing of the patients.

    Raises:
        DatasetError: If there is nothing to pair.
    """
    key = options.key_beside(target)
    found = find_studies(images, naming.names or ("channel_0",), options, key)
    problems = _notes(found)
    paired: Sequence[tuple[ImagedCase, Path | Structures]]
    if not _masks(masks, naming) and holds_dicom(masks):
        paired, more = paired_structures(found.cases, masks, rules, found.key)
    else:
        paired, more = _pair(found, images, masks, naming)
    problems += more
    with scratch_folder(".umamba-", target.parent) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        cases: list[Case] = []
        for case, mask in progress(paired, "reading"):
            read, more = _written(case, mask, folder, options, rules)
            problems += more
            cases += [read] if read is not None else []
        cases.sort(key=lambda case: case.case_id)
        yield FoundCases(tuple(cases), tuple(problems), ())


def _written(
    case: ImagedCase, mask: Path | Structures, folder: Path, options: StudyOptions, rules: RoiRules
) -> tuple[Case | None, list[Problem]]:
    """Write the files of a case; return it, if that worked, and problems."""
    problems: list[Problem] = []
    try:
        if isinstance(mask, Structures):
            path = folder / "masks" / f"{case.name}{_ENDING}"
            problems = write_mask(case, mask, rules, path)
        else:  # its own name may be the patient's
            path = folder / "masks" / f"{case.name}{split_ending(mask)[1]}"
            _copy(mask, path)
        images = write_case(case, folder / "images", _ENDING, options)
        return Case(case.name, images, path), problems
    except SeriesError as error:
        return None, [*problems, Problem(case.name, None, error.problem, error.fix)]


def _copy(mask: Path, path: Path) -> None:
    try:
        shutil.copyfile(mask, path)
    except OSError as error:
        problem = f"its mask cannot be copied ({error.strerror or 'it is not a plain file'})"
        raise SeriesError(problem, "make it readable, and check the space on the disk") from error


def _notes(found: FoundStudies) -> list[Problem]:
    """Return the problems of the series themselves."""
    problems = [_failed(name, reason, found.key) for name, reason in found.failed.items()]
    problems += [
        Problem(case.name, None, note, "nothing needs to be done", "warning")
        for case in found.cases
        for note in case.notes
    ]
    problems += [
        Problem("", None, note, "if you need them, export them as series of slices", "warning")
        for note in found.notes
    ]
    return problems


def _pair(
    found: FoundStudies, images: Path, masks: Path, naming: FileNaming
) -> tuple[list[tuple[ImagedCase, Path]], list[Problem]]:
    files = _masks(masks, naming)
    if not files:
        msg = (
            f"there is no mask named *{naming.mask_suffix} in {masks} that has a place in space, "
            "such as .nii.gz; give another --mask-suffix, or convert the masks"
        )
        raise DatasetError(msg)
    problems = []
    pairs: dict[str, list[Path]] = {}
    for mask in files:
        fitting = [case for case in found.cases if _stem(mask, naming) in _labels(case, images)]
        if len(fitting) == 1:
            pairs.setdefault(fitting[0].name, []).append(mask)
        else:
            problems.append(_unpaired(mask, fitting))
    cases = []
    for case in found.cases:
        its = pairs.get(case.name, [])
        if len(its) == 1:
            cases.append((case, its[0]))
        else:
            problems.append(_not_one(case, its, found.key))
    return cases, problems


def _stem(mask: Path, naming: FileNaming) -> str:
    stem = split_ending(mask)[0].removesuffix(naming.mask_suffix)
    return stem or mask.parent.name


def _labels(case: ImagedCase, images: Path) -> set[str]:
    """Return what a mask of a case may be called."""
    heads = [series.head for series in case.series]
    folders = {part for series in case.series for part in series.folder.relative_to(images).parts}
    return folders | {head.uid for head in heads} | {head.patient_id for head in heads}


def _failed(name: str, reason: str, key: Path) -> Problem:
    problem, _, fix = reason.rpartition("; ")
    return Problem(name, None, problem, f"{fix} ({key.name} tells which it is)")


def _unpaired(mask: Path, fitting: Sequence[ImagedCase]) -> Problem:
    if fitting:
        text = f"the mask fits {len(fitting)} series by its name"
        fix = "choose one of them with --series, or name the mask by SeriesInstanceUID"
    else:
        text = "the mask has no series"
        fix = "name it like a folder of its series, or by PatientID or SeriesInstanceUID"
    return Problem("", mask, text, fix)


def _not_one(case: ImagedCase, masks: Sequence[Path], key: Path) -> Problem:
    which = f" ({key.name} tells which series it is)"
    if masks:
        text = f"{len(masks)} masks fit it by their names"
        return Problem(case.name, None, text, f"keep one{which}")
    fix = f"add a mask named like its folder, or choose other series with --series{which}"
    return Problem(case.name, None, "the series has no mask", fix)
