"""Check how the cases of a data set are split into folds."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umamba.datasets.checks import CaseFacts, DatasetProblemsError, Problem
from umamba.datasets.comparison import duplicates
from umamba.datasets.labels import LabelRules
from umamba.errors import DatasetError
from umamba.images.file_names import split_ending
from umamba.system.atomic_files import write_new
from umamba.system.json_files import load_json_list

__all__ = [
    "Splits",
    "check_splits",
    "chosen_cases",
    "ensure_splits",
    "read_splits",
    "require_splits",
]

_N_FOLDS = 5
_MOST_FOLDS = 1000
_SHOWN = 5
_FIX = "correct the file, or delete it: nnU-Net makes a new one"

Fold = tuple[frozenset[str], frozenset[str]]


@dataclass(frozen=True)
class Splits:
    """The folds of a data set.

    Attributes:
        folds: The cases of each fold, for training and for validation.
        file: `splits_final.json`; `None` for the split that nnU-Net will make.
    """

    folds: tuple[Fold, ...]
    file: Path | None


def chosen_cases(cases: Iterable[str], number: int | None) -> list[str]:
    """Return some of the cases, by a rule that depends on nothing but their names.

    They are those that come first by the SHA-256 of their names, so that a larger number adds cases
    and drops none.

    Args:
        cases: All cases.
        number: How many to choose; `None`, or more than there are, is all.
    """
    by_digest = sorted(cases, key=lambda case: hashlib.sha256(case.encode()).hexdigest())
    return sorted(by_digest[:number])


def read_splits(
    file: Path | None, case_ids: Collection[str]
) -> tuple[Splits | None, list[Problem]]:
    """Read the folds from a file, or compute those that nnU-Net will make.

    Args:
        file: `splits_final.json`; it need not exist.
        case_ids: All cases.

    Returns:
        The folds, if any are possible, and the problems.

    Raises:
        UMambaError: If the file exists and is not a JSON list.
    """
    if file is None or not file.is_file():
        return _default_splits(case_ids)
    content = load_json_list(file)
    if len(content) > _MOST_FOLDS:
        text = f"it has {len(content)} folds, more than {_MOST_FOLDS}"
        return None, [Problem("", file, text, _FIX)]
    folds = tuple(fold for fold in map(_parse_fold, content) if fold)
    if len(folds) < max(len(content), 1):
        text = "it is not a list of folds with the cases for train and val"
        return None, [Problem("", file, text, "delete it: nnU-Net makes a new one")]
    return Splits(folds, file), _check_file(file, folds, set(case_ids))


def ensure_splits(folder: Path, data: Path) -> list[dict[str, list[str]]]:
    """Read the splits, or write those that nnU-Net makes when it trains for the first time.

    Args:
        folder: The data set's preprocessed folder.
        data: The preprocessed cases of a configuration.

    Returns:
        The cases of each fold, by `train` and `val`.

    Raises:
        DatasetError: If the file holds no splits, or there are too few cases.
    """
    file = folder / "splits_final.json"
    cases = sorted(path.stem for path in data.glob("*.pkl"))
    splits, problems = read_splits(file if file.is_file() else None, cases)
    if splits is None:
        msg = f"{folder}: {problems[0].problem}; {problems[0].fix}"
        raise DatasetError(msg)
    content = [{"train": sorted(train), "val": sorted(val)} for train, val in splits.folds]
    if splits.file is None and not write_new(file, json.dumps(content, indent=4) + "\n"):
        return ensure_splits(folder, data)  # another program has written them in the meantime
    return content


def require_splits(folder: Path, case_ids: Collection[str]) -> None:
    """Refuse folds that no training could use; there need not be any yet.

    Args:
        folder: The data set's preprocessed folder.
        case_ids: All cases.

    Raises:
        DatasetError: If `splits_final.json` names cases that do not exist, or holds no folds.
    """
    file = folder / "splits_final.json"
    if not file.is_file():
        return
    splits, problems = read_splits(file, case_ids)
    if splits is not None:
        problems = _check_names(file, splits.folds, set(case_ids))
    if problems:
        raise DatasetProblemsError(problems, "nothing was trained")


def check_splits(
    splits: Splits, facts: Sequence[CaseFacts], rules: LabelRules | None
) -> list[Problem]:
    """Find problems that make the folds' validation wrong, or their training incomplete.

    Args:
        splits: The folds.
        facts: All cases.
        rules: The meaning of the values in the masks, if that is known.

    Returns:
        An error for each pair of cases with the same voxels on both sides of a fold; warnings for
        labels that no case in a fold's training part has.
    """
    problems = _check_leaks(splits, facts)
    return problems + (_check_labels(splits, facts, rules.labels(facts)) if rules else [])


def _default_splits(case_ids: Collection[str]) -> tuple[Splits | None, list[Problem]]:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    if len(case_ids) < _N_FOLDS:
        text = f"{len(case_ids)} cases cannot be split into {_N_FOLDS} folds"
        fix = "add cases, train fold `all`, or write fewer folds into splits_final.json"
        return None, [Problem("", None, text, fix)]
    folds = [_parse_fold(fold) for fold in generate_crossval_split(sorted(case_ids))]
    return Splits(tuple(fold for fold in folds if fold), None), []


def _parse_fold(fold: Any) -> Fold | None:
    parts: list[Any] = [None]
    if isinstance(fold, dict):
        parts = [fold.get(part) for part in ("train", "val")]
    if not all(isinstance(part, list) for part in parts):
        return None
    train, val = (frozenset(map(str, part)) for part in parts)
    return train, val


def _check_file(file: Path, folds: Sequence[Fold], known: set[str]) -> list[Problem]:
    problems = _check_names(file, folds, known)
    for number, (train, val) in enumerate(folds):
        if train & val:
            text = f"fold {number} trains on cases of its own validation: {_some(train & val)}"
            problems.append(Problem("", file, text, _FIX))
    unused = known - {case for train, val in folds for case in train | val}
    if unused:
        text = f"no fold uses {_some(unused)}"
        problems.append(Problem("", file, text, "add them unless that is intended", "warning"))
    return problems


def _check_names(file: Path, folds: Sequence[Fold], known: set[str]) -> list[Problem]:
    """Find problems with which no training could run."""
    problems = []
    for number, fold in enumerate(folds):
        for part, cases in zip(("train", "val"), fold, strict=True):
            strangers = cases - known
            stems = {split_ending(Path(case))[0] for case in strangers} & known
            if not cases:
                text = f"fold {number} has no cases in {part}"
                problems.append(Problem("", file, text, _FIX))
            if strangers:
                text = f"fold {number} names cases in {part} that do not exist: {_some(strangers)}"
                fix = f"write {_some(stems)} without the ending, or {_FIX}" if stems else _FIX
                problems.append(Problem("", file, text, fix))
    return problems


def _check_leaks(splits: Splits, facts: Sequence[CaseFacts]) -> list[Problem]:
    problems = []
    for group in duplicates(facts):
        by_name = {fact.case.case_id: fact for fact in group}
        for number, (train, val) in enumerate(splits.folds):
            trained = [case for case in by_name if case in train]
            for case in (case for case in by_name if case in val and trained):
                text = f"fold {number} validates with it and trains with the same voxels in "
                text += trained[0]
                fix = "remove one of the two, or put both in the same part of every fold"
                path = by_name[case].images[0].path
                problems.append(Problem(case, path, text + _origin(splits), fix))
    return problems


def _origin(splits: Splits) -> str:
    return "" if splits.file else " (in the split that nnU-Net will make)"


def _check_labels(
    splits: Splits, facts: Sequence[CaseFacts], labels: Mapping[str, int]
) -> list[Problem]:
    everywhere = {value for fact in facts for value in fact.values}
    labels = {name: value for name, value in labels.items() if value in everywhere}
    problems = []
    for number, (train, _) in enumerate(splits.folds):
        trained = [fact for fact in facts if fact.case.case_id in train]
        if not all(fact.has_values for fact in trained):
            continue  # an unreadable mask may hold what the others lack
        seen = {value for fact in trained for value in fact.values}
        for name, value in labels.items():
            if value not in seen:
                text = f"fold {number} trains without any voxel of label {name}={value}"
                fix = "write folds in which every training part has it into splits_final.json"
                problems.append(Problem("", splits.file, text + _origin(splits), fix, "warning"))
    return problems


def _some(cases: "frozenset[str] | set[str]") -> str:
    shown = sorted(cases)[:_SHOWN]
    more = f" and {len(cases) - _SHOWN} more" if len(cases) > _SHOWN else ""
    return ", ".join(shown) + more
