"""Recognise a table of scores by its columns: wide, long, or of one model."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from umamba.comparison.ranking.score_tables import WANTED, ScoreTable
from umamba.comparison.ranking_records import ScoreRow
from umamba.errors import ComparisonError, quoted, unknown_name
from umamba.evaluation.metrics import METRICS
from umamba.system.numerals import whole_number

__all__ = ["Source", "is_missing", "number_in", "one_each", "recognise"]

_CASE, _EMPTY = ("case", "case_id"), ("empty",)
_MODEL = ("model", "algorithm", "alg_name")  # alg_name in the examples of challengeR
_OF_CASES = ("group", "cluster")
_NAMED = ("task", "label")
_NUMBERED = ("fold", "seed")
# Columns of `umamba evaluate` and `umamba compare` that are not scores.
_OTHERS = ("surface", "reference_volume", "prediction_volume")
_SCORES = ("score", "value", "dice")
_MISSING = ("", "nan", "na", "n/a", "null", "none")
_LEAVE = "leave a missing score empty, or a column that holds no scores out"
_ZEROS = re.compile(r"\.0+$")  # pandas writes whole numbers so if others are missing
_SOME_MASK = ("reference", "prediction", "both")

_Row = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Source:
    """Scores of one file.

    Attributes:
        form: A phrase on what the file was taken for.
        metric: Name of the scores; `None` if the file does not say.
        rows: Place in the file, for messages, and the score there.
        of_cases: Cluster and group of each case, by the name of the column.
        remedy: How to tell two scores of a case apart, for messages.
        has_folds: Whether it tells the fold of a case.
    """

    form: str
    metric: str | None
    rows: tuple[tuple[str, ScoreRow], ...]
    of_cases: Mapping[str, Mapping[str, str]]
    remedy: str = "tell trainings apart by a column seed"
    has_folds: bool = False


def recognise(table: ScoreTable, model: str | None, metric: str | None) -> Source:
    """Take the scores from a table.

    Args:
        table: The table.
        model: Name of the only model in it; `None` if the table names its models.
        metric: Column of the scores, or their name in a wide table; `None` is the usual one.

    Raises:
        ComparisonError: If it is neither form, or a cell does not hold what its column should.
    """
    roles = _roles(table)
    if "model" in roles and model is not None:
        msg = f"{table.file} names its models in column {roles['model']}; leave out {model}="
        raise ComparisonError(msg)
    others = [c for c in table.columns if c not in roles.values() and c.lower() not in _OTHERS]
    if "model" in roles or model is not None:
        column = _score_column(table, others, metric)
        form = "long: a row per case and model" if model is None else "the scores of one model"
        rows = tuple(_long(table, roles, column, model))
        of_cases = _of_all_cases(table, roles, rows)
        remedy = _remedy([other for other in others if other != column])
        return Source(form, column, rows, of_cases, remedy, "fold" in roles)
    _check_wide(table, roles, others)
    form = f"wide: a row per case, with {len(others)} models"
    rows = tuple(_wide(table, roles, others))
    of_cases = _of_all_cases(table, roles, rows)
    return Source(form, metric, rows, of_cases, has_folds="fold" in roles)


def _remedy(unused: list[str]) -> str:
    """Return how to tell scores of a case apart, by the columns that were not used."""
    ignored = f" (not used: {', '.join(unused)})" if unused else ""
    one_each = ", or keep the rows of one metric only" if unused else ""
    return f"tell trainings apart by a column seed{ignored}{one_each}"


def _roles(table: ScoreTable) -> dict[str, str]:
    """Return the columns by what they are."""
    by_name = {column.lower(): column for column in table.columns}
    known: dict[str, tuple[str, ...]] = {"case": _CASE, "model": _MODEL, "empty": _EMPTY}
    known |= {name: (name,) for name in (*_OF_CASES, *_NAMED, *_NUMBERED)}
    roles = {}
    for role, names in known.items():
        found = [by_name[name] for name in names if name in by_name]
        if len(found) > 1:
            msg = f"{table.file} has the columns {' and '.join(found)}; leave one of them out"
            raise ComparisonError(msg)
        if found:
            roles[role] = found[0]
    if "case" not in roles:
        shown = quoted(",".join(table.columns))
        msg = f"{table.file} has no column case: its columns are {shown}; give {WANTED}"
        raise ComparisonError(msg)
    return roles


def _score_column(table: ScoreTable, others: list[str], metric: str | None) -> str:
    if metric is not None:
        found = [column for column in others if column.lower() == metric.lower()]
        if not found:
            raise ComparisonError(unknown_name(f"{table.file}: column", metric, others))
        return found[0]
    usual = [c for name in _SCORES for c in others if c.lower() == name]
    if usual or len(others) == 1:
        return [*usual, *others][0]
    names = ", ".join(others) or "none"
    msg = f"{table.file} does not say which column holds the scores ({names}); give --metric"
    raise ComparisonError(msg)


def _check_wide(table: ScoreTable, roles: Mapping[str, str], others: list[str]) -> None:
    if others and all(column.lower() in METRICS for column in others):
        msg = (
            f"{table.file} holds metrics ({', '.join(others[:3])}, ...) of a model that it does "
            "not name; give it as NAME=FILE, or add a column model"
        )
        raise ComparisonError(msg)
    if not others:
        msg = (
            f"{table.file} has no column of scores besides {', '.join(roles.values())}; give "
            f"{WANTED}"
        )
        raise ComparisonError(msg)


def _long(
    table: ScoreTable, roles: Mapping[str, str], column: str, model: str | None
) -> Iterator[tuple[str, ScoreRow]]:
    for row in table.rows:
        name = model or _name(table, row, roles["model"])
        yield row[0], _score(table, roles, row, name, column)


def _wide(
    table: ScoreTable, roles: Mapping[str, str], others: list[str]
) -> Iterator[tuple[str, ScoreRow]]:
    for row in table.rows:
        for column in others:
            yield row[0], _score(table, roles, row, column, column)


def _score(
    table: ScoreTable, roles: Mapping[str, str], row: _Row, model: str, column: str
) -> ScoreRow:
    place, cells = row
    value = number_in(f"{table.file}, {place}: {column}", cells.get(column))
    empty = cells.get(roles["empty"]) if "empty" in roles else None
    task, label = (_name(table, row, roles[r]) if r in roles else "" for r in _NAMED)
    fold, seed = (_number(table, row, roles[r]) if r in roles else None for r in _NUMBERED)
    return ScoreRow(
        model=model,
        case=_name(table, row, roles["case"]),
        value=value,
        task=task,
        label=label,
        fold=fold or 0,
        seed=seed,
        empty=cast("Any", empty if empty in _SOME_MASK else None),
    )


def _name(table: ScoreTable, row: _Row, column: str) -> str:
    cell = row[1].get(column)
    if isinstance(cell, bool | list | dict) or is_missing(cell):
        msg = f"{table.file}, {row[0]}: {column} is {quoted(cell)}, which is not a name; name it"
        raise ComparisonError(msg)
    return str(cell).strip()


def _number(table: ScoreTable, row: _Row, column: str) -> int | None:
    cell = row[1].get(column)
    if is_missing(cell):
        return None
    text = str(cell).strip()
    number = None if isinstance(cell, bool) else whole_number(_ZEROS.sub("", text))
    if number is None:
        msg = (
            f"{table.file}, {row[0]}: {column} is {quoted(cell)}, which is not a whole number; "
            "count from 0 on"
        )
        raise ComparisonError(msg)
    return number


def is_missing(cell: Any) -> bool:
    """Return whether a cell stands for something that is missing."""
    if isinstance(cell, float):
        return math.isnan(cell)
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in _MISSING)


def number_in(place: str, cell: Any) -> float:
    """Return the number in a cell; nan if it is missing or infinite, as undefined distances are.

    Raises:
        ComparisonError: If the cell holds something else; the message begins with its place.
    """
    if is_missing(cell):
        return math.nan
    value = _parsed(cell)
    if value is None:
        hint = "write decimals with a point" if "," in str(cell) else _LEAVE
        msg = f"{place} is {quoted(cell)}, which is not a number; {hint}"
        raise ComparisonError(msg)
    return value if math.isfinite(value) else math.nan


def _parsed(cell: Any) -> float | None:
    if isinstance(cell, bool | list | dict) or "_" in str(cell):  # Python's numbers may have _
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def one_each(rows: Iterable[tuple[str, ScoreRow]]) -> str:
    """Return what to do if a case is said to be of two clusters or groups, for messages."""
    several = len({row.task for _, row in rows}) > 1
    return "give it one" + (
        ", or, as a case is the same in every task, give cases of different tasks different names"
        if several
        else ""
    )


def _of_all_cases(
    table: ScoreTable, roles: Mapping[str, str], rows: Iterable[tuple[str, ScoreRow]]
) -> dict[str, dict[str, str]]:
    return {name: _of_cases(table, roles, name, rows) for name in _OF_CASES if name in roles}


def _of_cases(
    table: ScoreTable,
    roles: Mapping[str, str],
    role: str,
    rows: Iterable[tuple[str, ScoreRow]],
) -> dict[str, str]:
    """Return the cluster or group of each case."""
    found: dict[str, str] = {}
    for row in table.rows:
        case, name = _name(table, row, roles["case"]), _name(table, row, roles[role])
        if found.setdefault(case, name) != name:
            msg = (
                f"{table.file}, {row[0]}: case {case} is of {role} {found[case]} elsewhere, and of "
                f"{name} here; {one_each(rows)}"
            )
            raise ComparisonError(msg)
    return found
