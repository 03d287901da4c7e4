"""The figures of the tasks that need a long range: Dice by distance, and maps of gradients."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from umamba.reach.field_drawing import draw_map
from umamba.reach.gradients import centre_of
from umamba.reach.long_range_results import SEEN, SHARE, Group, LongRangeResult
from umamba.reach.pictures import CONTROL, N_CLASSES, OBJECTS, LongRangeTask, draw_picture
from umamba.registry import family_colours, family_of
from umamba.reporting.figures import TEXT, house_style, save_figure

__all__ = ["draw_long_range"]

_LABEL_COLOURS = dict(
    zip((*OBJECTS, *CONTROL), ("#D55E00", "#0072B2", "#eeeeee", "#888888"), strict=True)
)
_ROW, _CELL = 0.31, 0.58  # inches: the height and width of a cell
_LEFT = 3.0  # inches, for the names of networks
_PICTURES = 1.75  # inches
_CHANCE = 0.5
_DARK = 0.72  # a Dice from which numbers are white


def draw_long_range(result: LongRangeResult, folder: Path) -> list[Path]:
    """Draw Dice by distance, and the maps of gradients before and after training.

    Args:
        result: The trainings, with maps.
        folder: The folder for `long-range.png`, `long-range.svg` and `long-range-maps.png`; it must
            exist.

    Returns:
        The files.
    """
    tables = [folder / "long-range.png", folder / "long-range.svg"]
    maps = folder / "long-range-maps.png"
    with house_style(10.0):
        save_figure(_tables(result), *tables, dpi=110)
        save_figure(_maps(result), maps, dpi=100)
    return [*tables, maps]


def _tables(result: LongRangeResult) -> Any:
    from matplotlib.figure import Figure

    groups = {dim: result.groups(dim) for dim in result.dims}
    columns = max(len(found[0].dice) for found in groups.values()) + 1
    heights = [_ROW * len(found) + 0.7 for found in groups.values()]
    width, height = _LEFT + _CELL * columns + 0.5, sum(heights) + _PICTURES + 0.85
    figure = Figure(figsize=(width, height), facecolor="white")
    title = "Up to which distance does a network see?"
    figure.text(0.02, 1 - 0.33 / height, title, fontsize=13, weight="bold")
    top = height - 0.4 - _PICTURES
    _draw_example(figure, result, (top + 0.15) / height, (_PICTURES - 0.3) / height)
    for (dim, found), tall in zip(groups.items(), heights, strict=True):
        n_columns = len(found[0].dice) + 1
        box = (_LEFT / width, (top - tall + 0.12) / height)
        size = (_CELL * n_columns / width, _ROW * len(found) / height)
        axes = figure.add_axes((*box, *size))
        _draw_table(axes, found, f"{dim}D: voxels from object to markers")
        top -= tall
    figure.text(0.02, 0.1 / height, _CAPTION, fontsize=8.5, linespacing=1.4)
    return figure


_CAPTION = (
    "Dice of objects, mean over seeds; by chance at most 0.5. Framed: every seed has at least "
    f"{SEEN}.\nControl: lowest Dice of the markers, whose labels can be seen where they are."
)


def _draw_example(figure: Any, result: LongRangeResult, bottom: float, height: float) -> None:
    """Show a picture and its labels, a plane of it in 3D."""
    dim = result.dims[0]
    settings = result.settings[dim]
    task = LongRangeTask(tuple(settings["shape"]), tuple(settings["distances"]), settings["lanes"])
    picture = draw_picture(task, np.random.default_rng(0), centred=True)
    image, labels = picture.image[0], picture.labels
    if dim == 3:
        middle = centre_of(task.shape)[0]
        image, labels = image[middle], labels[middle]
    colours = np.zeros((N_CLASSES, 3))
    for label, colour in _LABEL_COLOURS.items():
        colours[label] = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    for place, (title, shown) in enumerate((("picture", image), ("labels", colours[labels]))):
        axes = figure.add_axes((0.02 + 0.49 * place, bottom, 0.47, height))
        axes.imshow(shown, cmap="gray", vmin=-1.5, vmax=2.0, interpolation="nearest")
        axes.set_title(title, fontsize=9, loc="left", pad=3)
        axes.set_axis_off()


def _draw_table(axes: Any, groups: Sequence[Group], title: str) -> None:
    from matplotlib.patches import Rectangle

    distances = list(groups[0].dice)
    values = np.array([[*group.dice.values(), min(group.control.values())] for group in groups])
    axes.imshow(values, cmap="Blues", vmin=_CHANCE - 0.2, vmax=1.0, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value > _DARK else TEXT
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
    for row, group in enumerate(groups):
        for column, distance in enumerate(distances):
            if all(trial.dice[distance] >= SEEN for trial in group.trials):
                corner = (column - 0.47, row - 0.46)
                axes.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, ec="#E69F00", lw=1.6))
    axes.axvline(len(distances) - 0.5, color="white", lw=3, zorder=0.5)
    axes.set_xticks(range(len(distances) + 1), [*map(str, distances), "control"])
    axes.set_yticks(range(len(groups)), [group.title for group in groups])
    colours = family_colours()
    for label, group in zip(axes.get_yticklabels(), groups, strict=True):
        label.set_color(colours.get(family_of(group.trials[0].model) or "", TEXT))
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_title(title, fontsize=10, loc="left", pad=20)
    axes.spines[:].set_visible(False)


def _maps(result: LongRangeResult) -> Any:
    from matplotlib.figure import Figure

    shown = [group for dim in result.dims for group in result.groups(dim)]
    shown = [group for group in shown if group.trials[0].maps is not None]
    height = 0.95 * len(shown) + 0.65
    figure = Figure(figsize=(8.0, height), facecolor="white")
    grid = figure.subplots(len(shown), 2, squeeze=False)
    figure.subplots_adjust(
        left=0.3, right=0.99, top=1 - 0.3 / height, bottom=0.35 / height, wspace=0.04, hspace=0.1
    )
    for (before, after), group in zip(grid, shown, strict=True):
        trial = group.trials[0]
        for axes, shares in zip((before, after), trial.maps or (), strict=True):
            plane = shares if shares.ndim == 2 else shares[centre_of(shares.shape)[0]]
            draw_map(axes, plane)
        radii = "{:.0f} to {:.0f}".format(*group.radii)
        before.text(
            -0.03,
            0.5,
            f"{trial.dim}D {group.title}\n{SHARE} %: {radii} voxels",
            transform=before.transAxes,
            ha="right",
            va="center",
            fontsize=8,
        )
    for axes, title in zip(grid[0], ("initial weights", "after training"), strict=True):
        axes.set_title(title, fontsize=9, pad=4)
    caption = "Gradient of the centre of an object over the picture, logarithmic; seed 0."
    figure.text(0.01, 0.1 / height, caption, fontsize=8.5)
    return figure
