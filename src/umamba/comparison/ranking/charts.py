"""The charts of a ranking, for each of its tasks."""

from dataclasses import replace

from umamba.comparison.charts.differences import paired_differences, verdict_chart
from umamba.comparison.charts.margins import margin_chart
from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.pairs import pairs_chart
from umamba.comparison.charts.ranks import rank_chart
from umamba.comparison.charts.subgroups import subgroup_chart
from umamba.comparison.ranking.ranking import task_scores
from umamba.comparison.ranking.ranking_tables import decimals_of, order_of
from umamba.comparison.ranking_records import Ranking, TaskRanking
from umamba.comparison.statistics.scores import ScoreTable
from umamba.comparison.statistics.verdicts import Unit
from umamba.reporting.charts import Chart

__all__ = ["FIGURES", "difference_chart", "ranking_charts"]

FIGURES = (
    "verdicts",
    "margin_probabilities",
    "paired_differences",
    "significance_map",
    "rank_stability",
    "subgroups",
)


def ranking_charts(ranking: Ranking) -> dict[str, dict[str, Chart]]:
    """Return the charts of each task, by the kinds of `FIGURES`.

    If there are several tasks, the name of a chart begins with the number of its task.
    """
    several = len(ranking.tasks) > 1
    charts = {}
    for number, task in enumerate(ranking.tasks, start=1):
        begin = f"{number}_" if several else ""
        charts[task.task] = {
            kind: replace(chart, name=begin + kind)
            for kind, chart in _of_task(ranking, task).items()
        }
    return charts


def _of_task(ranking: Ranking, task: TaskRanking) -> dict[str, Chart]:
    settings, order = ranking.settings, order_of(ranking, task)
    unit, decimals = Unit(settings.unit, settings.factor), decimals_of(task, settings.factor)
    styles, found = ModelStyles(ranking.models), task.statistics
    against_all = (*found.comparisons, *found.controls)
    charts = (
        verdict_chart(against_all, found.margins, styles, unit, decimals),
        margin_chart(against_all, found.margins, unit),
        difference_chart(ranking, task),
        pairs_chart(task.pairs, order, unit, decimals),
        rank_chart(found.rank_stability, styles, settings.metric),
        subgroup_chart(found.groups, styles, unit),
    )
    return {chart.name: chart for chart in charts if chart is not None}


def difference_chart(ranking: Ranking, task: TaskRanking) -> Chart | None:
    """Return the chart of the differences from the baseline in every case, if there are any."""
    settings = ranking.settings
    return paired_differences(
        task.statistics.comparisons,
        ScoreTable.from_scores(task_scores(ranking, task.task)),
        ModelStyles(ranking.models),
        Unit(settings.unit, settings.factor),
        decimals_of(task, settings.factor),
    )
