"""The pictures exist, have a sensible size, and show what they should."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umamba.demo.data import HELD_OUT, VOXEL_MM, Brain
from umamba.demo.pictures import Panel, draw_segmentation, draw_training

ORANGE, BLUE = (242, 142, 43), (78, 159, 209)


@pytest.fixture(scope="module")
def brain() -> Brain:
    """A ball of white matter in a shell of grey matter, as large as a head."""
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = (-98, -134, -72)
    axes = [np.arange(n) * VOXEL_MM + o for n, o in zip((99, 117, 95), affine[:3, 3], strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.hypot(np.hypot(x, y + 18), z)
    labels = np.select([radius < 50, radius < 70], [2, 1], 0).astype(np.uint8)
    return Brain(labels / 2.5, labels, affine)


def read_picture(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(picture - colour).max(axis=-1) < 60).mean())


def test_segmentation_shows_both_tissues(brain: Brain, tmp_path: Path) -> None:
    scan = brain.cut(HELD_OUT)
    with_labels = [Panel("image"), Panel("reference", scan.labels)]
    without = [Panel("image"), Panel("reference", np.zeros_like(scan.labels))]
    shares = []
    for name, panels in (("full.png", with_labels), ("empty.png", without)):
        draw_segmentation(tmp_path / name, brain, scan, panels, "caption")
        picture = read_picture(tmp_path / name)
        assert picture.shape[0] > 600
        assert picture.shape[1] > 900
        shares.append([share(picture, ORANGE), share(picture, BLUE)])
    assert min(shares[0]) > 0.005
    assert np.all(np.array(shares[0]) > 3 * np.array(shares[1]))


def test_training_curve_has_all_four_lines(tmp_path: Path) -> None:
    curves = {
        "train_losses": [0.5, 0.1, -0.4],
        "val_losses": [0.4, 0.0, -0.5],
        "dice_per_class_or_region": [[0.5, 0.4], [0.7, 0.6], [0.9, 0.8]],
    }
    draw_training(tmp_path / "curve.png", curves)
    picture = read_picture(tmp_path / "curve.png")
    assert picture.shape[:2] == (520, 1300)
    for colour in (ORANGE, BLUE, (89, 161, 79), (176, 122, 161)):
        assert share(picture, colour) > 5e-4
