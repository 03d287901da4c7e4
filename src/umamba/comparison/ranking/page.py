"""The page of a ranking: what its summary says, to be pointed at and sorted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from umamba.comparison.charts.differences import for_each_baseline
from umamba.comparison.ranking.charts import difference_chart
from umamba.comparison.ranking.ranking import task_scores
from umamba.comparison.ranking.ranking_tables import (
    consensus_note,
    consensus_table,
    decimals_of,
    models_table,
    pairs_table,
)
from umamba.comparison.ranking.summary import (
    MOST_PAIRS,
    columns_explained,
    limits_items,
    settings_items,
)
from umamba.comparison.ranking_records import Ranking, TaskRanking
from umamba.comparison.report.page import MOST_BASELINES, without_empty
from umamba.comparison.report.page_scores import ALL_LABELS, mean_scores
from umamba.comparison.report.summary_notes import verdict_sentences
from umamba.comparison.report.summary_tables import groups_table
from umamba.comparison.statistics.models import compare_with_each
from umamba.comparison.statistics.scores import Structure
from umamba.comparison.statistics.verdicts import Unit
from umamba.reporting.charts import Chart
from umamba.reporting.page.content import (
    Block,
    ChosenCases,
    ModelTable,
    Page,
    ScoreCube,
    ScoredMetric,
    Section,
)
from umamba.reporting.tables import Note

__all__ = ["ranking_page"]

_AFTER_PAIRS = "significance_map"
_DIFFERENCES = "paired_differences"
_VERDICTS = ("verdicts", "margin_probabilities")


def ranking_page(ranking: Ranking, charts: Mapping[str, Sequence[Chart]]) -> Page:
    """Return the page of a ranking.

    Args:
        ranking: The ranking.
        charts: The charts of each task.
    """
    consensus = consensus_table(ranking) or Note(consensus_note(ranking))
    tasks = [s for t in ranking.tasks for s in _task(ranking, t, charts.get(t.task, ()))]
    limits, settings = Note(items=tuple(limits_items(ranking))), settings_items(ranking)
    sections = [
        Section("consensus", "All tasks", (consensus,)),
        *tasks,
        Section("settings", "Settings", (Note(items=tuple(settings)),)),
        Section("limits", "What this does not show", (limits,)),
    ]
    return Page(
        title=f"{len(ranking.models)} models in {ranking.title}",
        subtitle=f"Taken for {ranking.described}.",
        sections=without_empty(sections),
        scores=_scores(ranking),
        credit=ranking.credit,
    )


def _task(ranking: Ranking, task: TaskRanking, charts: Sequence[Chart]) -> Iterator[Section]:
    begin = f"task-{ranking.tasks.index(task) + 1}-" if task.task else ""
    level = 3 if task.task else 2
    if task.task:
        yield Section(f"{begin}start", f"Task {task.task}", _verdicts(task, charts))
    else:
        yield Section("verdicts", "Verdicts", _verdicts(task, charts))
    elsewhere = (*_VERDICTS, _AFTER_PAIRS, "subgroups")
    shown = [chart for chart in charts if not chart.name.endswith(elsewhere)]
    found, baseline = _for_each_baseline(ranking, task), ranking.settings.baseline
    models: tuple[Block, ...] = (
        ModelTable(baseline, {name: models_table(*its) for name, its in found.items()}),
        Note(columns_explained(ranking)),
        ChosenCases([_metric_name(ranking, task)]),
        *_followed(shown, found, baseline),
    )
    yield Section(f"{begin}models", "Models", models, level)
    yield Section(f"{begin}pairs", "All pairs", _pairs(ranking, task, charts), level)
    unit, decimals = Unit(ranking.settings.unit, ranking.settings.factor), _decimals(ranking, task)
    groups = groups_table(task.statistics.groups, unit, decimals)
    drawn = [chart for chart in charts if chart.name.endswith("subgroups")]
    yield Section(f"{begin}subgroups", "Subgroups", (*drawn, groups), level)


def _verdicts(task: TaskRanking, charts: Sequence[Chart]) -> tuple[Block, ...]:
    drawn = [chart for chart in charts if chart.name.endswith(_VERDICTS)]
    return (Note(items=tuple(verdict_sentences(task.verdicts))), *drawn)


def _pairs(ranking: Ranking, task: TaskRanking, charts: Sequence[Chart]) -> tuple[Block, ...]:
    unit, decimals = Unit(ranking.settings.unit, ranking.settings.factor), _decimals(ranking, task)
    drawn = [chart for chart in charts if chart.name.endswith(_AFTER_PAIRS)]
    if len(task.pairs) > MOST_PAIRS:
        return (*drawn, Note(f"pairs.csv has all {len(task.pairs):,} pairs."))
    return (*drawn, pairs_table(task, unit, decimals))


def _decimals(ranking: Ranking, task: TaskRanking) -> int:
    return decimals_of(task, ranking.settings.factor)


def _for_each_baseline(
    ranking: Ranking, task: TaskRanking
) -> dict[str, tuple[Ranking, TaskRanking]]:
    """Return ranking and task for each baseline, if there are not too many."""
    settings = ranking.settings
    scored = [summary.model for summary in task.statistics.summaries]
    others = [name for name in scored if name != settings.baseline]
    compared = compare_with_each(
        task_scores(ranking, task.task),
        others if len(ranking.models) <= MOST_BASELINES else (),
        Structure(settings.clusters),
        higher_is_better=settings.higher_is_better,
    )
    found = {settings.baseline: (ranking, task)}
    for name, comparisons in compared.items():
        statistics = replace(task.statistics, comparisons=tuple(comparisons))
        other = replace(ranking, settings=replace(settings, baseline=name))
        found[name] = other, replace(task, statistics=statistics)
    return {name: found[name] for name in ranking.models if name in found}


def _followed(
    charts: Sequence[Chart], found: Mapping[str, tuple[Ranking, TaskRanking]], baseline: str
) -> Iterator[Chart]:
    """Yield charts, with those of differences for each baseline."""
    for chart in charts:
        if chart.name.endswith(_DIFFERENCES) and len(found) > 1:
            others = {n: difference_chart(*its) for n, its in found.items() if n != baseline}
            yield for_each_baseline(chart, others)
        else:
            yield chart


def _metric_name(ranking: Ranking, task: TaskRanking) -> str:
    return f"task{ranking.tasks.index(task)}"


def _scores(ranking: Ranking) -> ScoreCube:
    settings = ranking.settings
    cases = sorted({row.case for row in ranking.scores})
    folds: dict[str, set[int]] = {}
    for row in ranking.scores:
        folds.setdefault(row.case, set()).add(row.fold)
    several = len(set().union(*folds.values())) > 1
    facts: dict[str, list[Any]] = {  # a case may be of another fold in another task
        "fold": [min(of) if len(of) == 1 else None for of in map(folds.__getitem__, cases)]
        if several
        else [],
        "group": [settings.groups.get(case) for case in cases] if settings.groups else [],
        "cluster": [settings.clusters.get(case) for case in cases] if settings.clusters else [],
    }
    metrics = [
        ScoredMetric(
            name=_metric_name(ranking, task),
            title=f"{settings.metric}, {task.task}" if task.task else settings.metric,
            higher_is_better=settings.higher_is_better,
            decimals=_decimals(ranking, task) + len(f"{settings.factor:g}") - 1,
            factor=settings.factor,
            unit=settings.unit,
        )
        for task in ranking.tasks
    ]
    values = {
        _metric_name(ranking, task): {
            ALL_LABELS: mean_scores(task_scores(ranking, task.task), ranking.models, cases)
        }
        for task in ranking.tasks
    }
    told = {name: of for name, of in facts.items() if of}
    return ScoreCube(cases, ranking.models, metrics, (ALL_LABELS,), values, told)
