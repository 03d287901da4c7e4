"""The figure of objects by size: the share found, and how well they are outlined."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from umamba.comparison.records import MeanEstimate
from umamba.comparison.report.plotting import WIDTH, ModelStyle, draw_key, name_width, style_axes
from umamba.comparison.results import Results
from umamba.evaluation.instances import stratum_names

__all__ = ["draw_size_strata"]


def draw_size_strata(results: Results, styles: Mapping[str, ModelStyle]) -> Any:
    """Draw how well objects of each size were found and outlined.

    Args:
        results: Results of the comparison.
        styles: Style of each model.

    Returns:
        A figure of matplotlib; `None` if objects were not grouped by size.
    """
    from matplotlib.figure import Figure

    strata = [s for s in dict.fromkeys(r.stratum for r in results.instances) if s != "all"]
    panels = {
        title: _estimates_by_stratum(results, metric, strata)
        for title, metric in (("Found: F1 of objects", "f1"), ("Outlined: Dice of matches", "dice"))
    }
    panels = {title: by_model for title, by_model in panels.items() if by_model}
    if not panels:
        return None
    strata = [s for s in strata if any(s in of for p in panels.values() for of in p.values())]
    figure = Figure(figsize=(WIDTH, 4.8), facecolor="white")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    models = list(dict.fromkeys(model for by_model in panels.values() for model in by_model))
    beside = (name_width(models) + 0.3) / WIDTH
    figure.subplots_adjust(0.06, 0.21, 0.985 - beside, 0.92, wspace=0.18)
    ticks = [_stratum_title(results, stratum) for stratum in strata]
    size = "size of the reference object"
    if _size_range(results, strata[-1]):
        size = f"diameter of the reference object, {results.dataset.spacing_unit}"
    for axes, (title, by_model) in zip(all_axes, panels.items(), strict=True):
        for index, (model, estimates) in enumerate(by_model.items()):
            shift = 0.45 * ((index + 0.5) / len(by_model) - 0.5)
            places = np.array([strata.index(stratum) for stratum in estimates]) + shift
            means = np.array([e.mean for e in estimates.values()])
            low, high = (
                np.clip([getattr(e.interval, end) for e in estimates.values()], 0, 1)
                for end in ("low", "high")
            )
            arms = np.maximum([means - low, high - means], 0)
            style = styles[model]
            axes.errorbar(places, means, yerr=arms, **style.points, ls=style.line, lw=1.3, ms=6)
        style_axes(axes, title, size)
        axes.grid(visible=False, axis="x")
        axes.set_xticks(range(len(strata)), ticks)
        axes.set_xlim(-0.4, len(strata) - 0.6)
    draw_key(figure, {model: styles[model] for model in models})
    return figure


def _estimates_by_stratum(
    results: Results, metric: str, strata: list[str]
) -> dict[str, dict[str, MeanEstimate]]:
    found: dict[str, dict[str, MeanEstimate]] = {}
    for stratum in strata:
        for summary in results.of(f"object_{metric}_{stratum}").summaries:
            if math.isfinite(summary.estimate.mean):
                found.setdefault(summary.model, {})[stratum] = summary.estimate
    return found


def _stratum_title(results: Results, stratum: str) -> str:
    """Return the name of a size, with the number of its reference objects in the cases."""
    counts: dict[tuple[str, str], int] = {}
    for row in results.instances:
        if row.stratum == stratum:
            counts[row.case, row.label] = row.n_reference
    lines = (stratum.replace("_", " "), _size_range(results, stratum))
    return "\n".join([*filter(None, lines), f"n = {sum(counts.values()):,}"])


def _size_range(results: Results, stratum: str) -> str:
    """Return the diameters in a stratum if they are the same for all labels, or else nothing."""
    settings = results.settings.evaluation
    cuts = {cuts for cuts in settings.size_cut_points.values() if cuts}
    if len(cuts) != 1 or settings.size_measure != "diameter":
        return ""
    ends = [f"{cut:.3g}" for cut in cuts.pop()]
    ranges = [f"< {ends[0]}", *map(" to ".join, itertools.pairwise(ends)), f"> {ends[-1]}"]
    return dict(zip(stratum_names(len(ends)), ranges, strict=True))[stratum]
