"""The pictures of the demonstration: segmentations, and the course of the training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.demo.data import HELD_OUT, LABELS, TRAINING, Brain
from umamba.reporting.figures import TEXT, house_style, save_figure

__all__ = ["Panel", "draw_segmentation", "draw_training"]

Volume = npt.NDArray[Any]

_COLOURS = {"grey_matter": "#f28e2b", "white_matter": "#4e9fd1"}
_PARTS = {"training": (TRAINING, "#59a14f"), "held out": (HELD_OUT, "#e15759")}
_PLANES_MM = (20, 40)
_DPI = 130


@dataclass(frozen=True)
class Panel:
    """One column of the picture.

    Args:
        title: Title of the column.
        labels: The segmentation; `None` shows the image alone.
    """

    title: str
    labels: Volume | None = None


@house_style(10.0)
def draw_segmentation(
    path: Path, brain: Brain, scan: Brain, panels: Sequence[Panel], caption: str
) -> None:
    """Draw coronal slices of one held-out scan under each segmentation.

    Args:
        path: The PNG file to write.
        brain: The whole template, to show where the slices are.
        scan: The scan.
        panels: One panel for each column.
        caption: Text below the picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(3.1 + 2.75 * len(panels), 6.45), facecolor="white")
    grid = figure.add_gridspec(
        len(_PLANES_MM),
        1 + len(panels),
        width_ratios=[1.12] + [1] * len(panels),
        left=0.008,
        right=0.992,
        top=0.94,
        bottom=0.115,
        wspace=0.03,
        hspace=0.02,
    )
    _draw_locator(figure.add_subplot(grid[:, 0]), brain)
    for row, plane_mm in enumerate(_PLANES_MM):
        for column, panel in enumerate(panels):
            axes = figure.add_subplot(grid[row, 1 + column])
            _draw_slice(axes, scan, panel.labels, plane_mm)
            if row == 0:
                axes.set_title(panel.title, fontsize=12, color=TEXT, pad=7)
            if column == 0:
                _note(axes, 0.03, 0.965, f"y = {plane_mm:+d} mm", va="top")
    handles = [
        Patch(color=colour, label=name.replace("_", " ")) for name, colour in _COLOURS.items()
    ]
    figure.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(0.995, 0.022),
        ncols=2,
        frameon=False,
        fontsize=12,
    )
    figure.text(0.012, 0.025, caption, fontsize=9.5, color=TEXT, va="bottom", linespacing=1.45)
    save_figure(figure, path, dpi=_DPI)


def _draw_locator(axes: Any, brain: Brain) -> None:
    """Mark on a sagittal slice the part for training and the part held out."""
    middle = _index(brain.affine, 0, 0)
    origin, size = brain.affine[:3, 3], np.array(brain.image.shape) * 2
    left, bottom = origin[1] - 1, origin[2] - 1
    extent = (left, left + size[1], bottom, bottom + size[2])
    axes.imshow(brain.image[middle].T, cmap="gray", origin="lower", extent=extent, vmax=1)
    for name, (slab, colour) in _PARTS.items():
        axes.axvspan(slab.first_mm - 1, slab.last_mm + 1, color=colour, alpha=0.33, lw=0)
        centre = (slab.first_mm + slab.last_mm) / 2
        axes.text(centre, 87, name, color="white", fontsize=11, ha="center", weight="bold")
    for plane_mm in _PLANES_MM:
        axes.axvline(plane_mm, color="white", lw=1, ls=(0, (4, 3)))
    axes.set_xlim(-118, 84)
    axes.set_ylim(-76, 98)
    axes.set_facecolor("black")
    axes.set_title("The template, seen from the right", fontsize=12, color=TEXT, pad=7)
    _note(axes, 0.03, 0.04, "back")
    _note(axes, 0.97, 0.04, "front", ha="right")
    _hide_frame(axes)


def _draw_slice(axes: Any, scan: Brain, labels: Volume | None, plane_mm: int) -> None:
    from matplotlib.colors import to_rgba

    index = _index(scan.affine, 1, plane_mm)
    image = scan.image[:, index].T
    axes.imshow(image, cmap="gray", origin="lower", vmin=0, vmax=float(scan.image.max()) * 0.95)
    if labels is not None:
        drawn = labels[:, index].T
        colours = np.zeros((*image.shape, 4))
        for name, value in LABELS.items():
            colours[drawn == value] = to_rgba(_COLOURS[name], 0.72)
        axes.imshow(colours, origin="lower", interpolation="nearest")
    else:
        _note(axes, 0.03, 0.04, "L")
        _note(axes, 0.97, 0.04, "R", ha="right")
    _hide_frame(axes)


@house_style(10.0)
def draw_training(path: Path, curves: Mapping[str, Any]) -> None:
    """Draw losses and Dice over the epochs.

    Args:
        path: The PNG file to write.
        curves: nnU-Net's log: `train_losses`, `val_losses`, `dice_per_class_or_region`.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), facecolor="white", layout="constrained")
    losses, dice = figure.subplots(1, 2)
    epochs = np.arange(1, len(curves["train_losses"]) + 1)
    style: dict[str, Any] = {"marker": "o", "ms": 4, "lw": 2}
    losses.plot(epochs, curves["train_losses"], color="#59a14f", label="training", **style)
    losses.plot(epochs, curves["val_losses"], color="#b07aa1", label="validation", **style)
    losses.set_title("Loss (Dice and cross-entropy; lower is better)", fontsize=11, color=TEXT)
    per_label = np.array(curves["dice_per_class_or_region"], dtype=float).T
    for (name, colour), values in zip(_COLOURS.items(), per_label, strict=True):
        dice.plot(epochs, values, color=colour, label=name.replace("_", " "), **style)
    dice.set_title("Dice on patches of the validation scans", fontsize=11, color=TEXT)
    for axes in (losses, dice):
        axes.set_xlabel("epoch", color=TEXT)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="#e6e6e6")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    save_figure(figure, path, dpi=_DPI)


def _index(affine: Volume, axis: int, position_mm: int) -> int:
    return round((position_mm - float(affine[axis, 3])) / float(affine[axis, axis]))


def _note(axes: Any, x: float, y: float, text: str, **where: str) -> None:
    axes.text(x, y, text, transform=axes.transAxes, color="white", fontsize=10, **where)


def _hide_frame(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
