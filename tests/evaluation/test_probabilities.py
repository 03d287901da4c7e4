"""Calibration and FROC of saved probabilities, beside scikit-learn, MONAI and brute force."""

import json
import math

import numpy as np
import pytest
from scipy import ndimage
from sklearn.calibration import calibration_curve

from dataset_files import save
from umamba.cli.main import main
from umamba.evaluation.calibration import calibration_error
from umamba.evaluation.cases import evaluate_case
from umamba.evaluation.froc import RATES, LesionScores, froc, lesion_scores
from umamba.evaluation.probabilities import Probabilities, read_probabilities
from umamba.evaluation.settings import EvaluationSettings
from umamba.images.contents import UnreadableFileError


def test_calibration_is_that_of_scikit_learn_and_of_sums():
    rng = np.random.default_rng(0)
    probability = rng.random(5000)
    is_there = rng.random(5000) < probability**2
    observed, expected = calibration_curve(is_there, probability, n_bins=15)
    counts = np.histogram(probability, np.linspace(0, 1, 16))[0]
    by_sklearn = (np.abs(observed - expected) * counts).sum() / 5000
    assert calibration_error(probability, is_there) == pytest.approx(by_sklearn)
    by_hand = 0.0
    for low in np.arange(15) / 15:
        inside = (probability > low) & (probability <= low + 1 / 15)
        by_hand += abs(probability[inside].sum() - is_there[inside].sum()) / 5000
    assert calibration_error(probability, is_there) == pytest.approx(by_hand)


def test_calibration_of_what_is_sure():
    right = np.array([0.0, 1.0, 1.0, 0.0])
    assert calibration_error(right, right > 0) == 0
    assert calibration_error(1 - right, right > 0) == 1
    assert calibration_error(np.full(4, 0.75), np.array([True, True, True, False])) == 0


LESIONS = np.zeros((12, 12), bool)
LESIONS[1:3, 1:3] = LESIONS[8:10, 8:10] = LESIONS[0, 11] = True
SAID = np.zeros((12, 12))
SAID[2:4, 2:4] = 0.6  # on the first
SAID[8, 7:9] = [0.9, 0.3]  # on the second, but its peak is beside
SAID[6, 0] = 0.8  # on none
SAID[11, 0] = 0.05  # too low for a candidate


def test_scores_of_lesions():
    scores = lesion_scores(SAID, LESIONS)
    assert sorted(scores.lesions) == [0, 0.6, 0.9]
    assert scores.false_positives == (0.8,)
    assert lesion_scores(SAID * np.nan, LESIONS) == LesionScores((0.0, 0.0, 0.0), ())
    assert lesion_scores(SAID, np.zeros_like(LESIONS)).lesions == ()


def test_froc_of_two_cases():
    cases = [lesion_scores(SAID, LESIONS), LesionScores((), (0.7, 0.2))]
    curve = froc(cases)
    assert curve.thresholds == (0.9, 0.8, 0.7, 0.6, 0.2)
    assert curve.false_positives == (0, 0.5, 1, 1, 1.5)
    assert curve.sensitivity == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    at = dict(zip(RATES, curve.at_rates, strict=True))
    assert at == pytest.approx(dict.fromkeys(RATES, 2 / 3) | dict.fromkeys(RATES[:3], 1 / 3))
    assert curve.score == pytest.approx((3 / 3 + 4 * 2 / 3) / 7)
    assert froc([LesionScores((), (0.7,))]) is None
    assert froc([LesionScores((0.0, 0.0), ())]).score == 0


def test_froc_is_that_of_monai_and_of_counts():
    import monai.metrics  # takes seconds

    rng = np.random.default_rng(1)
    cases = [
        LesionScores(tuple(rng.random(rng.integers(1, 4))), tuple(rng.random(rng.integers(0, 9))))
        for _ in range(8)
    ]
    curve = froc(cases)
    found = np.concatenate([case.lesions for case in cases])
    false = np.concatenate([case.false_positives for case in cases])
    per_case, sensitivity = monai.metrics.compute_froc_curve_data(false, found, len(found), 8)
    for rate, ours in zip(RATES, curve.at_rates, strict=True):
        assert ours == pytest.approx(sensitivity[per_case <= rate].max(initial=0))
    for rate, share, threshold in zip(
        curve.false_positives, curve.sensitivity, curve.thresholds, strict=True
    ):
        assert rate == sum(score >= threshold for score in false) / 8
        assert share == sum(score >= threshold for score in found) / len(found)


LABELS = {"organ": 1, "tumour": 2, "both": (1, 2)}


def softmax_channels():
    rng = np.random.default_rng(0)
    raw = rng.random((3, 10, 12)).astype(np.float32)
    return ndimage.gaussian_filter(raw, (0, 2, 2)) ** 20


@pytest.fixture
def case(tmp_path):
    """Write a prediction with its probabilities, and a reference."""
    channels = softmax_channels()
    channels /= channels.sum(axis=0)
    prediction = channels.argmax(axis=0).astype(np.uint8)
    reference = np.roll(prediction, 1, axis=0)
    save(tmp_path / "p" / "a.png", prediction)
    save(tmp_path / "r" / "a.png", reference)
    np.savez_compressed(tmp_path / "p" / "a.npz", probabilities=channels[:, None])
    return tmp_path, channels, prediction, reference


def test_probabilities_of_values_regions_and_objects(case):
    folder, channels, prediction, reference = case
    found = read_probabilities(folder / "p" / "a.png", (10, 12), LABELS)
    assert np.array_equal(found.of("tumour"), channels[2])
    assert np.allclose(found.of("both"), 1 - channels[0])
    settings = EvaluationSettings(metrics=("ece",), ignore=2)
    evaluated = evaluate_case(
        prediction, reference, (1.0, 1.0), {"organ": 1}, settings, found
    ).labels[0]
    rows, columns = np.nonzero((prediction == 1) & (reference != 2) | (reference == 1))
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    known = reference[box] != 2
    expected = calibration_error(channels[1][box][known], reference[box][known] == 1)
    assert evaluated.metrics["ece"] == pytest.approx(expected)
    assert max(evaluated.lesions.lesions) <= channels[1][reference != 2].max()


def test_probabilities_of_regions_as_nnunet_trains_them(tmp_path):
    channels = np.random.default_rng(0).random((3, 4, 5))
    np.savez_compressed(tmp_path / "a.npz", probabilities=channels)
    found = read_probabilities(tmp_path / "a.nii.gz", (4, 5), LABELS)
    assert not found.is_softmax
    assert np.array_equal(found.of("both"), channels[2])


def test_evaluate_reports_calibration_and_froc(case, capsys):
    folder, *_ = case
    command = ["evaluate", f"{folder}/p", f"{folder}/r", "--workers", "1", "--metrics", "ece"]
    command += ["--labels", "organ=1", "tumour=2"]
    assert main([*command, "--json"]) == 0
    shown = capsys.readouterr()
    assert "not masks" not in shown.err
    content = json.loads(shown.out)
    assert 0 < content["cases"][0]["metrics"]["ece"] < 1
    curve = content["summary"]["froc"]["organ"]
    assert 0 <= curve["score"] <= 1
    assert curve["n_cases"] == 1
    assert main(command) == 0
    assert "FROC of label" in capsys.readouterr().out

    (folder / "p" / "a.npz").unlink()
    assert main([*command, "--json"]) == 0
    shown = capsys.readouterr()
    assert "no probabilities (.npz) next to it; metrics that need them are undefined" in shown.err
    content = json.loads(shown.out)
    assert content["cases"][0]["metrics"]["ece"] is None
    assert content["summary"]["froc"] == {}


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"probabilities": np.zeros((3, 4, 6))}, "does not fit 3 labels of an image of the shape"),
        ({"probabilities": np.zeros((2, 4, 5))}, "does not fit 3 labels"),
        ({"probabilities": np.zeros((5, 4, 5))}, "neither one channel per value nor one per label"),
        ({"probabilities": np.zeros((3, 4, 5), int)}, "they are of type int64"),
        ({"softmax": np.zeros((3, 4, 5))}, "does not hold probabilities"),
        (None, "does not hold probabilities"),
    ],
)
def test_other_files_are_refused(arrays, problem, tmp_path):
    if arrays is None:
        (tmp_path / "a.npz").write_bytes(b"PK")
    else:
        np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UnreadableFileError, match=problem):
        read_probabilities(tmp_path / "a.nii.gz", (4, 5), LABELS)


def test_calibration_needs_a_mask_with_voxels():
    nothing = np.zeros((4, 5), np.uint8)
    probabilities = Probabilities(np.full((2, 4, 5), 0.5), {"organ": 1}, is_softmax=True)
    settings = EvaluationSettings(metrics=("ece",))
    (label,) = evaluate_case(
        nothing, nothing, (1.0, 1.0), {"organ": 1}, settings, probabilities
    ).labels
    assert math.isnan(label.metrics["ece"])
    assert label.lesions == LesionScores((), (0.5,))  # one candidate, all over the image
