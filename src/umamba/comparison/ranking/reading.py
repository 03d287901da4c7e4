"""Scores from files of any kind that people have, put together."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from umamba.comparison.ranking.nnunet_summaries import is_summary, read_summary, summaries_in
from umamba.comparison.ranking.recognition import Source, one_each, recognise
from umamba.comparison.ranking.score_tables import WANTED, read_table
from umamba.comparison.ranking_records import ScoreRow
from umamba.errors import ComparisonError
from umamba.system.json_files import load_json
from umamba.system.path_names import no_plain_file

__all__ = ["Scores", "read_scores"]

_Key = tuple[str, str, int | None, str, str]


@dataclass(frozen=True)
class Scores:
    """The scores of all files.

    Attributes:
        title: Names of the files.
        recognised: A sentence on what they were taken for.
        metric: Name of the scores.
        rows: The scores.
        of_cases: Cluster and group of each case, by the name of the column.
    """

    title: str
    recognised: str
    metric: str
    rows: tuple[ScoreRow, ...]
    of_cases: Mapping[str, Mapping[str, str]]


def read_scores(sources: Sequence[str], metric: str | None) -> Scores:
    """Read all scores.

    Args:
        sources: Files and folders, each as PATH or NAME=PATH.
        metric: Name of the scores; `None` is the usual one.

    Raises:
        UMambaError: If a file cannot be read, or they contradict each other.
    """
    found: list[tuple[Path, Source, bool]] = []
    for source in sources:
        name, path = _split(source)
        files = summaries_in(path) if path.is_dir() else [path]
        found += [(file, _read(file, name, metric), name is not None) for file in files]
    told = [source.metric for _, source, _ in found if source.metric is not None]
    names = {name.lower(): name for name in reversed(told)}  # as the first file spells them
    if len(names) > 1:
        shown = ", ".join(reversed(names.values()))
        msg = f"the files hold different scores ({shown}); give --metric"
        raise ComparisonError(msg)
    forms = Counter(source.form for _, source, _ in found)
    said = [form if n == 1 else f"{form} ({n} files)" for form, n in forms.items()]
    return Scores(
        title=", ".join(dict.fromkeys(_split(source)[1].name or source for source in sources)),
        recognised="; ".join(said),
        metric=told[0] if told else "score",
        rows=tuple(_joined(_with_folds(found))),
        of_cases=_of_cases(found),
    )


def _split(source: str) -> tuple[str | None, Path]:
    name, is_named, path = source.partition("=")
    if not is_named or Path(source).expanduser().exists():
        return None, Path(source).expanduser()
    if not name.strip() or not path.strip():
        msg = (
            f"{source!r} is not NAME=FILE, as one of the two is empty; name both, or the file only"
        )
        raise ComparisonError(msg)
    return name.strip(), Path(path.strip()).expanduser()


def _read(file: Path, name: str | None, metric: str | None) -> Source:
    if not file.exists():
        msg = f"{file} does not exist; give {WANTED}, or nnU-Net's summary.json"
        raise ComparisonError(msg)
    if file.suffix.lower() == ".json" and not no_plain_file(file) and _is_object(file):
        content = load_json(file)
        if is_summary(content):
            return read_summary(file, content, name, metric)
        msg = f"{file} is neither a list of rows nor nnU-Net's summary.json; give {WANTED}"
        raise ComparisonError(msg)
    return recognise(read_table(file), name, metric)


def _is_object(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(64).lstrip()[:1] == b"{"


def _with_folds(found: Sequence[tuple[Path, Source, bool]]) -> list[tuple[Path, Source, bool]]:
    """Return the sources; those that tell no folds have those of the same cases in others."""
    folds = {
        (row.task, row.case): row.fold
        for _, source, _ in found
        if source.has_folds
        for _, row in source.rows
    }

    def completed(source: Source) -> Source:
        rows = (
            (place, replace(row, fold=folds.get((row.task, row.case), row.fold)))
            for place, row in source.rows
        )
        return source if source.has_folds else replace(source, rows=tuple(rows))

    return [(file, completed(source), is_named) for file, source, is_named in found]


def _joined(found: Sequence[tuple[Path, Source, bool]]) -> Iterator[ScoreRow]:
    """Yield all scores; files of one name are trainings, which get numbers if there are several."""
    given = Counter(name for _, source, is_named in found if is_named for name in _models(source))
    seen: dict[_Key, str] = {}
    for file, source, is_named in found:
        rows = source.rows
        if is_named and any(given[name] > 1 for name in _models(source)):
            rows = _numbered(rows, seen)
        for place, row in rows:
            where = f"{file}, {place}"
            if (before := seen.get(_key(row))) is not None:
                msg = (
                    f"{where}: case {row.case} of {row.model} has a score in {before} already; "
                    f"give each once, or {source.remedy}"
                )
                raise ComparisonError(msg)
            seen[_key(row)] = where
            yield row


def _models(source: Source) -> set[str]:
    return {row.model for _, row in source.rows}


def _numbered(
    rows: tuple[tuple[str, ScoreRow], ...], seen: Mapping[_Key, str]
) -> tuple[tuple[str, ScoreRow], ...]:
    """Number the training of which these are the scores, unless its file does."""
    if any(row.seed is not None for _, row in rows):
        return rows
    for number in count():
        numbered = tuple((place, replace(row, seed=number)) for place, row in rows)
        if not any(_key(row) in seen for _, row in numbered):
            break
    return numbered


def _key(row: ScoreRow) -> _Key:
    return row.model, row.task, row.seed, row.case, row.label


def _of_cases(found: Sequence[tuple[Path, Source, bool]]) -> dict[str, dict[str, str]]:
    """Return the cluster and group of each case from all files."""
    joined: dict[str, dict[str, str]] = {}
    for file, source, _ in found:
        for column, of_cases in source.of_cases.items():
            into = joined.setdefault(column, {})
            for case, name in of_cases.items():
                if into.setdefault(case, name) != name:
                    msg = (
                        f"{file}: case {case} is of {column} {into[case]} in an earlier file, and "
                        f"of {name} here; {one_each(source.rows)}"
                    )
                    raise ComparisonError(msg)
    return joined
