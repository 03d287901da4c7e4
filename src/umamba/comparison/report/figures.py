"""The figures of a comparison, drawn only from its results."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from umamba.comparison.records import MeanEstimate, ModelComparison, RankStability
from umamba.comparison.report.learning_curves import draw_learning_curves
from umamba.comparison.report.plotting import (
    FONT_SIZE,
    WIDTH,
    ModelStyle,
    draw_key,
    interval_arms,
    model_styles,
    name_width,
    plain_text,
    style_axes,
)
from umamba.comparison.report.size_figure import draw_size_strata
from umamba.comparison.results import Results
from umamba.comparison.statistics.analysis import compared_scores
from umamba.comparison.statistics.scores import ScoreTable
from umamba.comparison.statistics.verdicts import DICE_POINTS, Unit
from umamba.reporting.figures import TEXT, house_style, save_figure

__all__ = ["FIGURES", "draw_differences", "draw_figures", "draw_ranks", "save_figures"]

_Styles = Mapping[str, ModelStyle]
_MOST_DOTS = 10_000  # above this, an SVG holds the dots as pixels
_MOST_SHARES = 15  # models, above which the figure of ranks has no numbers
_GIB = 2**30
_LOG_FROM = 8  # ratio of the largest to the smallest cost


def draw_figures(results: Results, folder: Path) -> list[str]:
    """Draw all figures for which the results have the numbers.

    Args:
        results: Results of the comparison, with statistics.
        folder: Folder for the figures as SVG and PNG, made if missing.

    Returns:
        The names of the figures drawn, in the order of `FIGURES`.
    """
    styles = model_styles([model.name for model in results.models], _controls(results))
    return save_figures({n: partial(draw, results, styles) for n, draw in FIGURES.items()}, folder)


def _controls(results: Results) -> list[str]:
    return [model.name for model in results.models if model.control_of is not None]


def save_figures(figures: Mapping[str, Callable[[], Any]], folder: Path) -> list[str]:
    """Draw figures and write them as SVG and PNG.

    Args:
        figures: Functions that draw, by the name of the figure; `None` if there is nothing to draw.
        folder: Their folder, made if missing.

    Returns:
        The names of the figures drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, draw in figures.items():
        with house_style(FONT_SIZE):
            figure = draw()
            paths = folder / f"{name}.svg", folder / f"{name}.png"
            if figure is not None:
                save_figure(figure, *paths, dpi=130)
                drawn.append(name)
        if figure is None:
            for path in paths:
                path.unlink(missing_ok=True)  # drawn from earlier results that had the numbers
    return drawn


def _draw_paired_differences(results: Results, styles: _Styles) -> Any:
    table = ScoreTable.from_scores(compared_scores(results, "dice"))
    return draw_differences(results.dice.comparisons, table, styles, DICE_POINTS)


def draw_differences(
    comparisons: Sequence[ModelComparison],
    table: ScoreTable,
    styles: _Styles,
    unit: Unit,
    decimals: int = 1,
) -> Any:
    """Draw the difference to the baseline in each case, and the means with their intervals.

    Args:
        comparisons: Comparisons with one baseline.
        table: The scores.
        styles: Style of each model.
        unit: Unit of the scores.
        decimals: Number of decimals of the means.

    Returns:
        A figure of matplotlib; `None` if no mean is known.
    """
    from matplotlib.figure import Figure

    comparisons = [c for c in comparisons if math.isfinite(c.difference.mean)]
    if not comparisons:
        return None
    baseline = comparisons[0].baseline
    n_dots = len(comparisons) * len(table.cases)
    names = [comparison.model for comparison in comparisons]
    height = 1.7 + 0.55 * len(names)
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    cases, means = figure.subplots(1, 2, sharey=True)
    left = name_width(names) / WIDTH
    figure.subplots_adjust(left, 0.75 / height, 0.985, 1 - 0.45 / height, wspace=0.09)
    for row, comparison in enumerate(comparisons):
        style = styles[comparison.model]
        differences = table.case_means(comparison.model) - table.case_means(baseline)
        differences = np.sort(differences[np.isfinite(differences)]) * unit.factor
        # Multiples of the golden ratio modulo 1: the most even jitter.
        jitter = (np.arange(len(differences)) * 0.618034 % 1 - 0.5) * 0.5
        dots = {"s": 13, "color": style.colour, "alpha": 0.55, "lw": 0}
        cases.scatter(differences, row + jitter, **dots, rasterized=n_dots > _MOST_DOTS)
        _draw_mean(means, row, comparison, style, unit.factor, decimals)
    for axes, title in ((cases, "Every case"), (means, "Mean with 95 % interval")):
        style_axes(axes, title, f"{unit.name} above {plain_text(baseline)}")
        axes.axvline(0, color=TEXT, lw=1, zorder=1)
        axes.grid(visible=False, axis="y")
    cases.set_yticks(range(len(names)), map(plain_text, names))
    cases.set_ylim(len(names) - 0.4, -0.6)
    for label, name in zip(cases.get_yticklabels(), names, strict=True):
        label.set_color(styles[name].text)
    means.tick_params(labelleft=False)
    return figure


def _draw_mean(
    axes: Any,
    row: int,
    comparison: ModelComparison,
    style: ModelStyle,
    factor: float,
    decimals: int,
) -> None:
    difference = comparison.difference
    mean, low, high = (
        value * factor
        for value in (
            difference.mean,
            difference.interval.low,
            difference.interval.high,
        )
    )
    arms = interval_arms(mean, low, high)
    axes.errorbar(mean, row, xerr=arms, **style.points, ms=7, lw=2.2, mew=1.8)
    text = f"{mean:+.{decimals}f}  [{low:.{decimals}f}, {high:.{decimals}f}]"
    text = text.replace("-", "\N{MINUS SIGN}")
    axes.annotate(
        text,
        (mean, row),
        xytext=(0, -9),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize="small",
        bbox={"facecolor": "white", "lw": 0, "pad": 1},
    )


def _draw_dice_against_cost(results: Results, styles: _Styles) -> Any:
    """Draw the Dice of the models against their costs."""
    from matplotlib.figure import Figure

    summaries = {
        summary.model: summary.estimate
        for summary in results.dice.summaries
        if math.isfinite(summary.estimate.mean)
    }
    panels = [
        (title, label, costs)
        for title, label, costs in (_memory(results), _time(results))
        if costs.keys() & summaries.keys()
    ]
    if not panels:
        return None
    by_dice = sorted(summaries, key=lambda model: -summaries[model].mean)
    beside = (name_width(by_dice) + 0.3) / WIDTH
    figure = Figure(figsize=(WIDTH, 4.4), facecolor="white")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(0.075, 0.14, 0.985 - beside, 0.91, wspace=0.1)
    for axes, (title, label, costs) in zip(all_axes, panels, strict=True):
        shown = {model: costs[model] for model in summaries if model in costs}
        _draw_costs(axes, shown, summaries, styles)
        style_axes(axes, title, label)
    all_axes[0].set_ylabel("Dice, mean with 95 % interval")
    draw_key(figure, {model: styles[model] for model in by_dice})
    return figure


def _memory(results: Results) -> tuple[str, str, dict[str, float]]:
    """Return the measured peaks or, if one is missing, the estimated memory of all models."""
    measured = _costs(results, "peak_memory_bytes", 1 / _GIB)
    if len(measured) == len(results.cost):
        return "Memory", "peak of a training step, GiB", measured
    estimated = _costs(results, "memory_bytes", 1 / _GIB)
    return "Memory", "training step, estimated, GiB", estimated


def _time(results: Results) -> tuple[str, str, dict[str, float]]:
    return "Time", "training iteration, s", _costs(results, "seconds_per_iteration", 1.0)


def _costs(results: Results, name: str, factor: float) -> dict[str, float]:
    """Return one kind of cost for the models for which it is known."""
    found = {model: getattr(cost, name) for model, cost in results.cost.items()}
    return {model: cost * factor for model, cost in found.items() if cost is not None}


def _draw_costs(
    axes: Any, costs: Mapping[str, float], estimates: Mapping[str, MeanEstimate], styles: _Styles
) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for model, cost in costs.items():
        mean, interval = estimates[model].mean, estimates[model].interval
        arms = interval_arms(mean, max(interval.low, 0.0), min(interval.high, 1.0))
        axes.errorbar(cost, mean, yerr=arms, **styles[model].points, ms=8, lw=1.4, mew=1.8)
    least, most = min(costs.values()), max(costs.values())
    if most > _LOG_FROM * least:
        axes.set_xscale("log", base=2)
        axes.set_xlim(least / 1.6, most * 1.6)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, most * 1.12)


def _draw_rank_stability(results: Results, styles: _Styles) -> Any:
    return draw_ranks(results.dice.rank_stability, styles, "Dice")


def draw_ranks(stability: RankStability | None, styles: _Styles, metric: str) -> Any:
    """Draw the share of bootstraps in which each model has each rank.

    Args:
        stability: The ranks.
        styles: Style of each model.
        metric: Name of the scores.

    Returns:
        A figure of matplotlib; `None` if there are no ranks.
    """
    from matplotlib.figure import Figure

    if stability is None:
        return None
    models = stability.models
    height = 1.5 + (0.5 if len(models) <= _MOST_SHARES else 0.28) * len(models)
    beside = name_width([model.model for model in models])
    width = min(beside + max(0.75 * len(models), 3.7), WIDTH)  # the title needs 3.5
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.subplots()
    left = beside / width
    area = 900 * min(1.0, (width - beside) / 0.55 / len(models)) ** 2
    figure.subplots_adjust(left, 0.7 / height, 0.98, 1 - 0.45 / height)
    for row, model in enumerate(models):
        colour = styles[model.model].colour
        for rank, share in enumerate(model.shares, start=1):
            if share >= 0.005:
                axes.scatter(rank, row, s=area * share, color=colour, alpha=0.45, lw=0)
                if len(models) <= _MOST_SHARES:
                    axes.annotate(f"{share * 100:.0f}", (rank, row), ha="center", va="center")
    style_axes(axes, f"Rank by mean {plain_text(metric)}, % of bootstraps", "rank")
    axes.set_xticks(range(1, len(models) + 1, 1 + len(models) // 26))
    axes.set_yticks(range(len(models)), [plain_text(model.model) for model in models])
    axes.set_xlim(0.4, len(models) + 0.6)
    axes.set_ylim(len(models) - 0.4, -0.6)
    for label, model in zip(axes.get_yticklabels(), models, strict=True):
        label.set_color(styles[model.model].text)
    return figure


# A figure is `None` if the results lack its numbers.
FIGURES: dict[str, Callable[[Results, _Styles], Any]] = {
    "paired_differences": _draw_paired_differences,
    "dice_against_cost": _draw_dice_against_cost,
    "learning_curves": draw_learning_curves,
    "size_strata": draw_size_strata,
    "rank_stability": _draw_rank_stability,
}
