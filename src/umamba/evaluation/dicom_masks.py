"""Masks from RTSTRUCT and SEG, on the grid of what they are compared with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from umamba.dicom.finding import find_series
from umamba.dicom.image_grid import ImageGrid
from umamba.dicom.output_formats import DICOM_ENDINGS
from umamba.dicom.pseudonyms import key_beside, known_cases
from umamba.dicom.roi_rules import RoiRules
from umamba.dicom.series import Series, SeriesError
from umamba.dicom.structures import Structures, read_structures
from umamba.errors import EvaluationError
from umamba.evaluation.probabilities import Labels
from umamba.images.contents import UnreadableFileError
from umamba.images.dicom_files import counts_as_dicom
from umamba.images.file_names import ENDINGS, GEOMETRY_ENDINGS, split_ending, visible_files
from umamba.images.files import read_image, write_image
from umamba.system.path_names import listed, shown
from umamba.system.publishing import scratch_folder

__all__ = ["DicomOptions", "MaskFolders", "are_dicom", "readable_masks"]


@dataclass(frozen=True)
class DicomOptions:
    """The options of masks as DICOM.

    Args:
        patterns: See `RoiRules`.
        may_lack: See `RoiRules`.
        key: The key file of the cases' names; `None` takes the one beside the predictions.
        study: The folder of the series, where predictions and references are both DICOM.
    """

    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    may_lack: bool = False
    key: Path | None = None
    study: Path | None = None


@dataclass(frozen=True)
class MaskFolders:
    """Masks that can be evaluated.

    Attributes:
        predictions: Their folder.
        references: The same of the references.
        failed: The reasons why others cannot, by case, or by the place of the file in the order
            of paths, as folders may have the names of patients.
        extra: Predictions without a reference, named likewise.
        notes: Remarks on what overlaps, or what a mask does not show.
    """

    predictions: Path
    references: Path
    failed: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def are_dicom(folder: Path, others: Path) -> bool:
    """Return whether masks are DICOM, and not files such as those that they are compared with."""
    if not folder.is_dir():
        return False
    files = visible_files(others, deep=True) if others.is_dir() else []
    endings = {split_ending(path)[1] for path in files} & set(ENDINGS)
    return counts_as_dicom(folder, pictures=bool(endings) and not endings & set(GEOMETRY_ENDINGS))


@contextmanager
def readable_masks(
    predictions: Path, references: Path, labels: Labels | None, options: DicomOptions
) -> Iterator[MaskFolders]:
    """Give two folders of masks: those given themselves, or read from DICOM.

    RTSTRUCT and SEG are paired by the SeriesInstanceUID that they refer to, which the key file has
    for masks of other formats; or else by their names or those of their folders.

    Args:
        predictions: Folder of masks, or of RTSTRUCT and SEG, which other files of DICOM may
            accompany.
        references: The same of the references.
        labels: The value of each label, which is needed for DICOM.
        options: The names of ROIs, and where series are.

    Yields:
        The masks, which are there while the context lasts.

    Raises:
        EvaluationError: If labels of DICOM are missing or overlap, or no mask can be used.
    """
    sides = are_dicom(predictions, references), are_dicom(references, predictions)
    _check_options(options, sides, references)
    if not any(sides):
        yield MaskFolders(predictions, references)
        return
    rules = RoiRules(_values(labels), options.patterns, options.may_lack)
    known = known_cases(options.key or key_beside(predictions))
    names = ("prediction file", "reference file") if all(sides) else ("file", "file")
    predicted = _Files.below(predictions, names[0]) if sides[0] else None
    if predicted is not None and options.study is not None:
        cases = _cases_of_series(options.study, predicted, known)
    else:
        cases = _cases_of_masks(references if sides[0] else predictions, known)
    reading = _Reading(cases, rules)
    with scratch_folder() as folder:
        if predicted is not None:
            predictions = reading.write(predicted, folder, "prediction")
        if sides[1]:
            references = reading.write(_Files.below(references, names[1]), folder, "reference")
        yield MaskFolders(
            predictions,
            references,
            {**reading.failed, **(reading.strangers if sides[1] else {})},
            () if sides[1] else tuple(reading.strangers),
            tuple(reading.notes),
        )


def _check_options(options: DicomOptions, sides: tuple[bool, bool], references: Path) -> None:
    """Check that options fit what the folders hold.

    Raises:
        EvaluationError: If they do not.
    """
    if not any(sides) and options != DicomOptions():
        msg = f"--rois, --rois-may-lack, --key and --study are for DICOM; {shown(references)} "
        raise EvaluationError(msg + "holds none")
    if all(sides) and options.study is None:
        msg = "predictions and references are DICOM, which do not hold all slices of their images; "
        raise EvaluationError(msg + "give the folder of the series with --study")
    if options.study is not None and not all(sides):
        msg = "--study is for predictions and references that are both DICOM; leave it out"
        raise EvaluationError(msg)
    if options.study is not None and not options.study.exists():
        msg = f"--study {shown(options.study)} does not exist; give the folder of the series"
        raise EvaluationError(msg)


def _values(labels: Labels | None) -> dict[str, int]:
    """Return the value of each label.

    Raises:
        EvaluationError: If they are not known, or regions.
    """
    if labels is None:
        msg = "masks as DICOM have names, not values; give --labels NAME=VALUE, or --dataset-json"
        raise EvaluationError(msg)
    values = {name: value for name, value in labels.items() if isinstance(value, int)}
    if len(values) < len(labels):
        regions = listed(name for name in labels if name not in values)
        msg = f"{regions}: regions cannot be read from DICOM; give labels of one value each"
        raise EvaluationError(msg)
    return values


@dataclass(frozen=True)
class _Files:
    """The RTSTRUCT and SEG in a folder.

    Attributes:
        folder: The folder.
        structures: Their masks, by their place in the order of paths.
        failed: The reasons why others cannot be read.
    """

    folder: Path
    structures: Mapping[str, Structures]
    failed: Mapping[str, str]

    @classmethod
    def below(cls, folder: Path, what: str) -> "_Files":
        """Read the names in all of them; `what` is the kind of file, for messages."""
        structures, failed = {}, {}
        paths = visible_files(folder, deep=True)
        for number, path in enumerate(paths, start=1):
            file = f"{what} {number} of {len(paths)} by path"
            try:
                found = read_structures(path)
            except SeriesError as error:
                failed[file] = str(error)
                continue
            if found is not None:
                structures[file] = found
        return cls(folder, structures, failed)


@dataclass(frozen=True)
class _Case:
    """A case, and the grid of its masks.

    Attributes:
        place: Its mask in another format, or its series.
        series_uids: Its series; none if they are not known.
    """

    place: Path | Series
    series_uids: frozenset[str]

    def grid(self, structures: Structures) -> ImageGrid:
        """Return the grid onto which masks are read.

        Raises:
            SeriesError: If there is none.
            UnreadableFileError: If the mask cannot be read.
        """
        if isinstance(self.place, Series):
            series = self.place
            return ImageGrid(series.geometry, series.shape, series.head.frame_of_reference_uid)
        loaded = read_image(self.place, is_mask=True)
        if loaded.geometry is None or len(loaded.geometry.spacing) != 3:
            problem = "the mask that it is compared with has no place in space"
            raise SeriesError(problem, "give that as NIfTI")
        depth, rows, columns = loaded.array.shape[1:]
        frames = structures.frames_of_reference
        its = {frames[uid] for uid in self.series_uids if uid in frames} or set(frames.values())
        frame_of_reference = its.pop() if len(its) == 1 else ""
        return ImageGrid(loaded.geometry, (depth, rows, columns), frame_of_reference)


@dataclass(frozen=True)
class _Cases:
    """The cases to which files may belong.

    Attributes:
        by_name: The cases.
        known: The names of the cases of each series, from the key file.
        unusable: The reasons why other series cannot be used, where series alone decide; or `None`.
    """

    by_name: Mapping[str, _Case]
    known: Mapping[str, Sequence[str]]
    unusable: Mapping[str, str] | None = None

    def named(self, structures: Structures) -> list[str]:
        """Return the names that the key file has for the series of a file."""
        return [name for uid in structures.series_uids for name in self.known.get(uid, ())]

    def fitting(self, structures: Structures, folder: Path) -> list[str]:
        """Return the cases that a file below a folder may belong to."""
        if self.unusable is not None:
            uids = set(structures.series_uids)
            return [name for name, case in self.by_name.items() if uids & case.series_uids]
        path = structures.path
        names = {path.name.partition(".")[0], *path.relative_to(folder).parts[:-1]}
        return sorted({*names, *self.named(structures)} & self.by_name.keys())

    def why_several(self, names: Sequence[str]) -> str:
        """Return why a file that fits several cases cannot be used."""
        remedy = "rename it" if self.unusable is None else "keep the series of one"
        return f"it belongs to several cases ({listed(names)}); {remedy}, or give each its own file"

    def why_none(self, structures: Structures, kind: str) -> str:
        """Return why a file belongs to no case."""
        partner = "reference" if kind == "prediction" else "prediction"
        if self.unusable is None:
            return (
                f"no {partner} has its series (by the key file), its name, or that of its folder; "
                f"name it like its {partner}, or give --key"
            )
        reasons = [self.unusable[uid] for uid in structures.series_uids if uid in self.unusable]
        if reasons:
            return reasons[0]
        if kind == "reference":
            return "no prediction refers to its series; leave it out, or add a prediction"
        return "its series is not in the folder of --study; add it there"


def _cases_of_masks(folder: Path, known: Mapping[str, Sequence[str]]) -> _Cases:
    """Return the cases of masks of other formats."""
    masks = {
        split_ending(path)[0]: path
        for path in visible_files(folder)
        if split_ending(path)[1] in GEOMETRY_ENDINGS
    }
    uids = {name: frozenset(uid for uid, its in known.items() if name in its) for name in masks}
    return _Cases({name: _Case(path, uids[name]) for name, path in masks.items()}, known)


def _cases_of_series(study: Path, predicted: _Files, known: Mapping[str, Sequence[str]]) -> _Cases:
    """Return the cases of the series to which predictions refer, named as the key file does."""
    referring: dict[str, str] = {}
    for file, structures in predicted.structures.items():
        for uid in structures.series_uids:
            referring.setdefault(uid, file)
    found = find_series(study)
    cases: dict[str, _Case] = {}
    for series in found.series:
        uid = series.head.uid
        if uid not in referring:
            continue
        stem = predicted.structures[referring[uid]].path.name.partition(".")[0]
        names = [name for name in known.get(uid, ()) if name not in cases]
        name = stem if stem in names else next(iter(names), referring[uid])
        cases[name] = _Case(series, frozenset([uid]))
    unusable = {
        other.head.uid: f"its series: {other.reason.rpartition('; ')[0]}; export the series again"
        for other in found.failed
        if other.head is not None
    }
    return _Cases(cases, known, unusable)


class _Reading:
    """Reads masks of cases, and notes what is odd about them.

    Args:
        cases: The cases.
        rules: The names of ROIs.

    Attributes:
        failed: The reasons why masks cannot be used, by case or file.
        strangers: The reasons why others belong to no case, by the name of the key file, or file.
        notes: Remarks on masks.
    """

    def __init__(self, cases: _Cases, rules: RoiRules) -> None:
        self._cases, self._rules = cases, rules
        self.failed: dict[str, str] = {}
        self.strangers: dict[str, str] = {}
        self.notes: list[str] = []

    def write(self, files: _Files, folder: Path, kind: str) -> Path:
        """Write the masks of one side, and return their folder.

        Raises:
            EvaluationError: If none can be used.
        """
        target = folder / kind
        target.mkdir()
        paired = self._paired(files, kind)
        for case, structures in paired.items():
            self._read(case, structures, kind, target / f"{case}.nii.gz")
        if not any(target.iterdir()):
            reasons = {**self.failed, **self.strangers}
            lines = "".join(f"\n  {name}: {reason}" for name, reason in reasons.items())
            if not (files.structures or files.failed):
                lines = " it holds no RTSTRUCT or SEG"
            msg = f"no {kind} in {shown(files.folder)} can be used:{lines}"
            raise EvaluationError(msg)
        return target

    def _paired(self, files: _Files, kind: str) -> dict[str, Structures]:
        """Return the file of each case."""
        found: dict[str, Structures] = {}
        self.failed |= files.failed
        for file, structures in files.structures.items():
            fitting = self._cases.fitting(structures, files.folder)
            if not fitting:
                name = next(iter(self._cases.named(structures)), file)
                self.strangers[name] = self._cases.why_none(structures, kind)
            elif len(fitting) == 1 and fitting[0] not in found:
                found[fitting[0]] = structures
            elif len(fitting) > 1:
                self.failed[file] = self._cases.why_several(fitting)
            elif not _are_one(structures.path, found[fitting[0]].path):
                self.failed[file] = f"{fitting[0]}: several {kind}s of a case; keep one"
        return found

    def _read(self, case: str, structures: Structures, kind: str, path: Path) -> None:
        """Write the mask of a case, or note why it cannot be used."""
        try:
            notes = self._write(case, structures, kind, path)
        except (SeriesError, UnreadableFileError) as error:
            self.failed[case] = str(error)
            return
        side = "" if kind == "reference" else f" ({kind})"
        self.notes += (f"{case}{side}: {note}" for note in notes)

    def _write(self, case: str, structures: Structures, kind: str, path: Path) -> tuple[str, ...]:
        """Write the mask of a case; return remarks.

        Raises:
            SeriesError: If it has no ROI for a label, or does not lie on the grid.
            UnreadableFileError: If the mask that it is compared with cannot be read.
        """
        rules = self._rules
        own_names = RoiRules(rules.values, {}, rules.may_lack)
        if kind == "prediction" and own_names.problem(structures) is None:
            rules = own_names  # patterns are for references, which others have drawn
        if problem := rules.problem(structures):
            raise SeriesError(*problem)
        grid = self._cases.by_name[case].grid(structures)
        labels, notes = rules.label_map(structures, grid)
        write_image(path, labels, grid.geometry)
        return notes


def _are_one(path: Path, other: Path) -> bool:
    """Return whether two files are the same prediction of ours in two formats."""
    stems = {
        one.with_name(one.name.removesuffix(ending)): one
        for one in (path, other)
        for ending in DICOM_ENDINGS
        if one.name.endswith(ending)
    }
    return len(stems) == 1 and all(one.name.endswith(DICOM_ENDINGS) for one in (path, other))
