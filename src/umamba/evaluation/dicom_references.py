"""References from RTSTRUCT and SEG, as masks on the grids of the predictions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from umamba.dicom.finding import counts_as_dicom
from umamba.dicom.image_grid import ImageGrid
from umamba.dicom.pseudonyms import key_beside, known_cases
from umamba.dicom.roi_rules import RoiRules
from umamba.dicom.series import SeriesError
from umamba.dicom.structures import Structures, read_structures
from umamba.errors import EvaluationError
from umamba.evaluation.probabilities import Labels
from umamba.images.contents import UnreadableFileError
from umamba.images.file_names import GEOMETRY_ENDINGS, split_ending, visible_files
from umamba.images.files import read_image, write_image
from umamba.system.path_names import listed, shown
from umamba.system.publishing import scratch_folder

__all__ = ["References", "RoiOptions", "are_dicom", "readable_references"]


@dataclass(frozen=True)
class RoiOptions:
    """The options of references as DICOM.

    Args:
        patterns: See `RoiRules`.
        may_lack: See `RoiRules`.
        key: The key file of the cases' names; `None` takes the one beside the predictions.
    """

    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    may_lack: bool = False
    key: Path | None = None


@dataclass(frozen=True)
class References:
    """Masks that can be evaluated.

    Attributes:
        folder: Their folder.
        failed: The reasons why others cannot, by case, or by the place of the file in the order
            of paths, as folders may have the names of patients.
        notes: Remarks on what overlaps, or what a mask does not show.
    """

    folder: Path
    failed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def are_dicom(predictions: Path, references: Path) -> bool:
    """Return whether references are DICOM, and not masks such as the predictions."""
    if not references.is_dir():
        return False
    masks = visible_files(predictions, deep=True) if predictions.is_dir() else []
    in_space = any(split_ending(path)[1] in GEOMETRY_ENDINGS for path in masks)
    return counts_as_dicom(references, pictures=not in_space)


@contextmanager
def readable_references(
    predictions: Path, references: Path, labels: Labels | None, options: RoiOptions
) -> Iterator[References]:
    """Give a folder of masks: the references themselves, or those read from DICOM.

    RTSTRUCT and SEG are paired with predictions by the SeriesInstanceUID that they refer to, which
    the key file has, or by their names or those of their folders.

    Args:
        predictions: Folder of masks.
        references: Folder of masks, or of RTSTRUCT and SEG, which other files of DICOM may
            accompany.
        labels: The value of each label, which is needed for DICOM.
        options: The names of ROIs.

    Yields:
        The masks, which are there while the context lasts.

    Raises:
        EvaluationError: If references are DICOM and labels are missing or overlap, or no
            reference can be used.
    """
    if not are_dicom(predictions, references):
        if options != RoiOptions():
            msg = f"--rois, --rois-may-lack and --key are for DICOM; {shown(references)} holds none"
            raise EvaluationError(msg)
        yield References(references)
        return
    rules = RoiRules(_values(labels), options.patterns, options.may_lack)
    found, failed = _structures(predictions, references, options.key)
    failed |= _misnamed(found, rules)
    notes: list[str] = []
    with scratch_folder() as folder:
        for case, reference in found.items():
            if case in failed:
                continue
            try:
                notes += (f"{case}: {note}" for note in _write(folder / case, reference, rules))
            except (SeriesError, UnreadableFileError) as error:
                failed[case] = str(error)
        if len(failed) and not any(folder.iterdir()):
            reasons = "".join(f"\n  {name}: {reason}" for name, reason in failed.items())
            msg = f"no reference in {shown(references)} can be used:{reasons}"
            raise EvaluationError(msg)
        yield References(folder, failed, tuple(notes))


def _values(labels: Labels | None) -> dict[str, int]:
    """Return the value of each label.

    Raises:
        EvaluationError: If they are not known, or regions.
    """
    if labels is None:
        msg = "references as DICOM have names, not values; give --labels NAME=VALUE, "
        msg += "or --dataset-json"
        raise EvaluationError(msg)
    values = {name: value for name, value in labels.items() if isinstance(value, int)}
    if len(values) < len(labels):
        regions = listed(name for name in labels if name not in values)
        msg = f"{regions}: regions cannot be read from DICOM; give labels of one value each"
        raise EvaluationError(msg)
    return values


@dataclass(frozen=True)
class _Reference:
    """The reference of a prediction.

    Attributes:
        prediction: The file of the prediction.
        structures: The named masks.
        series_uids: The series of the case; none without a key file.
    """

    prediction: Path
    structures: Structures
    series_uids: frozenset[str]

    @property
    def frame_of_reference(self) -> str:
        """The frame of reference of the series by the reference; "" if it does not tell."""
        frames = self.structures.frames_of_reference
        its = {frames[uid] for uid in self.series_uids if uid in frames} or set(frames.values())
        return its.pop() if len(its) == 1 else ""


def _structures(
    predictions: Path, references: Path, key: Path | None
) -> tuple[dict[str, _Reference], dict[str, str]]:
    """Pair predictions with RTSTRUCT and SEG; return them, and why others have no partner."""
    masks = {
        split_ending(path)[0]: path
        for path in visible_files(predictions)
        if split_ending(path)[1] in GEOMETRY_ENDINGS
    }
    series = known_cases(key or key_beside(predictions))
    found: dict[str, _Reference] = {}
    failed: dict[str, str] = {}
    paths = visible_files(references, deep=True)
    for number, path in enumerate(paths, start=1):
        file = f"file {number} of {len(paths)} by path"
        try:
            structures = read_structures(path)
        except SeriesError as error:
            failed[file] = str(error)
            continue
        if structures is None:
            continue
        names = {path.name.partition(".")[0], *path.relative_to(references).parts[:-1]}
        names |= {case for uid in structures.series_uids for case in series.get(uid, ())}
        fitting = sorted(names & masks.keys())
        if len(fitting) == 1 and fitting[0] not in found:
            (case,) = fitting
            uids = frozenset(uid for uid, cases in series.items() if case in cases)
            found[case] = _Reference(masks[case], structures, uids)
        elif fitting:
            failed[file] = f"{listed(fitting)}: several references of a case; keep one"
        else:
            failed[file] = (
                "no prediction has its series (by the key file), its name, or that of its folder; "
                "name it like its prediction, or give --key"
            )
    return found, failed


def _misnamed(found: Mapping[str, _Reference], rules: RoiRules) -> dict[str, str]:
    problems = {case: rules.problem(one.structures) for case, one in found.items()}
    return {case: "; ".join(problem) for case, problem in problems.items() if problem}


def _write(stem: Path, reference: _Reference, rules: RoiRules) -> tuple[str, ...]:
    """Write the mask of a case on the grid of its prediction; return remarks.

    Raises:
        SeriesError: If it does not lie there.
        UnreadableFileError: If the prediction cannot be read.
    """
    loaded = read_image(reference.prediction, is_mask=True)
    if loaded.geometry is None or len(loaded.geometry.spacing) != 3:
        problem = "the prediction has no place in space"
        raise SeriesError(problem, "give predictions as NIfTI")
    depth, rows, columns = loaded.array.shape[1:]
    grid = ImageGrid(loaded.geometry, (depth, rows, columns), reference.frame_of_reference)
    labels, notes = rules.label_map(reference.structures, grid)
    write_image(stem.with_name(f"{stem.name}.nii.gz"), labels, loaded.geometry)
    return notes
