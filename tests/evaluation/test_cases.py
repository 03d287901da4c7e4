"""One case: labels, regions, single slices, voxels to ignore, and what is refused."""

import json

import numpy as np
import pytest

from umamba.errors import EvaluationError
from umamba.evaluation.cases import evaluate_case
from umamba.evaluation.metrics import chosen_metrics
from umamba.evaluation.settings import EvaluationSettings

# Metrics that are defined even if both masks are empty.
NUMBERED = ("lesion_false_positives", "lesion_false_positive_volume")


def masks():
    reference = np.zeros((12, 12, 12), np.uint8)
    reference[2:6, 2:6, 2:6] = 1
    reference[6:10, 2:6, 2:6] = 2
    prediction = reference.copy()
    prediction[5] = np.where(reference[5] == 1, 2, 0)
    return prediction, reference


def by_label(evaluation):
    return {label.label: label for label in evaluation.labels}


def test_labels_and_regions():
    labels = {"low": 1, "high": 2, "whole": (1, 2), "absent": 3}
    found = by_label(evaluate_case(*masks(), (1.0, 1.0, 1.0), labels))
    assert tuple(found) == tuple(labels)
    assert found["low"].metrics["dice"] == pytest.approx(2 * 48 / (48 + 64))
    assert found["high"].metrics["dice"] == pytest.approx(2 * 64 / (80 + 64))
    assert found["whole"].metrics["dice"] == 1
    assert found["absent"].empty == "both"


def test_volumes_and_tolerances_are_physical():
    settings = EvaluationSettings(nsd_tolerance=0.0, nsd_tolerances={"high": 3.0})
    found = by_label(evaluate_case(*masks(), (3.0, 1.0, 0.5), {"low": 1, "high": 2}, settings))
    assert found["low"].reference_volume == 64 * 1.5
    assert found["low"].prediction_volume == 48 * 1.5
    assert found["low"].metrics["nsd"] < 1
    assert found["high"].metrics["nsd"] == 1
    assert found["high"].metrics["hd95"] == 3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_a_2d_image(axis):
    prediction, reference = (np.expand_dims(mask[4:8, :, 4], axis) for mask in masks())
    spacing = [2.0, 0.5]
    flat = evaluate_case(prediction.squeeze(axis), reference.squeeze(axis), spacing, {"a": 1})
    spacing.insert(axis, 999.0)
    single = evaluate_case(prediction, reference, spacing, {"a": 1})
    assert single.case_records() == flat.case_records()
    settings = EvaluationSettings(size_cut_points={"a": (3.0,)})
    assert single.instance_records(settings) == flat.instance_records(settings)


def test_ignored_voxels_count_nowhere():
    prediction, reference = masks()
    reference[5] = 9
    found = by_label(
        evaluate_case(
            prediction, reference, (1.0, 1.0, 1.0), {"low": 1}, EvaluationSettings(ignore=9)
        )
    )
    assert found["low"].metrics["dice"] == 1
    assert found["low"].reference_volume == 48


def test_numbered_objects_that_touch_stay_apart():
    reference = np.zeros((8, 8), np.int32)
    reference[1:4, 1:4], reference[4:7, 1:4] = 300, 70000
    evaluation = evaluate_case(reference, reference, (1.0, 1.0), None)
    assert [label.label for label in evaluation.labels] == ["object"]
    assert evaluation.instance_records(EvaluationSettings())[0]["n_matched"] == 2
    as_components = evaluate_case(reference > 0, reference > 0, (1.0, 1.0), {"cell": 1})
    assert as_components.instance_records(EvaluationSettings())[0]["n_matched"] == 1


def test_records_are_json_without_nan():
    settings = EvaluationSettings(size_cut_points={"absent": (2.0, 5.0)})
    evaluation = evaluate_case(*masks(), (1.0, 1.0, 1.0), {"low": 1, "absent": 3}, settings)
    cases, instances = evaluation.case_records(), evaluation.instance_records(settings)
    json.dumps([cases, instances, settings.to_dict()], allow_nan=False)
    undefined = dict.fromkeys(chosen_metrics(settings))
    assert cases[1]["metrics"] == undefined | dict.fromkeys(NUMBERED, 0)
    assert [r["stratum"] for r in instances] == ["all", "all", "small", "medium", "large"]


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
@pytest.mark.parametrize("labels", [{"low": 1, "high": 2}, None])
def test_an_image_without_any_label(shape, labels):
    nothing = np.zeros(shape, np.uint8)
    settings = EvaluationSettings(metrics=("all",))
    evaluation = evaluate_case(nothing, nothing, (1.0,) * len(shape), labels, settings)
    rows = evaluation.case_records()
    assert len(rows) == (1 if labels is None else 2)
    for row in rows:
        assert row["empty"] == "both"
        known = {name for name, value in row["metrics"].items() if value is not None}
        assert known == {*NUMBERED}


def test_a_voxel_far_away_changes_nothing_but_itself():
    prediction, reference = masks()
    prediction[11, 11, 11] = 1
    (label,) = evaluate_case(prediction, reference, (1.0, 1.0, 1.0), {"low": 1}).labels
    assert label.metrics["precision"] == pytest.approx(48 / 49)
    assert len(label.objects.prediction_volumes) == 2


@pytest.mark.parametrize(
    ("prediction", "spacing", "message"),
    [
        (np.zeros((4, 5), int), (1.0, 1.0), r"shape \(4, 5\), the reference \(4, 4\)"),
        (np.zeros((4, 4), int), (1.0, 1.0, 1.0), r"one spacing per axis"),
        (np.zeros((4, 4), int), (1.0, 0.0), r"spacing \(1.0, 0.0\) must be positive"),
        (np.zeros((4, 4)), (1.0, 1.0), r"the prediction is of type float64"),
    ],
)
def test_what_does_not_fit_is_refused(prediction, spacing, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate_case(prediction, np.zeros((4, 4), int), spacing, {"a": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nsd_tolerance": -1.0}, "tolerance -1.0 is not a distance"),
        ({"nsd_tolerances": {"a": float("nan")}}, "tolerance nan is not a distance"),
        ({"matching_iou": 1.0}, "IoU 1.0"),
        ({"size_cut_points": {"a": (3.0, 2.0)}}, r"\[3.0, 2.0\] of object sizes"),
        ({"size_cut_points": {"a": (0.0, 2.0)}}, "must be positive and ascending"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(EvaluationError, match=message):
        EvaluationSettings(**changes)
