"""Two folders of masks: formats, labels, and cases that do not fit."""

import os
import re

import numpy as np
import pytest

from dataset_files import save
from umamba.errors import EvaluationError
from umamba.evaluation.folders import FolderRequest, evaluate_folders
from umamba.evaluation.labels import labels_from_dataset_json, labels_from_values
from umamba.evaluation.settings import EvaluationSettings


def squares(shift=0, shape=(6, 30, 30)):
    mask = np.zeros(shape, np.uint8)
    mask[..., 2 + shift : 8 + shift, 2:8] = 1
    mask[..., 12:22, 12 + shift : 22 + shift] = 3
    return mask


@pytest.fixture
def folders(tmp_path):
    for name in ("predictions", "references"):
        (tmp_path / name).mkdir()
    return tmp_path


def put(folders, name, prediction, reference, **geometry):
    save(folders / "predictions" / name, prediction, **geometry)
    save(folders / "references" / name, reference, **geometry)


def evaluate(folders, **changes):
    return evaluate_folders(
        FolderRequest(folders / "predictions", folders / "references", **changes)
    )


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif"])
def test_every_format(folders, ending):
    shape = (30, 30) if ending == ".png" else (6, 30, 30)
    put(folders, f"a{ending}", squares(1, shape), squares(0, shape))
    found = evaluate(folders)
    assert found.labels == {"1": 1, "3": 3}
    assert found.unit == ("px" if ending in (".png", ".tif") else "mm")
    assert [label.metrics["dice"] for label in found.cases["a"].labels] == pytest.approx(
        [5 / 6, 9 / 10]
    )


def test_spacing_is_that_of_the_array_axes(folders):
    put(folders, "a.nii.gz", squares(1), squares(), spacing=(0.5, 2.0, 3.0))  # x, y, z
    low, high = evaluate(folders).cases["a"].labels
    assert low.reference_volume == 6 * 6 * 6 * 3
    assert low.metrics["hd95"] == 2
    assert high.metrics["hd95"] == 0.5


def test_a_prediction_may_have_another_format_and_folders_below(folders):
    save(folders / "predictions" / "p" / "a.tif", squares(shape=(30, 30)))
    save(folders / "references" / "p" / "a.png", squares(shape=(30, 30)))
    assert list(evaluate(folders).cases) == ["p/a"]


def test_spacing_for_formats_without(folders):
    put(folders, "a.tif", squares(), squares())
    found = evaluate(folders, spacing=(3.0, 2.0, 0.5))
    assert found.unit == "mm"
    assert found.cases["a"].labels[0].reference_volume == 6 * 6 * 6 * 3
    message = (
        r"can be evaluated:\n  case a: the image has 3 dimensions, but the given spacing has 2"
    )
    with pytest.raises(EvaluationError, match=message):
        evaluate(folders, spacing=(2.0, 0.5))


def test_units_are_not_mixed(folders):
    put(folders, "a.tif", squares(), squares())
    put(folders, "b.nrrd", squares(), squares())
    with pytest.raises(EvaluationError, match="--spacing"):
        evaluate(folders)


def test_numbered_objects(folders):
    numbered = np.zeros((20, 20), np.uint16)
    numbered[2:6, 2:6], numbered[6:9, 2:6], numbered[12:18, 12:18] = 1, 700, 40000
    put(folders, "a.png", np.where(numbered == 700, 0, numbered), numbered)
    found = evaluate(folders, instances=True)
    assert found.labels is None
    everything, *_ = found.cases["a"].instance_records(found.settings)
    assert (everything["n_reference"], everything["n_matched"]) == (3, 2)


def test_cut_points_are_terciles_of_all_references_unless_given(folders):
    for name, size in (("a", 2), ("b", 4), ("c", 6)):
        mask = np.zeros((10, 10), np.uint8)
        mask[:size, :size] = 1
        put(folders, f"{name}.png", mask, mask)
    settings = EvaluationSettings(size_measure="volume")
    low, high = evaluate(folders, settings=settings).settings.size_cut_points["1"]
    assert 4 < low < 16 < high < 36
    given = evaluate(folders, settings=settings, cut_points=(5.0,)).settings
    assert given.size_cut_points == {"1": (5.0,)}


def test_several_processes_give_the_same_in_the_same_order(folders):
    for index in range(4):
        put(folders, f"case{index}.nrrd", squares(index), squares(shape=(6 - index, 30, 30)))
    put(folders, "case4.nrrd", squares(2), squares())
    one, two = evaluate(folders), evaluate(folders, n_workers=2)
    assert list(two.cases) == ["case0", "case4"]
    assert two.failed == one.failed
    assert list(two.failed) == ["case1", "case2", "case3"]
    for case, evaluation in two.cases.items():
        assert evaluation.case_records() == one.cases[case].case_records()


@pytest.mark.parametrize(
    ("prediction", "geometry", "reason"),
    [
        (squares(shape=(5, 30, 30)), {}, r"has the shape \(5, 30, 30\), not \(6, 30, 30\)"),
        (squares(), {"spacing": (1, 1, 2)}, r"spacing \(1, 1, 2\) but \(1, 1, 1\)"),
        (squares(), {"origin": (9, 0, 0)}, r"origin \(9, 0, 0\) but \(0, 0, 0\)"),
        (squares() * np.float32(0.5), {}, r"predictions/b\.nii\.gz: the mask holds .* non-integer"),
        (np.where(squares(), np.nan, 0), {}, "non-integer values, e.g. nan"),
    ],
)
def test_a_case_that_does_not_fit_is_named_and_the_rest_goes_on(
    folders, prediction, geometry, reason
):
    put(folders, "a.nii.gz", squares(), squares())
    put(folders, "b.nii.gz", squares(), squares())
    save(folders / "predictions" / "b.nii.gz", prediction, **geometry)
    found = evaluate(folders)
    assert list(found.cases) == ["a"]
    assert list(found.failed) == ["b"]
    assert re.search(reason, found.failed["b"])


def test_damaged_missing_and_extra_files(folders):
    put(folders, "a.nrrd", squares(), squares())
    put(folders, "b.nrrd", squares(), squares())
    (folders / "references" / "b.nrrd").write_bytes(b"NRRD")
    save(folders / "predictions" / "extra.nrrd", squares())
    save(folders / "references" / "missing.nrrd", squares())
    found = evaluate(folders)
    assert (found.missing, found.extra) == (("missing",), ("extra",))
    assert "references/b.nrrd" in found.failed["b"]


def test_values_of_predictions_without_label_are_named(folders):
    put(folders, "a.nrrd", squares() * 85, squares())
    assert evaluate(folders).unnamed == (85, 255)
    assert evaluate(folders, labels={"all": (1, 3, 85)}).unnamed == (255,)


def test_ignored_values_are_no_label(folders):
    put(folders, "a.nrrd", squares(), squares())
    found = evaluate(folders, settings=EvaluationSettings(ignore=3))
    assert found.labels == {"1": 1}
    assert found.unnamed == ()


def test_nothing_in_common(folders):
    save(folders / "predictions" / "a_0000.nrrd", squares())
    save(folders / "references" / "a.nrrd", squares())
    with pytest.raises(EvaluationError, match=r"such as a_0000, references such as a;"):
        evaluate(folders)


def test_folders_that_hold_nothing(folders):
    with pytest.raises(EvaluationError, match=r"no mask in .*predictions"):
        evaluate(folders)
    (folders / "predictions").rmdir()
    with pytest.raises(EvaluationError, match="no such folder"):
        evaluate(folders)


def test_two_files_of_one_case_fail_alone(folders):
    put(folders, "a.nrrd", squares(), squares())
    put(folders, "b.nrrd", squares(), squares())
    save(folders / "references" / "a.mha", squares())
    result = evaluate(folders)
    assert list(result.cases) == ["b"]
    assert result.failed == {
        "a": "references/a.mha, references/a.nrrd are masks of the same case: keep one of them"
    }
    assert (result.missing, result.extra) == ((), ())


def test_every_file_is_used_or_named(folders):
    put(folders, "a.nrrd", squares(), squares())
    save(folders / "predictions" / "b.nrrd", squares())
    (folders / "predictions" / "b.nrrd").rename(folders / "predictions" / "b.NRRD")
    save(folders / "references" / "b.nrrd", squares())
    (folders / "references" / "b.nrrd").rename(folders / "references" / "b.Nrrd")
    (folders / "references" / "c.jpg").write_bytes(b"?")
    (folders / "references" / "d.nrrd").mkdir()
    put(folders, "e.nrrd", squares(), squares())
    os.mkfifo(folders / "predictions" / "f.nrrd")
    save(folders / "references" / "f.nrrd", squares())
    (folders / "predictions" / "g.nrrd").symlink_to("nowhere")
    save(folders / "references" / "g.nrrd", squares())
    for name in ("._a.nrrd", ".DS_Store", "Thumbs.db", "desktop.ini", "dataset.json"):
        (folders / "predictions" / name).write_bytes(b"?")
    result = evaluate(folders)
    assert set(result.cases) == {"a", "b", "e"}
    assert set(result.failed) == {"c.jpg", "f", "g"}
    assert "it is a device or a pipe" in result.failed["f"]
    assert (result.missing, result.unused) == (("d",), ("predictions/dataset.json",))


def test_a_tolerance_for_no_label(folders):
    put(folders, "a.nrrd", squares(), squares())
    with pytest.raises(EvaluationError, match="tolerance for liver, but the labels are 1, 3"):
        evaluate(folders, settings=EvaluationSettings(nsd_tolerances={"liver": 1.0}))


def test_labels_of_dataset_json(tmp_path):
    file = tmp_path / "dataset.json"
    file.write_text('{"labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}}')
    assert labels_from_dataset_json(file) == ({"whole": (1, 2), "core": 2}, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read: Expecting value"),
        (b"[]", "is not a JSON object"),
        (b"{}", "labels is None; nnU-Net needs the value of every name"),
        (b'{"labels": {"a": "1"}}', "label a is '1'; give an integer"),
        (b'{"labels": {"background": 0}}', "`labels` names only the background"),
        (b'{"labels": {"0": "background", "1": "left lung"}}', "give --labels 'left lung=1'"),
        ('{"labels": {"ü": 1}}'.encode("utf-16"), "byte order mark"),
        ('{"labels": {"ü": 1}}'.encode("latin-1"), "it is not UTF-8"),
    ],
)
def test_a_malformed_dataset_json(tmp_path, content, message):
    file = tmp_path / "dataset.json"
    file.write_bytes(content)
    with pytest.raises(EvaluationError, match=re.escape(str(file))) as caught:
        labels_from_dataset_json(file)
    assert message in str(caught.value)
    with pytest.raises(EvaluationError, match=r"none\.json does not exist"):
        labels_from_dataset_json(tmp_path / "none.json")


def test_labels_without_background_are_enough(tmp_path):
    file = tmp_path / "dataset.json"
    file.write_text('{"labels": {"a": 1}}')
    assert labels_from_dataset_json(file) == ({"a": 1}, None)


def test_labels_that_are_objects_or_nothing():
    with pytest.raises(EvaluationError, match=r"hold 300 values from 1 to 300.*--instances"):
        labels_from_values(range(301))
    with pytest.raises(EvaluationError, match="contain only background"):
        labels_from_values({0})


def test_masks_of_a_class_are_not_taken_for_numbered_objects_in_silence(folders):
    numbered = squares()
    put(folders, "a.nrrd", (numbered > 0).astype(np.uint8), numbered)
    (note,) = evaluate(folders, instances=True).notes
    assert "no prediction numbers more than one object" in note
    assert "without --instances" in note
    put(folders, "b.nrrd", numbered, numbered)
    assert evaluate(folders, instances=True).notes == ()
    assert evaluate(folders).notes == ()
