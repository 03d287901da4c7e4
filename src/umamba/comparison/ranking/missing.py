"""Scores that a table lacks: found, and treated as the user says."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from umamba.comparison.ranking_records import ScoreRow
from umamba.errors import ComparisonError

__all__ = ["complete"]

_MOST_NAMED = 3


def complete(
    rows: Sequence[ScoreRow], treatment: str | float, *, higher_is_better: bool
) -> tuple[list[ScoreRow], dict[str, int]]:
    """Treat missing scores, as the argument `na.treat` of challengeR does.

    A score is missing if its cell is empty, or if a model has none for a case or label that another
    model has: that of an empty prediction, too, if the metric is undefined then, as otherwise a
    model gains by predicting nothing. It is not if the reference is empty, so that there is nothing
    to measure.

    Args:
        rows: The scores of one task.
        treatment: `error`, `omit` (challengeR's `na.rm`, but of each two models only the cases that
            both have are compared, and models without any score are left out), `worst` (the worst
            score of the task) or a number.
        higher_is_better: Whether higher scores are better.

    Returns:
        The scores, and the number of missing ones by model.

    Raises:
        ComparisonError: If scores are missing and that is an error, if there is none at all, or if
            two models have no label in common.
    """
    _check_labels(rows)
    scored = {row.model for row in rows if math.isfinite(row.value)}
    if not scored:
        msg = f"{_where(rows[0])}there is no score at all; check the column"
        raise ComparisonError(msg)
    if treatment == "omit":
        rows = [row for row in rows if row.model in scored]
    missing = list(_missing(rows))
    if not missing:
        return list(rows), {}
    known = [row.value for row in rows if math.isfinite(row.value)]
    if treatment == "error":
        raise ComparisonError(_named(missing))
    value = math.nan
    if treatment == "worst":
        value = min(known) if higher_is_better else max(known)
    elif isinstance(treatment, float):
        value = treatment
    places = {(row.model, row.case, row.label, row.seed) for row in missing}
    kept = [row for row in rows if (row.model, row.case, row.label, row.seed) not in places]
    filled = [replace(row, value=value) for row in missing]
    return kept + filled, dict(Counter(row.model for row in missing))


def _check_labels(rows: Sequence[ScoreRow]) -> None:
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row.model, set()).add(row.label)
    for (one, its), (other, others) in combinations(labels.items(), 2):
        if its.isdisjoint(others):
            msg = (
                f"{_where(rows[0])}{one} has scores of {_labels(its)}, {other} of "
                f"{_labels(others)}; give both the same labels"
            )
            raise ComparisonError(msg)


def _labels(labels: set[str]) -> str:
    named = sorted(labels - {""})
    shown = ", ".join(named[:_MOST_NAMED]) + (", ..." if len(named) > _MOST_NAMED else "")
    return f"label {shown}" if named else "whole cases"


def _where(row: ScoreRow) -> str:
    return f"task {row.task}: " if row.task else ""


def _missing(rows: Sequence[ScoreRow]) -> Iterator[ScoreRow]:
    """Yield the scores that are missing, without a value."""
    there = {(row.model, row.case, row.label, row.seed): row for row in rows}
    labels: dict[str, dict[str, None]] = {}
    seeds: dict[tuple[str, int], dict[int | None, None]] = {}
    folds: dict[str, int] = {}
    for row in rows:
        labels.setdefault(row.case, {})[row.label] = None
        seeds.setdefault((row.model, row.fold), {})[row.seed] = None
        folds.setdefault(row.case, row.fold)
    for model in dict.fromkeys(row.model for row in rows):
        every = dict.fromkeys(
            seed for (name, _), of in seeds.items() if name == model for seed in of
        )
        for case, fold in folds.items():
            for seed in seeds.get((model, fold), every):
                for label in labels[case]:
                    found = there.get((model, case, label, seed))
                    if found is None:
                        yield ScoreRow(model, case, math.nan, rows[0].task, label, fold, seed)
                    elif math.isnan(found.value) and not found.is_undefined:
                        yield found


def _named(missing: Sequence[ScoreRow]) -> str:
    named = [
        f"{row.model} in {row.case}" + (f", {row.label}" if row.label else "")
        for row in missing[:_MOST_NAMED]
    ]
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    task = f" in task {missing[0].task}" if missing[0].task else ""
    many = "1 score is" if len(missing) == 1 else f"{len(missing)} scores are"
    n_empty = sum(row.empty == "prediction" for row in missing)
    because = f" ({n_empty} of an empty prediction)" if n_empty else ""
    return (
        f"{many} missing{task}{because}: {'; '.join(named)}{more}; complete them, or give missing "
        "as omit, worst or a number"
    )
