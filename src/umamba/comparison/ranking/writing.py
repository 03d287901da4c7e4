"""The folder of a ranking: written whole, or not at all; and read again."""

import re
from dataclasses import replace
from pathlib import Path

from umamba.comparison.ranking.charts import FIGURES, ranking_charts
from umamba.comparison.ranking.page import ranking_page
from umamba.comparison.ranking.ranking_tables import model_rows, pair_rows
from umamba.comparison.ranking.summary import summarize_ranking
from umamba.comparison.ranking_records import Ranking
from umamba.comparison.results import from_plain, write_record
from umamba.errors import ComparisonError, UMambaError
from umamba.evaluation.summary import as_csv
from umamba.reporting.charts import save_chart
from umamba.reporting.page.writing import FILES_FOLDER, write_page
from umamba.system.atomic_files import write_whole
from umamba.system.json_files import load_json
from umamba.system.publishing import publication

__all__ = ["SCHEMA", "read_ranking", "write_ranking"]

SCHEMA = "umamba-ranking"
_VERSION = 1
_RESULTS = "results.json"
_FILES = (_RESULTS, "summary.md", "report.html", "models.csv", "pairs.csv")
_FIGURES = "figures"
_PAGE_FILES = f"report{FILES_FOLDER}"  # earlier versions left it, empty, beside large pages
_FIGURE = re.compile(rf"(\d+_)?({'|'.join(FIGURES)})\.(png|svg)")


def write_ranking(
    ranking: Ranking, output: Path, remedy: str = "move it away, or give another output"
) -> None:
    """Write `summary.md`, `report.html`, `results.json`, tables and figures, as a new folder.

    Args:
        ranking: The ranking.
        output: The folder; that of an earlier ranking is replaced.
        remedy: What the user can do if the folder holds anything else.

    Raises:
        UMambaError: If the folder holds anything else, or cannot be written.
    """
    with publication(output, remedy, overwrite=True) as work:
        if work.replaces:
            _check_replaceable(output, remedy)
        work.new.mkdir()
        charts = ranking_charts(ranking)
        (work.new / _FIGURES).mkdir()
        for of_task in charts.values():
            for chart in of_task.values():
                save_chart(chart, work.new / _FIGURES)
        write_record(work.new / _RESULTS, ranking, SCHEMA, _VERSION)
        for name, rows in (("models", model_rows(ranking)), ("pairs", pair_rows(ranking))):
            write_whole(work.new / f"{name}.csv", as_csv(list(rows[0]), rows))
        write_whole(work.new / "summary.md", summarize_ranking(ranking, charts))
        of_tasks = {task: tuple(of_task.values()) for task, of_task in charts.items()}
        write_page(ranking_page(ranking, of_tasks), work.new / "report.html")
        work.publish()


def read_ranking(path: Path) -> Ranking:
    """Read the results of a ranking.

    Args:
        path: `results.json`, or the folder that contains it.

    Raises:
        UMambaError: If the file is missing, damaged, or of a later version.
    """
    file = path / _RESULTS if path.is_dir() else path
    content = load_json(file)
    schema, version = content.get("schema"), content.get("schema_version")
    if (schema, version) != (SCHEMA, _VERSION):
        msg = (
            f"{file} is of schema {schema!r}, version {version!r}; this umamba reads {SCHEMA!r}, "
            f"version {_VERSION}: rank the scores again"
        )
        raise ComparisonError(msg)
    try:
        ranking = from_plain(content, Ranking)
    except ValueError as error:
        msg = f"{file} is damaged ({error}); rank the scores again"
        raise ComparisonError(msg) from None
    if ranking.settings.missing == "error" and ranking.lacks_scores_of_empty:
        return replace(ranking, settings=replace(ranking.settings, missing="omit"))
    return ranking


def _check_replaceable(output: Path, remedy: str) -> None:
    """Check that a folder is empty, or holds nothing but what an earlier call wrote.

    Raises:
        ComparisonError: If it holds anything else, or is not a folder.
    """
    if not _is_ranking(output):
        msg = f"{output} exists already; it is not the folder of a ranking; {remedy}"
        raise ComparisonError(msg)
    foreign = next((path for path in sorted(output.rglob("*")) if not _is_own(path, output)), None)
    if foreign is not None:
        msg = (
            f"{output} exists already, with {foreign.relative_to(output)}, which no ranking wrote "
            f"and which would be lost; {remedy}"
        )
        raise ComparisonError(msg)


def _is_ranking(output: Path) -> bool:
    if not output.is_dir():
        return False
    try:
        return not any(output.iterdir()) or load_json(output / _RESULTS).get("schema") == SCHEMA
    except (OSError, UMambaError):
        return False


def _is_own(path: Path, output: Path) -> bool:
    """Return whether a file or folder of the output is one that rankings write."""
    if path.is_symlink():
        return False
    name = path.relative_to(output).as_posix()
    if path.is_dir():
        return name in (_FIGURES, _PAGE_FILES)
    folder, _, figure = name.partition("/")
    return name in _FILES or (folder == _FIGURES and _FIGURE.fullmatch(figure) is not None)
