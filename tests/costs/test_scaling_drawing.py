"""The plot has all its lines, names them, and is the same every time."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from scaling_results import known_result
from umamba.costs.drawing import draw_scaling
from umamba.costs.results import LayerScaling, ScalingResult

COLOURS = {"mamba": (0, 114, 178), "attention": (213, 94, 0), "convolution": (0, 158, 115)}


def shares(result: ScalingResult, folder: Path) -> dict[str, float]:
    """Draw, and return how much of the picture has the colour of each layer."""
    folder.mkdir(exist_ok=True)
    png, _ = draw_scaling(result, folder)
    with Image.open(png) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[:2] == (768, 1560)
    return {n: float((np.abs(pixels - c).max(axis=-1) < 30).mean()) for n, c in COLOURS.items()}


def test_every_layer_has_its_line(tmp_path: Path) -> None:
    full = shares(known_result(), tmp_path)
    assert min(full.values()) > 1e-3
    without = replace(known_result(), layers=known_result().layers[:2])
    assert shares(without, tmp_path)["convolution"] == 0


def test_the_same_result_makes_the_same_files(tmp_path: Path) -> None:
    shares(known_result(), tmp_path / "a")
    shares(known_result(), tmp_path / "b")
    for name in ("scaling.png", "scaling.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    drawn = re.findall("<!-- (.*) -->", (tmp_path / "a" / "scaling.svg").read_text())
    assert "Time, ms" in drawn
    assert "Peak memory, MiB" in drawn


def test_a_layer_without_points_or_memory_does_not_break_it(tmp_path: Path) -> None:
    mamba, attention, convolution = known_result().layers
    blind = replace(mamba, points=tuple(replace(p, peak_bytes=None) for p in mamba.points))
    empty = LayerScaling("attention", "self-attention", (), "memory", "no room")
    drawn = shares(replace(known_result(), layers=(blind, empty, convolution)), tmp_path)
    assert drawn["attention"] == 0
    assert drawn["mamba"] > 1e-3
    assert attention.points


def test_names_of_lines_that_end_together_do_not_cover_each_other(tmp_path: Path) -> None:
    known = known_result()
    mamba, _, convolution = known.layers
    close = replace(convolution, points=mamba.points)
    draw_scaling(replace(known, layers=(mamba, close)), tmp_path)
    drawn = (tmp_path / "scaling.svg").read_text()
    for title in (mamba.title, close.title):
        assert f"<!-- {title}" in drawn
    # Matplotlib writes a text's comment, then the group that places its lines.
    heights = [
        float(y)
        for title in (mamba.title, close.title)
        for y in re.findall(rf"<!-- {title}.*?translate\([\d.]+ ([\d.]+)\)", drawn, re.DOTALL)[:1]
    ]
    assert abs(heights[0] - heights[1]) > 30
