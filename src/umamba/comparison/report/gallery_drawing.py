"""Drawing cases of the gallery: a row of panels for every plane, contours over the image."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.comparison.report.gallery_views import View
from umamba.reporting.figures import TEXT, house_style, save_figure

__all__ = ["Block", "draw_blocks", "scale_length"]

Array = npt.NDArray[Any]

_IMAGE, _REFERENCE = "image", "reference"
_REFERENCE_COLOUR = "#56B4E9"
# Colours of Okabe and Ito, without the blues.
_LABELS = ("#E69F00", "#CC79A7", "#009E73", "#F0E442", "#D55E00")
_WIDTH = 10.0  # inches
_MOST_COLUMNS = 6
_TITLE = 0.36  # inches, above each row of panels
_HEAD = 0.3  # inches, above each case
_GAP = 0.06  # inches, between panels
_TALLEST = 1.4  # height of a panel over its width
_LEGEND = 0.22  # inches, of a line of it
_DPI = 100


@dataclass(frozen=True)
class Block:
    """A case: image, reference and all models.

    Attributes:
        role: Reason why it was chosen.
        case: Its name.
        views: The planes shown.
        dice: Dice of each model; `None` or nan if undefined.
        seed: The trainings shown.
        unit: Unit of the spacing.
    """

    role: str
    case: str
    views: tuple[View, ...]
    dice: Mapping[str, float | None]
    seed: str
    unit: str = "mm"

    @property
    def panels(self) -> tuple[str, ...]:
        """Return the content of each column."""
        return (_IMAGE, _REFERENCE, *self.dice)


def draw_blocks(blocks: Sequence[Block], labels: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Draw cases one below the other.

    Args:
        blocks: The cases.
        labels: The values of every label or region.
        path: The PNG file to write.
    """
    from matplotlib.figure import Figure

    n_panels = max(len(block.panels) for block in blocks)
    n_lines = -(-n_panels // _MOST_COLUMNS)
    n_columns = -(-n_panels // n_lines)
    side = (_WIDTH - 0.1 - _GAP * (n_columns - 1)) / n_columns
    height = sum(_block_height(block, n_columns, side) for block in blocks)
    height += _LEGEND * (1 + -(-(1 + len(labels)) // _legend_columns(labels)))
    with house_style(9.0):
        figure = Figure(figsize=(_WIDTH, height), facecolor="white")
        top = height
        for block in blocks:
            _draw_block(figure, block, labels, n_columns, side, top)
            top -= _block_height(block, n_columns, side)
        _draw_legend(figure, labels)
        save_figure(figure, path, dpi=_DPI)


def _panel_height(view: View, side: float) -> float:
    rows, columns = view.reference.shape
    return float(min(side * view.aspect * rows / columns, side * _TALLEST))


def _block_height(block: Block, n_columns: int, side: float) -> float:
    n_lines = -(-len(block.panels) // n_columns)
    views = sum(_panel_height(view, side) + _GAP for view in block.views)
    return _HEAD + n_lines * (_TITLE + views + _GAP)


def _draw_block(
    figure: Any,
    block: Block,
    labels: Mapping[str, tuple[int, ...]],
    n_columns: int,
    side: float,
    top: float,
) -> None:
    width, height = figure.get_size_inches()
    heading = f"{block.role[0].upper()}{block.role[1:]}: {block.case}"
    figure.text(
        0.05 / width, (top - 0.08) / height, heading, weight="bold", va="top", fontsize=10.5
    )
    figure.text(1 - 0.05 / width, (top - 0.09) / height, block.seed, ha="right", va="top")
    top -= _HEAD
    longest = max(map(len, block.panels))
    font_size = min(10.0, side * 72 / (0.7 * longest))
    for start in range(0, len(block.panels), n_columns):
        y = top - _TITLE
        for view in block.views:
            tall = _panel_height(view, side)
            for column, panel in enumerate(block.panels[start : start + n_columns]):
                left = 0.05 + column * (side + _GAP)
                place = (left / width, (y - tall) / height, side / width, tall / height)
                axes = figure.add_axes(place)
                _draw_panel(axes, view, panel, labels)
                if panel == _IMAGE:
                    _label_sides(axes, view, block.unit)
                if view is block.views[0]:
                    title = _title(block, panel)
                    axes.set_title(title, fontsize=font_size, pad=4, linespacing=1.25)
            y -= tall + _GAP
        top = y - _GAP


def _title(block: Block, panel: str) -> str:
    if panel in (_IMAGE, _REFERENCE):
        return panel
    dice = block.dice[panel]
    said = "\N{EN DASH}" if dice is None or math.isnan(dice) else f"{dice:.3f}"
    return f"{panel}\nDice {said}"


def _draw_panel(axes: Any, view: View, panel: str, labels: Mapping[str, tuple[int, ...]]) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if panel not in (_IMAGE, _REFERENCE, *view.predictions):
        axes.set_facecolor("#f0f0f0")
        middle = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "prediction file\nnot there", color=TEXT, **middle)
        return
    axes.imshow(view.image, cmap="gray", vmin=0, vmax=1, aspect=view.aspect)
    if panel == _IMAGE:
        return
    for values in labels.values():
        _draw_contour(axes, np.isin(view.reference, values), _REFERENCE_COLOUR)
    if panel != _REFERENCE:
        masks = [(np.isin(view.predictions[panel], v), c) for v, c in _coloured(labels)]
        # The smallest last, so that a shared border shows the colour of the inner one.
        for mask, colour in sorted(masks, key=lambda masked: -int(masked[0].sum())):
            _draw_contour(axes, mask, colour)


def _label_sides(axes: Any, view: View, unit: str) -> None:
    """Write on an image what plane it is, where the patient's sides are, and a scale."""
    from matplotlib.lines import Line2D

    box = {"facecolor": "black", "alpha": 0.5, "lw": 0, "pad": 2}
    look: dict[str, Any] = {"transform": axes.transAxes, "color": "white", "bbox": box}
    if view.name:
        axes.text(0.03, 0.04, view.name, **look)
    ends = ((0.03, 0.5, "left"), (0.97, 0.5, "right"), (0.5, 0.96, "center"), (0.5, 0.04, "center"))
    for letter, (x, y, side) in zip(view.letters or (), ends, strict=False):
        upright = "top" if y > 0.9 else "bottom" if y < 0.1 else "center"
        axes.text(x, y, letter, ha=side, va=upright, **look)
    width = view.image.shape[1]
    length = scale_length(width * view.pixel)
    share = length / view.pixel / width
    bar = {"color": "white", "lw": 2.5, "transform": axes.transAxes}
    axes.add_artist(Line2D([0.96 - share, 0.96], [0.04, 0.04], **bar))
    axes.text(0.96 - share / 2, 0.07, f"{length:g} {unit}", ha="center", va="bottom", **look)


def scale_length(width: float) -> float:
    """Return the longest of 1, 2, 5, 10, 20, ... that is at most a third of a width."""
    power = 10.0 ** math.floor(math.log10(width / 3))
    return max(power * step for step in (1, 2, 5) if power * step <= width / 3 or step == 1)


def _draw_contour(axes: Any, mask: Array, colour: str) -> None:
    """Draw the outline of a mask, including parts at the edge of the image."""
    if mask.any():
        padded = np.pad(mask.astype(np.float32), 1)
        rows, columns = (np.arange(-1, n + 1) for n in mask.shape)
        limits = axes.get_xlim(), axes.get_ylim()
        axes.contour(columns, rows, padded, [0.5], colors=[colour], linewidths=0.9)
        axes.set(xlim=limits[0], ylim=limits[1])


def _coloured(labels: Mapping[str, tuple[int, ...]]) -> list[tuple[tuple[int, ...], str]]:
    return [(v, _LABELS[i % len(_LABELS)]) for i, v in enumerate(labels.values())]


def _legend_columns(labels: Mapping[str, tuple[int, ...]]) -> int:
    longest = max((len(f"model: {name}") for name in labels), default=0)
    return max(1, int(_WIDTH / (0.6 + 0.08 * longest)))


def _draw_legend(figure: Any, labels: Mapping[str, tuple[int, ...]]) -> None:
    from matplotlib.lines import Line2D

    names = [f"model: {name}" for name in labels] if len(labels) > 1 else ["model"]
    colours = [colour for _, colour in _coloured(labels)]
    handles = [Line2D([], [], color=_REFERENCE_COLOUR, lw=2, label="reference")]
    handles += [
        Line2D([], [], color=colour, lw=2, label=name)
        for name, colour in zip(names, colours, strict=True)
    ]
    figure.legend(handles=handles, loc="lower left", ncols=_legend_columns(labels), frameon=False)
