"""The chart of differences in subgroups of the cases."""

import math
from collections.abc import Sequence

from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.parts import interval_layers, points_of, vertical_line
from umamba.comparison.records import GroupComparison
from umamba.comparison.statistics.verdicts import Unit
from umamba.reporting.charts import Chart
from umamba.system.terminal import one_line

__all__ = ["subgroup_chart"]


def subgroup_chart(
    found: Sequence[GroupComparison], styles: ModelStyles, unit: Unit
) -> Chart | None:
    """Return the chart of the difference to the baseline in every subgroup.

    Args:
        found: Comparisons by subgroup; those with the baseline of the first are drawn.
        styles: Style of each model.
        unit: Unit of the scores.

    Returns:
        The chart; `None` if no difference is known.
    """
    found = [one for one in found if one.baseline == found[0].baseline]
    rows = [
        {
            "model": one_line(one.model),
            "group": one_line(group.group),
            "cases": group.n_cases,
            **points_of(group.difference, unit.factor),
        }
        for one in found
        for group in one.groups
        if math.isfinite(group.difference.mean)
    ]
    if not rows:
        return None
    baseline = one_line(found[0].baseline)
    drawn = {row["model"] for row in rows}
    models = [one.model for one in found if one_line(one.model) in drawn]
    title = f"{unit.name} above {baseline}"
    place = {
        "y": {"field": "group", "type": "nominal", "title": None, "sort": None},
        "yOffset": {
            "field": "model",
            "type": "nominal",
            "scale": {"domain": [one_line(m) for m in models]},
        },
    }
    tooltip = [{"field": n} for n in ("model", "group", "cases", "mean", "low", "high")]
    told = [
        f"{row['model']} in {row['group']} (n = {row['cases']}): {row['mean']:+.3g}" for row in rows
    ]
    points = styles.points(models, legend=True)
    return Chart(
        name="subgroups",
        title=f"Difference from {baseline} in subgroups",
        alt=f"Mean {title}, with 95 % intervals. {'; '.join(told)}.",
        caption="Mean differences in each subgroup of the cases with 95 % intervals, not corrected "
        "for the number of subgroups: compare them by the interaction, not by which intervals "
        "exclude 0.",
        spec={
            "height": {"step": max(22, 14 + 60 // len(models)), "for": "offset"},
            "layer": [
                vertical_line(0.0),
                *interval_layers(rows, place, points, tooltip, title=title),
            ],
        },
    )
