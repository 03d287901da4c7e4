"""The figure of all pairs of models: which was shown to be better than which."""

from collections.abc import Mapping, Sequence
from typing import Any

from umamba.comparison.records import ModelComparison
from umamba.comparison.report.plotting import WIDTH, name_width, plain_text
from umamba.comparison.statistics.verdicts import Outcome, Unit, outcome_of_networks
from umamba.reporting.figures import TEXT

__all__ = ["draw_significance_map", "won_by"]

_MOST_NUMBERS = 12  # models, above which cells have no numbers
_CELL = 0.62  # inches
_COLOURS = {
    "better": "#0072B2",
    "worse": "#E69F00",
    "tests disagree": "#c4c4c4",
    "no difference shown": "#ececec",
    "too few cases": "#ffffff",
}
_SAID = {
    "better": "row better than column",
    "worse": "row worse than column",
    "tests disagree": "tests disagree",
    "no difference shown": "no difference shown",
    "too few cases": "too few cases",
}


def won_by(pairs: Sequence[ModelComparison]) -> dict[tuple[str, str], Outcome]:
    """Return what is shown of every model against every other, at least of the networks."""
    swapped: dict[Outcome, Outcome] = {"better": "worse", "worse": "better"}
    found: dict[tuple[str, str], Outcome] = {}
    for pair in pairs:
        shown = outcome_of_networks(pair)
        found[pair.model, pair.baseline] = shown
        found[pair.baseline, pair.model] = swapped.get(shown, shown)
    return found


def draw_significance_map(
    pairs: Sequence[ModelComparison], order: Sequence[str], unit: Unit, decimals: int = 1
) -> Any:
    """Draw a cell for every pair of models.

    Args:
        pairs: Comparisons of all pairs, corrected for their number.
        order: Names of the models, the best first.
        unit: Unit of the scores.
        decimals: Number of decimals of the differences.

    Returns:
        A figure of matplotlib; `None` with fewer than two models.
    """
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.figure import Figure

    if len(order) < 2:
        return None
    kinds, shown = list(_COLOURS), won_by(pairs)
    grid = [[_kind(shown, row, column, kinds) for column in order] for row in order]
    names = [plain_text(name) for name in order]
    margin = name_width(names)
    cell = min(_CELL, (WIDTH - margin) / len(order))
    side = max(cell * len(order), 3.0)
    width, height = margin + side + 0.2, margin + side + 1.2
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((margin / width, 1.1 / height, side / width, side / height))
    colours = ListedColormap([*_COLOURS.values(), "#ffffff"])
    norm = BoundaryNorm(range(len(kinds) + 2), len(kinds) + 1)
    axes.pcolormesh(grid, cmap=colours, norm=norm, edgecolors="white", lw=1.5)
    size = max(4.0, min(11.0, 60 * cell))
    places = [index + 0.5 for index in range(len(order))]
    axes.set_xticks(places, names, rotation=90, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    axes.xaxis.tick_top()
    axes.invert_yaxis()
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    if len(order) <= _MOST_NUMBERS:
        _write_numbers(axes, pairs, order, unit, decimals)
    _draw_key(figure, {kind for row in grid for kind in row}, kinds, unit)
    return figure


def _kind(
    shown: Mapping[tuple[str, str], Outcome], row: str, column: str, kinds: Sequence[str]
) -> int:
    return len(kinds) if row == column else kinds.index(shown[row, column])


def _write_numbers(
    axes: Any, pairs: Sequence[ModelComparison], order: Sequence[str], unit: Unit, decimals: int
) -> None:
    place = {name: index + 0.5 for index, name in enumerate(order)}
    shown = won_by(pairs)
    for pair in pairs:
        mean = pair.difference.mean * unit.factor
        for row, column, value in (
            (pair.model, pair.baseline, mean),
            (pair.baseline, pair.model, -mean),
        ):
            text = f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")
            colour = "white" if shown[row, column] == "better" else TEXT
            middle = {"ha": "center", "va": "center", "fontsize": 9}
            axes.text(place[column], place[row], text, color=colour, **middle)


def _draw_key(figure: Any, used: set[int], kinds: Sequence[str], unit: Unit) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=_COLOURS[kind], edgecolor="#999999", lw=0.5, label=_SAID[kind])
        for index, kind in enumerate(kinds)
        if index in used
    ]
    figure.legend(
        handles=patches,
        title=f"{plain_text(unit.name)}, row minus column",
        loc="lower left",
        ncols=2,
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        alignment="left",
    )
