"""Cases from DICOM: the series of each, under a name without the patient, as files of images."""

import errno
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.dicom.choosing import ChannelRules, channel_rules
from umamba.dicom.finding import find_series
from umamba.dicom.pixels import read_series
from umamba.dicom.pseudonyms import Identity, case_names, key_beside
from umamba.dicom.series import FoundSeries, LeftOut, Series, SeriesError, SeriesHead
from umamba.dicom.suv import suv_factor
from umamba.errors import DatasetError
from umamba.images.contents import Geometry, numbers
from umamba.images.files import write_image

__all__ = ["FoundStudies", "ImagedCase", "StudyOptions", "find_studies", "write_case"]

Array = npt.NDArray[Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyOptions:
    """The options of reading DICOM.

    Args:
        series: The series to take, see `channel_rules`.
        resample_irregular: Whether slices on no regular grid are resampled onto one.
        resample_channels: Whether channels are resampled onto the grid of the first.
        suv: Whether PET becomes SUV by body weight.
        key: The key file of the names; `None` takes one beside the output.
    """

    series: tuple[str, ...] = ()
    resample_irregular: bool = False
    resample_channels: bool = False
    suv: bool = False
    key: Path | None = None

    def key_beside(self, output: Path) -> Path:
        """Return the key file, which must not lie in what may be shared.

        Raises:
            DatasetError: If it does.
        """
        key = self.key or key_beside(output)
        if output.resolve() in key.resolve().parents:
            msg = f"--key {key} lies in {output}, which may be shared; give a place elsewhere"
            raise DatasetError(msg)
        return key


@dataclass(frozen=True)
class ImagedCase:
    """One case.

    Attributes:
        name: Its name, which tells nothing of the patient.
        series: A series per channel.
    """

    name: str
    series: tuple[Series, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on its series."""
        return tuple(note for series in self.series for note in series.notes)


@dataclass(frozen=True)
class FoundStudies:
    """The contents of a folder of DICOM.

    Attributes:
        cases: What can be read, in the order of their paths.
        failed: The reasons why others cannot, by name.
        notes: Remarks on what was left out.
        key: The file that tells whose the names are.
    """

    cases: tuple[ImagedCase, ...]
    failed: Mapping[str, str]
    notes: tuple[str, ...]
    key: Path


@dataclass
class _Candidate:
    """A case before it has a name: what could be each of its channels."""

    series: dict[str, list[Series]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, list[LeftOut]] = field(default_factory=lambda: defaultdict(list))

    @property
    def heads(self) -> list[SeriesHead]:
        """The identities of all that it has, whether it can be used or not."""
        usable = [one.head for several in self.series.values() for one in several]
        others = [other.head for several in self.failed.values() for other in several]
        return usable + [head for head in others if head is not None]

    def chosen(self, rules: ChannelRules) -> tuple[Series, ...]:
        """Return a series per channel.

        Raises:
            SeriesError: If a channel has none, or several.
        """
        found = []
        for channel in rules.patterns:
            fitting = self.series[channel]
            if len(fitting) == 1:
                found.append(fitting[0])
                continue
            where = f"channel {channel}: " if len(rules.patterns) > 1 else ""
            if fitting:
                problem = f"{where}{len(fitting)} series of the study match {rules.asked(channel)}"
                raise SeriesError(problem, "name one of them by its UID with --series")
            if self.failed[channel]:
                problem, _, fix = self.failed[channel][0].reason.rpartition("; ")
                raise SeriesError(where + problem, fix)
            problem = f"{where}no series of the study matches {rules.asked(channel)}"
            raise SeriesError(problem, "add it to the folder, or change --series")
        return tuple(found)

    def identity(
        self, channels: Sequence[str], folder: Path, chosen: Sequence[Series], *, suv: bool
    ) -> Identity:
        """Return what the key file tells of it: of the chosen series or, without, of all."""
        heads = [one.head for one in chosen]
        paths = [one.folder for one in chosen]
        for channel in () if chosen else channels:
            for one in self.series[channel]:
                heads.append(one.head)
                paths.append(one.folder)
            for other in self.failed[channel]:
                heads += [other.head] if other.head else []
                paths.append(other.path.parent if other.head else other.path)
        known = heads[0] if heads else SeriesHead("")
        uids = tuple(head.uid for head in heads)
        where = paths[0].relative_to(folder).as_posix()
        return Identity(known.patient_id, known.study_uid, uids, where, suv)


def find_studies(
    folder: Path, channels: Sequence[str], options: StudyOptions, key: Path
) -> FoundStudies:
    """Sort a folder of DICOM into cases: a series each, or a study of a series per channel.

    Args:
        folder: Searched with its subfolders; or a file.
        channels: The names of the channels, in order.
        options: The options of reading.
        key: The key file of the names.

    Raises:
        DatasetError: If `--series` cannot be understood, or matches nothing, or `--suv` no PET.
        UMambaError: If the extra is not installed, or the key file cannot be used.
    """
    rules = channel_rules(options.series, channels)
    found = find_series(folder, resample=options.resample_irregular)
    candidates = _candidates(found.series, found.failed, rules)
    if not candidates:
        raise DatasetError(_nothing(folder, found, options))
    _check_suv(candidates, folder, options)
    root = folder if folder.is_dir() else folder.parent
    outcomes = [_outcome(candidate, rules, options) for candidate in candidates]
    identities = [
        one.identity(channels, root, () if isinstance(what, str) else what, suv=options.suv)
        for one, what in zip(candidates, outcomes, strict=True)
    ]
    cases, failed = [], {}
    for name, outcome in zip(case_names(identities, key), outcomes, strict=True):
        if isinstance(outcome, str):
            failed[name] = outcome
        else:
            cases.append(ImagedCase(name, outcome))
    return FoundStudies(tuple(cases), failed, found.notes, key)


def _nothing(folder: Path, found: FoundSeries, options: StudyOptions) -> str:
    kinds = sorted({series.head.modality or "unknown" for series in found.series})
    if not kinds:
        return f"{folder} holds no series of slices ({'; '.join(found.notes)}); give another folder"
    there, asked = f"{len(found.series)} series of {', '.join(kinds)}", " or ".join(options.series)
    return f"{folder} holds {there}, but none that matches {asked}; change --series"


def _candidates(
    series: Sequence[Series], failed: Sequence[LeftOut], rules: ChannelRules
) -> list[_Candidate]:
    """Group by study if there are several channels; otherwise each series is a case."""
    several = len(rules.patterns) > 1
    groups: dict[str, _Candidate] = defaultdict(_Candidate)
    for one in series:
        for channel in rules.channels_of(one.head):
            group = f"{one.head.patient_id} {one.head.study_uid}" if several else one.head.uid
            groups[group].series[channel].append(one)
    for other in failed:
        head = other.head
        for channel in rules.channels_of(head) if head else list(rules.patterns)[:1]:
            if head is None:
                group = str(other.path)
            else:
                group = f"{head.patient_id} {head.study_uid}" if several else head.uid
            groups[group].failed[channel].append(other)
    return list(groups.values())


def _check_suv(candidates: Sequence[_Candidate], folder: Path, options: StudyOptions) -> None:
    """Check that there is PET to become SUV.

    Raises:
        DatasetError: If there is none.
    """
    heads = [head for candidate in candidates for head in candidate.heads]
    if options.suv and all(head.modality != "PT" for head in heads):
        msg = f"--suv is for PET, but no series taken from {folder} is PET; leave --suv out"
        raise DatasetError(msg)


def _outcome(
    candidate: _Candidate, rules: ChannelRules, options: StudyOptions
) -> tuple[Series, ...] | str:
    """Return the series of a case, or why there is none."""
    try:
        series = candidate.chosen(rules)
        for channel, one in zip(rules.patterns, series, strict=True):
            _check_grid(channel, one, series[0], resample=options.resample_channels)
    except SeriesError as error:
        return str(error)
    return series


def _check_grid(channel: str, series: Series, first: Series, *, resample: bool) -> None:
    if series.head.frame_of_reference_uid != first.head.frame_of_reference_uid:
        problem = f"channel {channel} has another frame of reference than the first channel"
        raise SeriesError(problem, "register it onto the first one, and save both as NIfTI")
    differences = series.geometry.differences(first.geometry)
    if series.shape != first.shape:
        differences = {"shape": f"shape {numbers(series.shape)} but {numbers(first.shape)}"}
    if differences and not resample:
        problem = f"channel {channel} lies on another grid than the first channel: "
        problem += "; ".join(differences.values())
        raise SeriesError(problem, "add --resample-channels to resample it onto the first")


def write_case(
    case: ImagedCase, folder: Path, ending: str, options: StudyOptions
) -> tuple[Path, ...]:
    """Read the series of a case, and write each as the image file of a channel.

    Args:
        case: The case.
        folder: An existing folder.
        ending: The ending of a format that holds a geometry.
        options: The options of reading.

    Returns:
        The files, in the order of the channels, all on the grid of the first.

    Raises:
        SeriesError: If a series cannot be read, or written as an image.
    """
    try:
        return _image_files(case, folder, ending, options)
    except MemoryError as error:
        problem = "it does not fit into memory"
        raise SeriesError(problem, "use a machine with more, or crop the series") from error
    except RuntimeError as error:  # of ITK
        log.debug("ITK fails: %s", error)
        problem = "it cannot be resampled, or written to the folder for temporary files"
        raise SeriesError(problem, "make room there, or use a machine with more memory") from error


def _image_files(
    case: ImagedCase, folder: Path, ending: str, options: StudyOptions
) -> tuple[Path, ...]:
    files = []
    first = case.series[0]
    for number, series in enumerate(case.series):
        voxels = read_series(series)
        if options.suv and series.head.modality == "PT":
            voxels = voxels.astype(np.float32) * np.float32(suv_factor(series))
        if series.shape != first.shape or series.geometry.differences(first.geometry):
            voxels = _onto(voxels, series.geometry, first)
        files.append(folder / f"{case.name}_{number:04d}{ending}")
        try:
            write_image(files[-1], voxels, first.geometry)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            problem = "the disk of the folder for temporary files is full"
            fix = "make room there, or set TMPDIR to another folder"
            raise SeriesError(problem, fix) from error
    return tuple(files)


def _onto(voxels: Array, geometry: Geometry, first: Series) -> Array:
    """Interpolate linearly on the grid of the first channel; the least value lies outside."""
    import SimpleITK

    source = SimpleITK.GetImageFromArray(voxels.astype(np.float32))
    grid = SimpleITK.Image(first.shape[::-1], SimpleITK.sitkUInt8)
    for image, its in ((source, geometry), (grid, first.geometry)):
        image.SetSpacing(its.spacing)
        image.SetOrigin(its.origin)
        image.SetDirection(its.direction)
    least = float(voxels.min())
    moved = SimpleITK.Resample(
        source, grid, SimpleITK.Transform(), SimpleITK.sitkLinear, least, SimpleITK.sitkFloat32
    )
    return np.asarray(SimpleITK.GetArrayFromImage(moved))
