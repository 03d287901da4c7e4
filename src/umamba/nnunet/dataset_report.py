"""Check an nnU-Net raw data set before training, without changing anything in it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from umamba.datasets.checks import Case, CaseFacts, Problem, errors_of, inspect_case, short
from umamba.datasets.comparison import check_across, check_channel_count, duplicates
from umamba.images.checked_files import CheckedFiles, Reading, remembered_note
from umamba.nnunet.paths import Paths
from umamba.nnunet.preparation import find_dataset
from umamba.nnunet.raw_dataset import RawDataset, open_raw_dataset
from umamba.nnunet.splits import check_splits, read_splits
from umamba.system.progress import ShowProgress
from umamba.system.terminal import one_line

__all__ = ["DatasetReport", "check_dataset"]


@dataclass(frozen=True)
class DatasetReport:
    """The problems of a data set, errors first."""

    name: str
    path: Path
    n_cases: int
    problems: tuple[Problem, ...]
    n_files: int
    n_remembered: int

    @property
    def n_errors(self) -> int:
        """The number of problems that are errors."""
        return len(errors_of(self.problems))

    def to_dict(self) -> dict[str, object]:
        """Return plain data for JSON."""
        return {
            "dataset": self.name,
            "path": str(self.path),
            "cases": self.n_cases,
            "errors": self.n_errors,
            "warnings": len(self.problems) - self.n_errors,
            "files": self.n_files,
            "remembered": self.n_remembered,
            "problems": [problem.to_dict() for problem in self.problems],
        }

    def to_text(self) -> str:
        """Return the report as text for people."""
        counts = (
            _count(self.n_cases, "case"),
            _count(self.n_errors, "error"),
            _count(len(self.problems) - self.n_errors, "warning"),
        )
        lines = [one_line(f"{problem.severity}: {problem}") for problem in self.problems]
        note = remembered_note(self.n_remembered, self.n_files)
        return "\n".join([f"{self.name}: {', '.join(counts)}{note}", *lines, ""])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def check_dataset(
    dataset: str, paths: Paths, progress: ShowProgress | None = None
) -> DatasetReport:
    """Read every file of a raw data set, one case at a time, and report all that is wrong.

    Args:
        dataset: Name or number of the data set.
        paths: nnU-Net's folders; the splits are read from `preprocessed`, if that is known.
        progress: Wraps a sequence to show how far its iteration is; called with a title.

    Returns:
        The report.

    Raises:
        DatasetError: If the data set is missing, or holds nothing that can be checked.
        UMambaError: If `dataset.json` or `splits_final.json` is damaged, or `raw` is not known.
    """
    progress = progress or (lambda items, _title: items)
    name = find_dataset(dataset, Paths(raw=paths.require("raw")))
    raw = open_raw_dataset(paths.require("raw") / name)
    problems = list(raw.problems)
    memory = CheckedFiles(raw.path)
    reading = Reading(raw.reader, as_it_is=True, memory=memory)
    facts, found = _inspect(progress(raw.cases, "checking"), raw.channels, reading)
    problems += found
    if facts:
        problems += _compare(raw, facts)
        problems += _check_folds(raw, facts, paths.preprocessed)
    test_cases = progress(raw.test_cases, "checking imagesTs")
    test_facts, found = _inspect(test_cases, raw.channels, reading)
    memory.save()
    problems += [*found, *_check_test_cases(facts, test_facts)]
    ordered = sorted(problems, key=lambda problem: problem.severity)
    return DatasetReport(
        name=name,
        path=raw.path,
        n_cases=len(raw.cases),
        problems=tuple(ordered),
        n_files=memory.n_files,
        n_remembered=memory.n_remembered,
    )


def _compare(raw: RawDataset, facts: Sequence[CaseFacts]) -> list[Problem]:
    where = "channel_names in dataset.json"
    return [
        *check_across(facts, reorients="Reorient" in (raw.reader or "")),
        *check_channel_count(facts, len(raw.channels), where),
        *raw.check_labels(facts),
    ]


def _check_folds(
    raw: RawDataset, facts: Sequence[CaseFacts], preprocessed: Path | None
) -> list[Problem]:
    file = preprocessed / raw.path.name / "splits_final.json" if preprocessed else None
    splits, problems = read_splits(file, [fact.case.case_id for fact in facts])
    return [*problems, *(check_splits(splits, facts, raw.rules) if splits else ())]


def _inspect(
    cases: Iterable[Case], channels: Sequence[str], reading: Reading
) -> tuple[list[CaseFacts], list[Problem]]:
    inspected = [inspect_case(case, channels, reading=reading) for case in cases]
    return [fact for fact, _ in inspected], [p for _, found in inspected for p in found]


def _check_test_cases(facts: Sequence[CaseFacts], test_facts: Sequence[CaseFacts]) -> list[Problem]:
    """Find images that are in `imagesTr` and in `imagesTs`."""
    problems = []
    for group in duplicates([*facts, *test_facts]):
        trained = [fact for fact in group if fact.case.mask is not None]
        for fact in (fact for fact in group if fact.case.mask is None and trained):
            text = f"it holds the same voxels as {short(trained[0].images[0].path)}"
            fix = "remove one of the two: test images must not be used for training"
            problems.append(Problem(fact.case.case_id, fact.images[0].path, text, fix))
    return problems
