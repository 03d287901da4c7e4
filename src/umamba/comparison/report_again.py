"""Reports of finished comparisons and rankings, written again from their results alone."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from umamba.comparison.ranking.ranking import rank_again
from umamba.comparison.ranking.writing import SCHEMA, read_ranking, write_ranking
from umamba.comparison.ranking_records import Ranking
from umamba.comparison.report.requests import ReportRequest
from umamba.comparison.report.writing import write_report
from umamba.comparison.results import STATISTICS_VERSION, Results, read_results
from umamba.comparison.runs.building import write_results
from umamba.comparison.runs.case_tables import check_cases, check_test_names, read_case_table
from umamba.comparison.statistics.analysis import analyse
from umamba.errors import UMambaError
from umamba.nnunet.paths import Paths
from umamba.system.json_files import load_json
from umamba.system.path_names import check_writable
from umamba.system.run_lock import only_process

__all__ = ["report_again"]

_RESULTS = "results.json"


def report_again(request: ReportRequest, paths: Paths) -> tuple[Path, Results | Ranking]:
    """Write the report of a comparison or a ranking again.

    Args:
        request: The results, and what replaces the settings of their statistics.
        paths: nnU-Net's folders, for the images of cases.

    Returns:
        The folder, and what was found.

    Raises:
        UMambaError: If the results cannot be used, a table does not fit, or a file cannot be
            written.
    """
    given = Path(request.results).expanduser()
    if not given.exists():
        msg = f"{given} does not exist; give a folder of `umamba compare` or `umamba rank`"
        raise UMambaError(msg)
    output = given if given.is_dir() else given.parent
    file = output / _RESULTS if given.is_dir() else given
    if not file.exists():
        msg = f"{output} has no {_RESULTS}; give a folder of `umamba compare` or `umamba rank`"
        raise UMambaError(msg)
    if file.name != _RESULTS:
        msg = f"{file} is not named {_RESULTS}; give a folder of `umamba compare` or `umamba rank`"
        raise UMambaError(msg)
    check_writable(output, "the folder of the results")
    if load_json(file).get("schema") == SCHEMA:
        return output, _rank_again(request, output)
    with only_process(output, "wait until it has finished", inside=True):
        return output, _compare_again(request, output, paths)


def _compare_again(request: ReportRequest, output: Path, paths: Paths) -> Results:
    results = read_results(output)
    trained, test = {row.case for row in results.cases}, results.test
    tested = {row.case for row in (*test.cases, *test.ensemble_cases)} if test else set()
    changed = _changed(request, trained | tested)
    if test is not None:
        for name in sorted(changed.keys() & {"clusters", "groups"}):
            check_test_names(f"--{name}", changed[name], trained, tested, test.in_training)
    analysis = replace(results.settings.analysis, **changed)
    is_computed_again = changed or results.statistics_version != STATISTICS_VERSION
    if is_computed_again:
        settings = replace(results.settings, analysis=analysis)
        results = analyse(replace(results, settings=settings))
    if request.credit is not None:
        results = replace(results, dataset=replace(results.dataset, credit=request.credit))
    if is_computed_again or request.credit is not None:
        manifest = output / "manifest.json"
        write_results(output, results, load_json(manifest) if manifest.is_file() else {})
    write_report(output, paths, results)
    return results


def _rank_again(request: ReportRequest, output: Path) -> Ranking:
    ranking = read_ranking(output)
    changed = _changed(request, {row.case for row in ranking.scores})
    if changed or ranking.lacks_scores_of_empty:
        ranking = rank_again(ranking, replace(ranking.settings, **changed))
    if request.credit is not None:
        ranking = replace(ranking, credit=request.credit)
    write_ranking(ranking, output, "move it away")
    return ranking


def _changed(request: ReportRequest, cases: Collection[str]) -> Mapping[str, Any]:
    """Return the settings of the statistics that the request gives."""
    changed: dict[str, Any] = {} if request.margin is None else {"margin": request.margin}
    for name, file in (("clusters", request.clusters), ("groups", request.groups)):
        if file is not None:
            table = read_case_table(Path(file), name.removesuffix("s"))
            check_cases(f"--{name}", table, cases, {*cases, *table})
            changed[name] = table
    return changed
