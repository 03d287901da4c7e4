"""The plots of receptive fields: radii of all networks, and a map of each."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from umamba.reach.field_results import ReceptiveField, ReceptiveFieldResult
from umamba.reach.gradients import SHARES, centre_of
from umamba.registry import family_colours
from umamba.reporting.figures import TEXT, house_style, save_figure

__all__ = ["draw_fields", "draw_map"]

_OTHER = "#666666"  # the colour of networks of no known family
_SIZES = {50: 9.0, 90: 6.5, 99: 4.0}  # of dots, in points
_ROW, _HEAD = 0.27, 1.5  # inches
_COLUMNS = 6
_LETTER = 0.095  # inches
_LINE = 26  # letters above a map
_MOST_PIXELS = 64
_DECADES = 5  # below the maximum, that a map shows


def draw_fields(result: ReceptiveFieldResult, folder: Path) -> list[Path]:
    """Draw the radii of all networks, and the maps.

    Args:
        result: The measurement, with maps.
        folder: The folder for `receptive-field.png`, `receptive-field.svg` and
            `receptive-field-maps.png`; it must exist.

    Returns:
        The files.
    """
    radii = [folder / "receptive-field.png", folder / "receptive-field.svg"]
    maps = folder / "receptive-field-maps.png"
    with house_style(10.0):
        save_figure(_radii(result), *radii, dpi=110)
        save_figure(_maps(result), maps, dpi=100)
    return [*radii, maps]


def _radii(result: ReceptiveFieldResult) -> Any:
    from matplotlib.figure import Figure

    rows = len(result.fields)
    height = _HEAD + _ROW * rows
    names = max(2.6, _LETTER * max(len(field.title) for field in result.fields))
    width = names + 6.0
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((names / width, 0.75 / height, 5.76 / width, _ROW * rows / height))
    colours = family_colours()
    for row, field in enumerate(result.fields):
        colour = colours.get(field.family or "", _OTHER)
        radii = [field.sizes[share].radius for share in SHARES]
        axes.plot([radii[0], radii[-1]], [row, row], color=colour, lw=1.6, alpha=0.5)
        for share, radius in zip(SHARES, radii, strict=True):
            face = colour if share == SHARES[0] else "white"
            axes.plot(radius, row, "o", ms=_SIZES[share], mec=colour, mfc=face, mew=1.6)
    limit = _limits(axes, result, rows)
    axes.set_yticks(range(rows), [field.title for field in result.fields])
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlim(0, limit * 1.02)
    axes.set_xlabel("radius around the central voxel, voxels")
    axes.grid(axis="x", color="#e8e8e8")
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    title = "Radius that holds 50 (filled), 90 and 99 % (smallest dot) of the gradient"
    figure.text(0.02, 1 - 0.35 / height, title, fontsize=13, weight="bold")
    caption = (
        f"Patches of {result.patches}; {result.norms}. "
        "Dashed: if all voxels of the patch counted equally."
    )
    figure.text(0.02, 0.15 / height, caption, fontsize=9)
    return figure


def _limits(axes: Any, result: ReceptiveFieldResult, rows: int) -> float:
    """Mark the radii of the whole patch where there is only one size; return the largest radius."""
    fields = [*result.fields, *result.whole_patch]
    if len(result.whole_patch) == 1:
        for share in SHARES:
            radius = result.whole_patch[0].sizes[share].radius
            axes.axvline(radius, color=TEXT, lw=0.9, ls=(0, (4, 4)), zorder=0)
            axes.text(radius, rows - 0.5, f"{share} %", fontsize=8, ha="center", va="bottom")
    return max(field.sizes[SHARES[-1]].radius for field in fields)


def _maps(result: ReceptiveFieldResult) -> Any:
    from matplotlib.figure import Figure

    shown = [(textwrap.fill(title, _LINE), values) for title, values in _slices(result.fields)]
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    lines = 1 + max(title.count("\n") for title, _ in shown)
    height = (1.9 + 0.15 * lines) * rows + 0.6
    figure = Figure(figsize=(max(1.75 * columns, 7), height), facecolor="white")
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.01,
        right=0.99,
        top=1 - (0.1 + 0.15 * lines) / height,
        bottom=0.45 / height,
        wspace=0.06,
        hspace=0.12 + 0.1 * lines,
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (title, values) in zip(grid.flat, shown, strict=False):
        draw_map(axes, values)
        axes.set_title(title, fontsize=7, pad=3)
    caption = (
        "Share of each voxel in the gradient, on a logarithmic scale: from the maximum (light) "
        f"down to {10.0**-_DECADES:g} of it."
    )
    figure.text(0.01, 0.012, caption, fontsize=9)
    return figure


def _slices(fields: Sequence[ReceptiveField]) -> Iterator[tuple[str, Any]]:
    """Yield titles and planes through the centre: in 2D one, in 3D one across each axis."""
    for field in fields:
        shares = field.shares
        if shares is None:
            continue
        if shares.ndim == 2:
            yield field.title, shares
            continue
        for axis, middle in enumerate(centre_of(shares.shape)):
            yield f"{field.title}, axis {axis}", np.take(shares, middle, axis=axis)


def draw_map(axes: Any, values: Any) -> None:
    """Draw one plane of a map, with a logarithmic scale that begins at its maximum.

    Args:
        axes: Axes of matplotlib.
        values: The plane.
    """
    from matplotlib import colormaps

    coarse = _coarse(values)
    relative = np.maximum(coarse / max(float(coarse.max()), np.finfo(float).tiny), 10.0**-_DECADES)
    colours = colormaps["magma"].resampled(2 * _DECADES)  # half a decade each, and smaller files
    axes.imshow(np.log10(relative), cmap=colours, vmin=-_DECADES, vmax=0, interpolation="nearest")
    axes.set_axis_off()


def _coarse(values: Any) -> Any:
    """Return means over squares of voxels, so that no axis has more than so many of them."""
    step = -(-max(values.shape) // _MOST_PIXELS)
    height, width = (size // step for size in values.shape)
    inside = values[: height * step, : width * step]
    return inside.reshape(height, step, width, step).mean(axis=(1, 3))
