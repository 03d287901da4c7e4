"""The folder of a ranking: written whole, or not at all; and read again."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from umamba.comparison.ranking.page import ranking_page
from umamba.comparison.ranking.ranking import task_scores
from umamba.comparison.ranking.ranking_tables import decimals_of, model_rows, order_of, pair_rows
from umamba.comparison.ranking.summary import summarize_ranking
from umamba.comparison.ranking_records import Ranking, TaskRanking
from umamba.comparison.report.figures import draw_differences, draw_ranks, save_figures
from umamba.comparison.report.plotting import model_styles
from umamba.comparison.report.significance_map import draw_significance_map
from umamba.comparison.results import from_plain, write_record
from umamba.comparison.statistics.scores import ScoreTable
from umamba.comparison.statistics.verdicts import Unit
from umamba.errors import ComparisonError, UMambaError
from umamba.evaluation.summary import as_csv
from umamba.reporting.page.writing import write_page
from umamba.system.atomic_files import write_whole
from umamba.system.json_files import load_json
from umamba.system.publishing import publication

__all__ = ["read_ranking", "write_ranking"]

_SCHEMA = "umamba-ranking"
_VERSION = 1
_RESULTS = "results.json"
_FILES = (_RESULTS, "summary.md", "report.html", "models.csv", "pairs.csv")
_FIGURES = "figures"
_FIGURE = re.compile(r"(\d+_)?(paired_differences|significance_map|rank_stability)\.(png|svg)")


def write_ranking(ranking: Ranking, output: Path) -> None:
    """Write `summary.md`, `report.html`, `results.json`, tables and figures, as a new folder.

    Args:
        ranking: The ranking.
        output: The folder; that of an earlier ranking is replaced.

    Raises:
        UMambaError: If the folder holds anything else, or cannot be written.
    """
    with publication(output, "give another output", overwrite=True) as work:
        if work.replaces:
            _check_replaceable(output)
        work.new.mkdir()
        figures = {}
        for number, task in enumerate(ranking.tasks, start=1):
            begin = f"{number}_" if len(ranking.tasks) > 1 else ""
            drawn = _figures(ranking, task)
            named = {f"{begin}{name}": draw for name, draw in drawn.items()}
            figures[task.task] = save_figures(named, work.new / _FIGURES)
        write_record(work.new / _RESULTS, ranking, _SCHEMA, _VERSION)
        for name, rows in (("models", model_rows(ranking)), ("pairs", pair_rows(ranking))):
            write_whole(work.new / f"{name}.csv", as_csv(list(rows[0]), rows))
        write_whole(work.new / "summary.md", summarize_ranking(ranking, figures))
        write_page(ranking_page(ranking, {}), work.new / "report.html")
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
    if (schema, version) != (_SCHEMA, _VERSION):
        msg = (
            f"{file} is of schema {schema!r}, version {version!r}; this umamba reads {_SCHEMA!r}, "
            f"version {_VERSION}: rank the scores again"
        )
        raise ComparisonError(msg)
    try:
        return from_plain(content, Ranking)
    except ValueError as error:
        msg = f"{file} is damaged ({error}); rank the scores again"
        raise ComparisonError(msg) from None


def _check_replaceable(output: Path) -> None:
    """Check that a folder is empty, or holds nothing but what an earlier call wrote.

    Raises:
        ComparisonError: If it holds anything else, or is not a folder.
    """
    if not _is_ranking(output):
        msg = f"{output} exists already; it is not the folder of a ranking; give another output"
        raise ComparisonError(msg)
    foreign = next((path for path in sorted(output.rglob("*")) if not _is_own(path, output)), None)
    if foreign is not None:
        msg = (
            f"{output} exists already, with {foreign.relative_to(output)}, which no ranking wrote "
            "and which would be lost; move it away, or give another output"
        )
        raise ComparisonError(msg)


def _is_ranking(output: Path) -> bool:
    if not output.is_dir():
        return False
    try:
        return not any(output.iterdir()) or load_json(output / _RESULTS).get("schema") == _SCHEMA
    except (OSError, UMambaError):
        return False


def _is_own(path: Path, output: Path) -> bool:
    """Return whether a file or folder of the output is one that rankings write."""
    if path.is_symlink():
        return False
    name = path.relative_to(output).as_posix()
    if path.is_dir():
        return name == _FIGURES
    folder, _, figure = name.partition("/")
    return name in _FILES or (folder == _FIGURES and _FIGURE.fullmatch(figure) is not None)


def _figures(ranking: Ranking, task: TaskRanking) -> dict[str, Callable[[], Any]]:
    settings, order = ranking.settings, order_of(ranking, task)
    unit, decimals = Unit(settings.unit, settings.factor), decimals_of(task, settings.factor)
    table = ScoreTable.from_scores(task_scores(ranking, task.task))
    styles, found = model_styles(ranking.models), task.statistics
    return {
        "paired_differences": partial(
            draw_differences, found.comparisons, table, styles, unit, decimals
        ),
        "significance_map": partial(draw_significance_map, task.pairs, order, unit, decimals),
        "rank_stability": partial(draw_ranks, found.rank_stability, styles, settings.metric),
    }
