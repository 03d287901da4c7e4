"""The chart of the stability of ranks."""

from typing import Any

from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.parts import model_axis, rounded
from umamba.comparison.records import RankStability
from umamba.reporting.charts import Chart
from umamba.system.terminal import one_line

__all__ = ["rank_chart"]

_MOST_SHARES = 15  # models, above which the chart has no numbers
_LEAST = 0.005  # share of the bootstraps that is drawn


def rank_chart(stability: RankStability | None, styles: ModelStyles, metric: str) -> Chart | None:
    """Return the chart of the share of bootstraps in which each model has each rank.

    Args:
        stability: The ranks.
        styles: Style of each model.
        metric: Name of the scores.

    Returns:
        The chart; `None` if there are no ranks.
    """
    if stability is None:
        return None
    models = [model.model for model in stability.models]
    few = len(models) <= _MOST_SHARES
    rows = [
        {"model": one_line(m.model), "rank": rank, "share": rounded(share)}
        for m in stability.models
        for rank, share in enumerate(m.shares, start=1)
        if share >= _LEAST
    ]
    told = [
        f"{one_line(m.model)}: rank {m.rank} [{m.rank_low}, {m.rank_high}]"
        for m in stability.models
    ]
    ranks = list(range(1, len(models) + 1))
    axis = {"labelAngle": 0, "labelOverlap": True}
    size = {
        "field": "share",
        "type": "quantitative",
        "scale": {"domain": [0, 1], "range": [0, 1300 if few else 350]},
        "legend": None,
    }
    tooltip = [
        {"field": "model"},
        {"field": "rank"},
        {"field": "share", "type": "quantitative", "format": ".1%"},
    ]
    numbers: list[dict[str, Any]] = [
        {
            "transform": [{"calculate": "round(100 * datum.share)", "as": "percent"}],
            "mark": {"type": "text", "style": "note"},
            "encoding": {"text": {"field": "percent"}},
        }
    ]
    return Chart(
        name="rank_stability",
        title=f"Rank by mean {one_line(metric)}, % of bootstraps",
        alt=f"Ranks with their 95 % ranges over {stability.n_cases} cases. {'; '.join(told)}.",
        caption="Share of bootstraps over cases and trainings in which each model has each rank, "
        f"on the {stability.n_cases:,} cases that all of these models have.",
        spec={
            "data": {"values": rows},
            "height": {"step": 38 if few else 22},
            "encoding": {
                "x": {
                    "field": "rank",
                    "type": "ordinal",
                    "title": "rank",
                    "axis": axis,
                    "scale": {"domain": ranks},
                },
                "y": model_axis(models),
            },
            "layer": [
                {
                    "mark": {"type": "circle", "opacity": 0.45},
                    "encoding": {
                        "size": size,
                        "color": styles.colour(models),
                        "tooltip": tooltip,
                    },
                },
                *(numbers if few else []),
            ],
        },
    )
