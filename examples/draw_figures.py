"""Draw the figures of `docs/explanation`: `python examples/draw_figures.py docs/explanation`.

Ink is black on light pages and nearly white on dark ones, as the browser's setting says.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch
from scipy.integrate import solve_ivp
from scipy.special import eval_legendre

from umamba.ops.linear_ssm import hippo_legs
from umamba.registry import family_colours
from umamba.reporting.figures import house_style, save_figure

_INK = "#010203"  # stands for the colour of the page's text
_STYLE = (
    "<style>svg { --ink: #222222 } "
    "@media (prefers-color-scheme: dark) { svg { --ink: #dddddd } }</style>"
)
_BLUE, _ORANGE, _GREEN, _PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
_ENC = family_colours()["umamba_enc"]


def main(folder: Path) -> None:
    """Draw all figures into a folder."""
    figures: dict[str, Callable[[], Any]] = {
        "hippo": draw_hippo,
        "three-views": draw_three_views,
        "scans": draw_scans,
        "mamba-block": draw_mamba_block,
        "u-mamba": draw_network,
    }
    for name, draw in figures.items():
        with house_style(10):
            inks = ("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor")
            plt.rcParams.update(dict.fromkeys((*inks, "xtick.color", "ytick.color"), _INK))
            plt.rcParams.update({"savefig.transparent": True, "axes.titlesize": 10})
            path = folder / f"{name}.svg"
            save_figure(draw(), path, dpi=100)
            plt.close("all")
        content = path.read_text(encoding="utf-8").replace(_INK, "var(--ink)")
        path.write_text(content.replace("<defs>", f"{_STYLE}\n <defs>", 1), encoding="utf-8")


def draw_hippo() -> Any:
    """A signal, and what HiPPO-LegS with few and many states remembers of it."""
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    begin, end = 1e-4, 3.0
    times = np.linspace(0, end, 400)
    axes.plot(times, _signal(times), color=_INK, linewidth=2.5, label="signal")
    for n_states, colour in ((4, _ORANGE), (16, _BLUE)):
        A, B = (x.numpy() for x in hippo_legs(n_states))
        first = np.eye(n_states)[0] * _signal(begin)
        solved = solve_ivp(
            lambda t, h, A=A, B=B: (A @ h + B * _signal(t)) / t,
            (begin, end),
            first,
            "LSODA",
            rtol=1e-8,
            atol=1e-8,
        )
        basis = np.array([eval_legendre(k, 2 * times / end - 1) for k in range(n_states)])
        remembered = (solved.y[:, -1] * B) @ basis
        axes.plot(times, remembered, "--", color=colour, label=f"remembered by {n_states} states")
    axes.set_xlabel("time; the state is read at the end")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.2))
    return figure


def _signal(t: Any) -> Any:
    return np.sin(3 * t) + 0.5 * np.cos(7 * t)


def draw_three_views() -> Any:
    """One damped system: as a curve in time, as a chain of states, as a filter."""
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
    decay, n = 0.75, 10
    u = np.zeros(n)
    u[[1, 5, 6]] = 1.0, -0.6, 0.8
    steps = np.arange(n)
    K = decay**steps
    y = np.convolve(u, K)[:n]
    time = np.linspace(0, n, 500)
    index = np.minimum(time.astype(int), n - 1)
    before = np.concatenate(([0.0], y))[index]
    held = np.log(decay)
    came_in = np.expm1(held * (time - index)) / (decay - 1) * u[index]
    axes[0].plot(time, np.exp(held * (time - index)) * before + came_in, color=_BLUE)
    axes[0].step(np.append(steps, n), np.append(u, u[-1]), where="post", color=_INK, alpha=0.6)
    axes[0].set_title("in time: input (grey) and state")
    _draw_chain(axes[1])
    stems = axes[2].stem(steps, K, basefmt=" ", linefmt=_ORANGE)
    stems.markerline.set_color(_ORANGE)
    axes[2].set_title("one filter $K$ for all inputs so far")
    for one in axes[[0, 2]]:
        one.spines[["top", "right"]].set_visible(False)
        one.set(xlabel="step", xticks=[0, 5, 10])
    return figure


def _draw_chain(axes: Any) -> None:
    axes.set(xlim=(-0.5, 3.9), ylim=(-1.5, 1.5))
    axes.axis("off")
    axes.set_title("step by step: a recurrence")
    for k in range(4):
        _box(axes, (k, 0), f"$h_{k}$", _BLUE, size=(0.5, 0.5))
        _arrow(axes, (k, -1.1), (k, -0.3), r"$\bar{B}$")
        _arrow(axes, (k, 0.3), (k, 1.0), "$C$")
        axes.text(k, -1.4, f"$u_{k}$", ha="center")
        axes.text(k, 1.15, f"$y_{k}$", ha="center")
        _arrow(axes, (k + 0.3, 0), (k + 0.7, 0), r"$\bar{A}$", shift=(0.0, 0.08))


def draw_scans() -> Any:
    """Draw how a tournament and a chunked scan reach all states."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axes in (left, right):
        axes.axis("off")
    n = 8
    for level, reach in enumerate((0, 1, 2, 4)):
        for k in range(n):
            done = k < 2**level
            left.scatter(k, -level, s=90, color=_GREEN if done else _BLUE, alpha=1 if done else 0.4)
            if reach and k >= reach:
                _arrow(left, (k - reach, -level + 1.0), (k - 0.08, -level + 0.14))
            if reach:
                _arrow(left, (k, -level + 0.86), (k, -level + 0.14))
    for k in range(n):
        left.text(k, 0.25, f"{k + 1}", ha="center")
    left.set_title("parallel: three rounds for eight steps (green: has its final state)")
    left.set(xlim=(-0.5, n - 0.5), ylim=(-3.3, 0.6))
    _draw_chunks(right)
    return figure


def _draw_chunks(axes: Any) -> None:
    axes.set(xlim=(-1.6, 12), ylim=(-3.4, 0.5))
    axes.set_title("chunked: each pass does linear work")
    for row, (what, colour) in enumerate(
        (
            ("1. from zero", _ORANGE),
            ("2. carry", _GREEN),
            ("3. again", _BLUE),
        )
    ):
        y = -0.4 - 1.25 * row
        axes.text(-1.7, y + 0.5, what, ha="left", va="center")
        for chunk in range(3):
            for k in range(4):
                x = chunk * 4.1 + k
                if row == 1 and k != 3:
                    continue
                axes.scatter(x, y, s=70, color=colour)
                if row != 1 and k < 3:
                    _arrow(axes, (x + 0.15, y), (x + 0.85, y))
            if row == 1 and chunk < 2:
                _arrow(axes, (chunk * 4.1 + 3.2, y), (chunk * 4.1 + 6.9, y))


def draw_mamba_block() -> Any:
    """The parts of a Mamba block, from tokens to tokens."""
    figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
    axes.set(xlim=(-0.6, 11.2), ylim=(-1.7, 1.9))
    axes.axis("off")
    axes.text(-0.55, 0, "tokens", va="center")
    _box(axes, (1.1, 0), "in_proj", _BLUE)
    _box(axes, (3.2, 0.9), "conv1d,\nSiLU", _GREEN)
    _box(axes, (5.2, -0.1), "x_proj,\ndt_proj", _BLUE)
    _box(axes, (7.1, 0.9), "selective\nscan", _ORANGE)
    _box(axes, (7.1, -1.1), "SiLU", _GREEN)
    axes.text(8.75, 0.9, r"$\times$", ha="center", va="center", fontsize=18)
    _box(axes, (9.9, 0.9), "out_proj", _BLUE)
    _arrow(axes, (0.2, 0), (0.4, 0))
    _arrow(axes, (1.8, 0.2), (2.45, 0.8), "$x$", shift=(-0.1, 0.1))
    axes.plot([1.8, 2.4, 6.3], [-0.2, -1.1, -1.1], color=_INK, linewidth=1)
    _arrow(axes, (6.2, -1.1), (6.4, -1.1))
    axes.text(3.6, -1.0, "$z$, the gate", va="bottom")
    _arrow(axes, (3.95, 0.9), (6.35, 0.9), "$u$")
    _arrow(axes, (4.6, 0.85), (5.0, 0.35))
    _arrow(axes, (5.75, 0.3), (6.4, 0.65), r"$\Delta, B, C$", shift=(0.42, -0.35))
    _arrow(axes, (7.85, 0.9), (8.55, 0.9), "$y$")
    axes.plot([7.85, 8.75], [-1.1, -1.1], color=_INK, linewidth=1)
    _arrow(axes, (8.75, -1.1), (8.75, 0.65))
    _arrow(axes, (8.95, 0.9), (9.15, 0.9))
    _arrow(axes, (10.65, 0.9), (11.1, 0.9))
    axes.text(7.1, 1.65, "the state is in here", ha="center", color=_ORANGE)
    return figure


_STAGES = 5
_WIDTH = 2.3  # of a box


def draw_network() -> Any:
    """U-Mamba: a residual U-Net, and the places of Mamba in Bot and Enc; its layer beside it."""
    figure, (net, layer) = plt.subplots(
        1, 2, figsize=(10, 4.8), width_ratios=(3, 1), layout="constrained"
    )
    net.set(xlim=(-0.5, 14), ylim=(-6.6, 1))
    layer.set(xlim=(-1.6, 2.1), ylim=(-6.6, 1))
    for axes in (net, layer):
        axes.axis("off")
    for level in range(_STAGES):
        _draw_level(net, level)
    net.text(1.2, 0.6, "image", ha="center")
    net.text(12.6, 0.6, "segmentation", ha="center")
    net.text(7, 0.1, "skip connection", ha="center", va="bottom")
    for place, (colour, text) in enumerate(((_ENC, "Enc"), (_ORANGE, "Bot and Enc"))):
        y = -5.35 - 0.65 * place
        _box(net, (0, y), "M", colour, size=(0.5, 0.4))
        net.text(0.5, y, f"Mamba layer in U-Mamba {text}", va="center")
    _draw_layer(layer)
    return figure


def _draw_level(net: Any, level: int) -> None:
    """Draw one resolution: encoder stage, place of Mamba, skip connection, decoder stage."""
    y, left, right = -1.15 * level, 1.2 + 0.95 * level, 12.6 - 0.95 * level
    last = level == _STAGES - 1
    size = (_WIDTH, 0.6)
    mark = left + _WIDTH / 2 + 0.5
    resolution = f"1/{2**level}" if level else "full"
    _box(net, (left, y), f"{resolution}: residual", _BLUE, size=size)
    _box(net, (mark, y), "M", _ORANGE if last else _ENC, size=(0.5, 0.5))
    if last:
        _arrow(net, (mark + 0.35, y), (right + 0.1, y + 0.8))
        return
    _box(net, (right, y), f"{resolution}: residual", _GREEN, size=size)
    _arrow(net, (mark + 0.35, y), (right - _WIDTH / 2 - 0.1, y))
    _arrow(net, (mark, y - 0.33), (mark - 0.45, y - 0.8))
    if level:
        _arrow(net, (right + 0.45, y + 0.35), (right + 0.75, y + 0.8))


def _draw_layer(axes: Any) -> None:
    """Draw the parts of the Mamba layer that M stands for."""
    axes.text(0, 0.6, "M, a Mamba layer", ha="center")
    parts = (
        ("voxels as tokens", _PURPLE),
        ("LayerNorm", _GREEN),
        ("Mamba", _ORANGE),
        ("+", ""),
        ("tokens as voxels", _PURPLE),
    )
    for place, (text, colour) in enumerate(parts):
        y = -1.3 * place
        if colour:
            _box(axes, (0, y), text, colour, size=(2.1, 0.6))
        else:
            axes.text(0, y, text, ha="center", va="center", fontsize=18)
        if place:
            _arrow(axes, (0, y + 0.98), (0, y + 0.33))
    axes.plot([0, 1.5, 1.5], [-0.62, -0.62, -3.9], color=_INK, linewidth=1)
    _arrow(axes, (1.5, -3.9), (0.3, -3.9))
    axes.text(1.6, -2.4, "not in\nthe authors'\ncode", fontsize=8, va="center", ha="left")


def _box(axes: Any, middle: Any, text: str, colour: str, size: Any = (1.4, 0.85)) -> None:
    corner = (middle[0] - size[0] / 2, middle[1] - size[1] / 2)
    style = "round,pad=0.02,rounding_size=0.1"
    axes.add_patch(
        FancyBboxPatch(corner, *size, style, facecolor=colour, edgecolor="none", alpha=0.3)
    )
    axes.text(*middle, text, ha="center", va="center")


def _arrow(axes: Any, start: Any, end: Any, text: str = "", shift: Any = (0.0, 0.0)) -> None:
    style = {"arrowstyle": "-|>", "color": _INK, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)
    middle = ((start[0] + end[0]) / 2 + shift[0], (start[1] + end[1]) / 2 + shift[1])
    if text:
        upright = start[0] == end[0]
        axes.text(
            *middle,
            f" {text}",
            ha="left" if upright else "center",
            va="center" if upright else "bottom",
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
