"""The scans of the demonstration: disjoint parts, honest labels, and a task that needs context."""

import sys
from pathlib import Path

import numpy as np
import pytest

from umamba.demo.data import (
    HELD_OUT,
    LABELS,
    TRAINING,
    VOXEL_MM,
    Brain,
    add_noise,
    bias_field,
    gap_mm,
    load_brain,
    read_volume,
    simulate_scan,
    write_scans,
)
from umamba.demo.scores import dice_per_label, fit_thresholds, mean_dice
from umamba.errors import UMambaError


@pytest.fixture(scope="module")
def brain() -> Brain:
    return load_brain()


def test_parts_are_disjoint_with_a_gap_and_both_cross_the_midline(brain: Brain) -> None:
    training, held_out = (slab.indices(brain.affine) for slab in (TRAINING, HELD_OUT))
    unused = range(training.stop, held_out.start)
    assert len(unused) * VOXEL_MM == gap_mm() == 12
    for slab in (TRAINING, HELD_OUT):
        part = brain.cut(slab)
        left_mm = part.affine[0, 3]
        right_mm = left_mm + (part.image.shape[0] - 1) * VOXEL_MM
        assert left_mm == -right_mm, "a symmetric brain must not be split at its midline"


def test_a_part_is_where_its_affine_says(brain: Brain) -> None:
    part = brain.cut(HELD_OUT)
    assert part.affine[1, 3] == HELD_OUT.first_mm
    corner = np.linalg.solve(brain.affine, part.affine[:, 3])[:3].round().astype(int)
    x, y, z = (slice(c, c + n) for c, n in zip(corner, part.image.shape, strict=True))
    np.testing.assert_array_equal(part.image, brain.image[x, y, z])
    np.testing.assert_array_equal(part.labels, brain.labels[x, y, z])


def test_parts_keep_their_whole_brain(brain: Brain) -> None:
    for slab in (TRAINING, HELD_OUT):
        whole = brain.labels[:, slab.indices(brain.affine)]
        assert np.count_nonzero(brain.cut(slab).labels) == np.count_nonzero(whole)


def test_labels_are_grey_and_white_matter(brain: Brain) -> None:
    assert set(np.unique(brain.labels)) == {0, *LABELS.values()}
    grey, white = (np.median(brain.image[brain.labels == value]) for value in LABELS.values())
    assert 0.5 < grey < 0.75 < white < 1
    litres = {
        name: np.count_nonzero(brain.labels == value) * VOXEL_MM**3 / 1e6
        for name, value in LABELS.items()
    }
    assert 0.8 < litres["grey_matter"] < 1.2
    assert 0.5 < litres["white_matter"] < 0.8


def test_bias_field_is_positive_smooth_and_strong() -> None:
    field = bias_field((50, 58, 47), np.random.default_rng(0))
    assert field.min() > 0.5
    assert field.max() < 2
    assert field.max() / field.min() > 1.5
    steps = [np.abs(np.diff(np.log(field), axis=axis)).max() for axis in range(3)]
    assert max(steps) < 0.05, "neighbours differ by less than 5 %"


def test_noise_is_that_of_a_magnitude_image() -> None:
    noisy = add_noise(np.full((40, 40, 40), 0.8), np.random.default_rng(0))
    background = add_noise(np.zeros((40, 40, 40)), np.random.default_rng(0))
    assert background.min() > 0
    assert noisy.std() == pytest.approx(0.02, rel=0.05)
    assert background.mean() == pytest.approx(0.02 * np.sqrt(np.pi / 2), rel=0.05)


def test_thresholds_suffice_for_the_template_but_not_for_the_scans(brain: Brain) -> None:
    def score(training: list[Brain], held_out: list[Brain]) -> float:
        fitted = fit_thresholds([s.image for s in training], [s.labels for s in training])
        scores = [dice_per_label(s.labels, fitted.segment(s.image)) for s in held_out]
        return mean_dice(scores)["mean"]

    rng = np.random.default_rng(0)
    scans = [simulate_scan(brain, rng) for _ in range(4)]
    clean = score([brain.cut(TRAINING)], [brain.cut(HELD_OUT)])
    hard = score([s.cut(TRAINING) for s in scans[:2]], [s.cut(HELD_OUT) for s in scans[2:]])
    assert clean >= 0.95
    assert hard < 0.86


def test_scans_differ_from_each_other_and_are_repeatable(brain: Brain, tmp_path: Path) -> None:
    names = write_scans(brain, HELD_OUT, 2, tmp_path / "a", seed=5)
    assert names == ["a_01", "a_02"]
    write_scans(brain, HELD_OUT, 1, tmp_path / "b", seed=5)
    write_scans(brain, HELD_OUT, 1, tmp_path / "c", seed=6)
    scans = ("a/images/a_01", "b/images/b_01", "a/images/a_02", "c/images/c_01")
    first, again, second, other = (read_volume(tmp_path / f"{s}.nii.gz") for s in scans)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)
    mask = read_volume(tmp_path / "a/masks/a_01.nii.gz")
    np.testing.assert_array_equal(mask, brain.cut(HELD_OUT).labels)


def test_without_nilearn_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(UMambaError, match=r"pip install nilearn.*\[demo\]"):
        load_brain()
