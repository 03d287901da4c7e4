"""Masks from RTSTRUCT and SEG, paired with the series that they refer to."""

from collections.abc import Sequence
from pathlib import Path

from umamba.datasets.checks import DatasetProblemsError, Problem, errors_of
from umamba.dicom.image_grid import ImageGrid
from umamba.dicom.roi_rules import RoiRules
from umamba.dicom.series import SeriesError
from umamba.dicom.structures import Structures, read_structures
from umamba.dicom.studies import ImagedCase
from umamba.errors import DatasetError
from umamba.images.file_names import visible_files
from umamba.images.files import write_image

__all__ = ["paired_structures", "write_mask"]


def paired_structures(
    cases: Sequence[ImagedCase], masks: Path, rules: RoiRules, key: Path
) -> tuple[list[tuple[ImagedCase, Structures]], list[Problem]]:
    """Pair series with the RTSTRUCT or SEG that refers to them.

    Args:
        cases: The series.
        masks: Folder of RTSTRUCT and SEG; other files of DICOM may lie there as well.
        rules: The names of the ROIs of each label.
        key: The key file, for messages.

    Returns:
        The pairs, and warnings.

    Raises:
        DatasetError: If labels have no names.
        DatasetProblemsError: If a case has no mask, several, or not one for every label; all
            such cases are in it.
    """
    if not rules.values:
        msg = f"{masks} holds RTSTRUCT or SEG, whose masks have names, not values; give --labels"
        raise DatasetError(msg)
    pairs: dict[str, list[Structures]] = {case.name: [] for case in cases}
    problems = []
    n_strays = 0
    for path in visible_files(masks, deep=True):
        try:
            structures = read_structures(path)
        except SeriesError as error:
            problems.append(Problem("", path, error.problem, error.fix))
            continue
        if structures is None:
            continue
        uids = set(structures.series_uids)
        fitting = [case for case in cases if uids & {one.head.uid for one in case.series}]
        for case in fitting:
            pairs[case.name].append(structures)
        n_strays += not fitting
    if n_strays:
        text = f"{n_strays} RTSTRUCT or SEG refer to no series that is taken"
        fix = "if they are needed, add their series"
        problems.append(Problem("", None, text, fix, "warning"))
    for name, found in pairs.items():
        problems += _problems(name, found, rules, key)
    if errors := errors_of(problems):
        raise DatasetProblemsError(errors, "nothing was written")
    return [(case, pairs[case.name][0]) for case in cases], problems


def _problems(name: str, found: Sequence[Structures], rules: RoiRules, key: Path) -> list[Problem]:
    which = f" ({key.name} tells which series it is)"
    if not found:
        text = "no RTSTRUCT or SEG refers to the series"
        fix = f"add one, or choose other series with --series{which}"
        return [Problem(name, None, text, fix)]
    if len(found) > 1:
        text = f"{len(found)} RTSTRUCT or SEG refer to the series"
        return [Problem(name, None, text, f"keep one{which}")]
    problem = rules.problem(found[0])
    return [Problem(name, None, *problem)] if problem else []


def write_mask(
    case: ImagedCase, structures: Structures, rules: RoiRules, path: Path
) -> list[Problem]:
    """Write the mask of a case on the grid of its first series; return warnings.

    Raises:
        SeriesError: If it does not lie there.
    """
    first = case.series[0]
    grid = ImageGrid(first.geometry, first.shape, first.head.frame_of_reference_uid)
    labels, notes = rules.label_map(structures, grid)
    write_image(path, labels, first.geometry)
    fix = "check that this is right"
    return [Problem(case.name, None, note, fix, "warning") for note in notes]
