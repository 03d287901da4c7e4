"""Common parts of a comparison's figures: styles of models, axes, and labels next to lines."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from umamba.registry import family_colours, family_of
from umamba.system.terminal import one_line

__all__ = [
    "FONT_SIZE",
    "WIDTH",
    "ModelStyle",
    "draw_key",
    "interval_arms",
    "label_ends",
    "model_styles",
    "name_width",
    "plain_text",
    "spread_apart",
    "style_axes",
]

WIDTH = 9.5  # width of a figure in inches
FONT_SIZE = 11.0  # points
_LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 3)))
_MARKERS = "osD^v"
_LIGHTER = 0.35  # share of white in the colours of variants and controls
_GRID = "#e8e8e8"


@dataclass(frozen=True)
class ModelStyle:
    """The style in which a model is drawn.

    Attributes:
        colour: That of its family; lighter for a control or variant.
        text: Colour of its name: that of its family.
        line: Line style in matplotlib.
        marker: Marker in matplotlib.
        filled: Whether the marker is filled, as only for the first model of a family.
    """

    colour: str
    text: str
    line: Any
    marker: str
    filled: bool

    @property
    def points(self) -> dict[str, Any]:
        """Return the arguments of `Axes.plot` and `Axes.errorbar` for its markers."""
        face = self.colour if self.filled else "white"
        return {"marker": self.marker, "color": self.colour, "mfc": face, "mec": self.colour}


def model_styles(models: Sequence[str], controls: Collection[str] = ()) -> dict[str, ModelStyle]:
    """Give every model a style; a family keeps its colour, whatever it is compared with.

    Args:
        models: Names of the models; those that are not ours are families of their own.
        controls: Those that are controls of others.
    """
    counts: dict[str, int] = {}
    styles = {}
    strangers = [name for name in models if family_of(name) is None]
    unused = list(family_colours().values())
    for name in sorted(models, key=lambda name: name in controls):
        family = family_of(name) or name
        index = counts.get(family, 0)
        counts[family] = index + 1
        colour = (
            unused[strangers.index(name) % len(unused)]
            if name in strangers
            else family_colours()[family]
        )
        styles[name] = ModelStyle(
            colour=_lighten(colour) if index else colour,
            text=colour,
            line=_LINES[index % len(_LINES)],
            marker=_MARKERS[index % len(_MARKERS)],
            filled=index == 0,
        )
    return {name: styles[name] for name in models}


def plain_text(name: str) -> str:
    """Return a name of unknown origin as matplotlib shows it as it is, not as a formula."""
    return one_line(name).replace("$", r"\$")


def _lighten(colour: str) -> str:
    from matplotlib.colors import to_hex, to_rgb

    return str(to_hex([c + (1 - c) * _LIGHTER for c in to_rgb(colour)]))


def name_width(names: Iterable[str]) -> float:
    """Return the inches to leave for the longest name next to axes, including a marker."""
    return 0.3 + max(map(len, names)) * FONT_SIZE * 0.0087


def style_axes(axes: Any, title: str, x: str, y: str = "") -> None:
    """Add title and labels to axes, and remove what carries no information."""
    axes.set_title(title, loc="left", fontsize="large", pad=9)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color=_GRID)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")


def spread_apart(places: Sequence[float], gap: float) -> list[float]:
    """Move positions on a line apart, each as little as possible, in the same order.

    Args:
        places: Positions in any order.
        gap: The smallest distance between two.

    Returns:
        The new positions, in the order of the old ones.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(places)), key=places.__getitem__):
        groups.append([index])
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], places, gap):
            groups[-2:] = [groups[-2] + groups[-1]]
    moved = [0.0] * len(places)
    for group in groups:
        start = _start(group, places, gap)
        for rank, index in enumerate(group):
            moved[index] = start + rank * gap
    return moved


def _start(group: Sequence[int], places: Sequence[float], gap: float) -> float:
    return sum(places[index] for index in group) / len(group) - gap * (len(group) - 1) / 2


def _overlap(
    lower: Sequence[int], upper: Sequence[int], places: Sequence[float], gap: float
) -> bool:
    end = _start(lower, places, gap) + gap * len(lower)
    return end > _start(upper, places, gap) + 1e-9


def label_ends(
    axes: Any, ends: Mapping[str, tuple[float, float]], styles: Mapping[str, ModelStyle]
) -> None:
    """Write names to the right of the axes, each connected to the end of its line.

    Args:
        axes: Axes with their final limits and position in the figure.
        ends: End of each model's line, in data coordinates.
        styles: Style of each model.
    """
    right = axes.bbox.x1 + _points(axes, 8.0)
    gap = _points(axes, FONT_SIZE * 1.2)
    at = axes.transData.transform(list(ends.values()))
    heights = spread_apart([float(y) for _, y in at], gap)
    too_high = max(0.0, max(heights) + gap / 2 - axes.figure.bbox.height)
    for (model, end), height in zip(ends.items(), heights, strict=True):
        axes.annotate(
            model,
            end,
            xytext=axes.transAxes.inverted().transform((right, height - too_high)),
            textcoords="axes fraction",
            va="center",
            color=styles[model].text,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": styles[model].colour,
                "lw": 0.7,
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )


def interval_arms(mean: float, low: float, high: float) -> list[list[float]]:
    """Return an interval for `Axes.errorbar`, even if rounding puts an end past the mean."""
    return [[max(mean - low, 0.0)], [max(high - mean, 0.0)]]


def draw_key(figure: Any, styles: Mapping[str, ModelStyle]) -> None:
    """Label markers to the right of the axes, in the space from `name_width`."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], **style.points, ls="", ms=8, mew=1.8, label=model)
        for model, style in styles.items()
    ]
    figure.legend(
        handles=handles,
        loc="center right",
        bbox_to_anchor=(0.995, 0.53),
        frameon=False,
        handletextpad=0.2,
        labelspacing=0.7,
        labelcolor=[style.text for style in styles.values()],
    )


def _points(axes: Any, points: float) -> float:
    """Return points in pixels."""
    return float(points * axes.figure.dpi / 72)
