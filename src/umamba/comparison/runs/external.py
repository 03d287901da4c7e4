"""The test set of a comparison: found, recorded, and compared with the training images."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from umamba.comparison.external_records import TEST_FOLDER
from umamba.comparison.results import from_plain, to_plain
from umamba.comparison.runs.planning import ComparisonRequest, Source
from umamba.datasets.checks import Case, CaseFacts
from umamba.datasets.comparison import duplicates
from umamba.datasets.inputs import find_inputs
from umamba.errors import DatasetError, UMambaError
from umamba.images.checked_files import CheckedFiles, Reading
from umamba.images.contents import UnreadableFileError
from umamba.nnunet.paths import Paths
from umamba.nnunet.raw_dataset import open_raw_dataset
from umamba.system.atomic_files import make_folder, write_whole
from umamba.system.checksums import sha256
from umamba.system.json_files import load_json
from umamba.system.path_names import listed

__all__ = ["ExternalSet", "find_external", "record_external"]

_FILE = "test_set.json"


@dataclass(frozen=True)
class _File:
    """A file of the test set as it was when it was read."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class _Record:
    """The contents of `test/test_set.json`.

    Attributes:
        images: Folder of the images.
        labels: Folder of the reference masks.
        files: The files by their names in these folders, as `images/...` and `labels/...`.
        in_training: By case, the training case with the same image; `None` if nobody knows.
    """

    images: str
    labels: str
    files: dict[str, _File]
    in_training: dict[str, str] | None


@dataclass(frozen=True)
class ExternalSet:
    """A test set: images with reference masks, which no model is trained on.

    Attributes:
        images: Folder of the images.
        labels: Folder of the reference masks.
        cases: Its cases.
        files: SHA-256 by file; empty until it is recorded.
        in_training: By case, the training case that holds the same image; `None` if nobody knows.
    """

    images: Path
    labels: Path
    cases: tuple[Case, ...]
    files: dict[str, str] = field(default_factory=dict)
    in_training: dict[str, str] | None = None

    @property
    def case_ids(self) -> frozenset[str]:
        """Names of the cases."""
        return frozenset(case.case_id for case in self.cases)


def find_external(request: ComparisonRequest, source: Source) -> ExternalSet | None:
    """Find the test set of a comparison: the one asked for, or else that of earlier calls.

    Args:
        request: The comparison.
        source: Its data set, whose channels and labels the test set must have.

    Returns:
        The test set; `None` if there is none.

    Raises:
        UMambaError: If a folder is missing, or an image has no mask or a mask no image, or the
            comparison was begun with other cases.
    """
    record = _recall(request.output)
    if request.test is not None:
        images, labels = request.test
    elif record is not None:
        images, labels = Path(record.images), Path(record.labels)
    else:
        return None
    reader = source.plans.get("image_reader_writer")
    try:
        found = find_inputs(images, source.dataset_json, reader)
    except DatasetError as error:
        msg = f"--test-images: {error}"
        raise UMambaError(msg) from None
    if found.failed:
        name, reason = next(iter(found.failed.items()))
        msg = f"--test-images {images}: {name} cannot be predicted: {reason}"
        raise UMambaError(msg)
    cases = tuple(
        replace(case, mask=labels / f"{case.case_id}{source.file_ending}") for case in found.cases
    )
    _check_masks(cases, labels, source.file_ending)
    external = ExternalSet(images, labels, cases)
    if record is None:
        return external
    _check_names(external, record, request.output)
    known = {name: file.sha256 for name, file in record.files.items()}
    return replace(external, files=known, in_training=record.in_training)


def _check_masks(cases: Sequence[Case], labels: Path, ending: str) -> None:
    if not labels.is_dir():
        msg = f"--test-labels {labels} is not a folder; give that of the reference masks"
        raise UMambaError(msg)
    wanted = {f"{case.case_id}{ending}" for case in cases}
    there = {path.name for path in labels.glob(f"*{ending}")}
    if lacking := sorted(wanted - there):
        msg = (
            f"--test-labels {labels} lacks {listed(lacking)}: give a mask for every case of "
            "--test-images"
        )
        raise UMambaError(msg)
    if others := sorted(there - wanted):
        msg = f"--test-images lacks the images of {listed(others)} in --test-labels {labels}"
        raise UMambaError(msg)


def _files_of(external: ExternalSet) -> dict[str, Path]:
    found = {f"images/{path.name}": path for case in external.cases for path in case.images}
    masks = {f"labels/{case.mask.name}": case.mask for case in external.cases if case.mask}
    return found | masks


def _check_names(external: ExternalSet, record: _Record, output: Path) -> None:
    now = _files_of(external).keys()
    if odd := sorted(now ^ record.files.keys()):
        more = "is new" if odd[0] in now else "is missing"
        raise UMambaError(_is_another(output, f"{odd[0]} {more}"))


def _is_another(output: Path, why: str) -> str:
    return (
        f"the test set is not the one that {output} was begun with: {why}; give the same files, or "
        "another --output"
    )


def record_external(
    external: ExternalSet, request: ComparisonRequest, source: Source, paths: Paths
) -> ExternalSet:
    """Record which files the test set has, and warn of images that models are trained on.

    Args:
        external: A result of `find_external`.
        request: The comparison, which has claimed its folder of results.
        source: Its data set.
        paths: nnU-Net's folders.

    Returns:
        The test set with what is on record.

    Raises:
        UMambaError: If a file is another one than in earlier calls, or cannot be read.
    """
    before = _recall(request.output)
    files = _marked(external, before.files if before else {})
    if before is not None:
        for name, file in files.items():
            if file.sha256 != before.files[name].sha256:
                raise UMambaError(_is_another(request.output, f"{name} has changed"))
    in_training = before.in_training if before else _in_training(external, source, paths)
    record = _Record(str(external.images), str(external.labels), files, in_training)
    if record != before:
        make_folder(request.output / TEST_FOLDER)
        content = json.dumps(to_plain(record), indent=1) + "\n"
        write_whole(request.output / TEST_FOLDER / _FILE, content)
    _warn(in_training)
    known = {name: file.sha256 for name, file in files.items()}
    return replace(external, files=known, in_training=in_training)


def _recall(output: Path) -> _Record | None:
    file = output / TEST_FOLDER / _FILE
    if not file.is_file():
        return None
    try:
        return from_plain(load_json(file), _Record)
    except ValueError as error:
        msg = f"{file} is damaged ({error}); give another --output"
        raise UMambaError(msg) from None


def _marked(external: ExternalSet, before: dict[str, _File]) -> dict[str, _File]:
    """Return the state of every file; contents are read only where size or time is another."""
    found = {}
    for name, path in _files_of(external).items():
        try:
            stat, known = path.stat(), before.get(name)
            same = known and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
            digest = known.sha256 if known and same else sha256(path)
        except OSError as error:
            msg = f"{path} of the test set cannot be read: {error.strerror}"
            raise UMambaError(msg) from None
        found[name] = _File(stat.st_size, stat.st_mtime_ns, digest)
    return found


def _in_training(external: ExternalSet, source: Source, paths: Paths) -> dict[str, str] | None:
    """Return the training case of each test image that is one; `None` if nobody knows."""
    folder = None if paths.raw is None else paths.raw / source.dataset
    if folder is None or not (folder / "dataset.json").is_file():
        sys.stderr.write(
            "note: whether models are trained on images of the test set is not known, as the raw "
            "data set is not there\n"
        )
        return None
    sys.stderr.write("comparing the images of the test set with those of training\n")
    raw = open_raw_dataset(folder)
    reading = Reading(raw.reader, as_it_is=True, memory=CheckedFiles(folder))
    trained = list(_facts(raw.cases, reading))
    ours = list(_facts(external.cases, Reading(raw.reader, as_it_is=True)))
    own = {id(fact) for fact in ours}
    found: dict[str, str] = {}
    for group in duplicates([*trained, *ours]):
        known = [fact for fact in group if id(fact) not in own]
        if known:
            found |= {f.case.case_id: known[0].case.case_id for f in group if id(f) in own}
    return dict(sorted(found.items()))


def _facts(cases: Iterable[Case], reading: Reading) -> Iterable[CaseFacts]:
    for case in cases:
        try:
            images = tuple(reading.facts(path, is_mask=False) for path in case.images)
        except UnreadableFileError:
            continue  # whose prediction, or preprocessing, says so
        yield CaseFacts(case, images, None)


def _warn(in_training: dict[str, str] | None) -> None:
    if in_training:
        pairs = listed(f"{case} (training case {known})" for case, known in in_training.items())
        sys.stderr.write(
            f"warning: {len(in_training)} images of the test set are also images of the data set "
            f"that models are trained on, and flatter them: {pairs}\n"
        )
