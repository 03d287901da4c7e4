"""The charts of a comparison, made only from its results, and their files."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from umamba.comparison.charts.costs import cost_chart
from umamba.comparison.charts.detection import detection_chart
from umamba.comparison.charts.differences import paired_differences, verdict_chart
from umamba.comparison.charts.learning import learning_chart
from umamba.comparison.charts.margins import margin_chart
from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.pairs import pairs_chart
from umamba.comparison.charts.ranks import rank_chart
from umamba.comparison.charts.sizes import size_chart
from umamba.comparison.charts.subgroups import subgroup_chart
from umamba.comparison.charts.volumes import volume_charts
from umamba.comparison.results import Results
from umamba.comparison.statistics.analysis import compared_scores
from umamba.comparison.statistics.completeness import incomplete_models
from umamba.comparison.statistics.scores import ScoreTable
from umamba.comparison.statistics.verdicts import DICE_POINTS
from umamba.reporting.charts import Chart, save_chart
from umamba.system.terminal import one_line

__all__ = ["FIGURES", "comparison_charts", "difference_chart", "save_charts"]

# Names of all charts of comparisons, in order; `volume_agreement` may be numbered.
FIGURES = (
    "verdicts",
    "margin_probabilities",
    "paired_differences",
    "significance_map",
    "rank_stability",
    "false_alarms_and_misses",
    "subgroups",
    "volume_agreement",
    "dice_against_cost",
    "learning_curves",
    "size_strata",
)
_FILE = re.compile(rf"({'|'.join(FIGURES)})(_\d+)?\.(png|svg)")


def comparison_charts(results: Results) -> dict[str, Chart]:
    """Return all charts for which the results have the numbers, by name, in the order of `FIGURES`.

    Args:
        results: Results of the comparison, with statistics.
    """
    dice, names, styles = results.dice, results.model_names, _styles(results)
    against_all = (*dice.comparisons, *dice.controls)
    stability = dice.rank_stability
    ranked = [model.model for model in stability.models] if stability else []
    paired = {name for pair in dice.pairs for name in (pair.model, pair.baseline)}
    order = [*ranked, *(n for n in names if n in paired and n not in ranked)]
    charts = (
        verdict_chart(against_all, dice.margins, styles, DICE_POINTS),
        margin_chart(against_all, dice.margins, DICE_POINTS),
        _differences(results),
        pairs_chart(dice.pairs, order, DICE_POINTS),
        rank_chart(stability, styles, "Dice"),
        detection_chart(results, styles),
        subgroup_chart(dice.groups, styles, DICE_POINTS),
        *volume_charts(results, styles),
        cost_chart(results, styles),
        learning_chart(results, styles),
        size_chart(results, styles),
    )
    return {chart.name: _with_note(chart, results) for chart in charts if chart is not None}


def difference_chart(results: Results) -> Chart | None:
    """Return the chart of the differences from the baseline in every case, if there are any."""
    chart = _differences(results)
    return None if chart is None else _with_note(chart, results)


def _differences(results: Results) -> Chart | None:
    table = ScoreTable.from_scores(compared_scores(results, "dice"))
    return paired_differences(results.dice.comparisons, table, _styles(results), DICE_POINTS)


def _styles(results: Results) -> ModelStyles:
    controls = [model.name for model in results.models if model.control_of is not None]
    return ModelStyles(results.model_names, controls)


def _with_note(chart: Chart, results: Results) -> Chart:
    """Return a chart that names the models which lack trainings."""
    incomplete = ", ".join(f"{name} ({n})" for name, n in incomplete_models(results).items())
    note = f" Incomplete: {one_line(incomplete)}." if incomplete else ""
    return replace(chart, caption=chart.caption + note, alt=chart.alt + note)


def save_charts(charts: Iterable[Chart], folder: Path) -> None:
    """Draw charts, and remove those of earlier results that had more numbers.

    Args:
        charts: The charts.
        folder: Folder for the figures as SVG and PNG, made if missing.

    Raises:
        UMambaError: If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = set()
    for chart in charts:
        save_chart(chart, folder)
        drawn.add(chart.name)
    for path in folder.iterdir():
        if _FILE.fullmatch(path.name) and path.stem not in drawn:
            path.unlink()
