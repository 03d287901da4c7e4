"""The cases in the page of an evaluation."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from skimage.io import imsave

from umamba.datasets.checks import Case
from umamba.evaluation.browsed_cases import BrowsedCase, browse_cases, evaluated_cases
from umamba.evaluation.folders import FolderRequest, evaluate_folders


def test_predictions_are_shown_with_their_dice(tmp_path: Path) -> None:
    reference = np.zeros((6, 8), np.uint8)
    reference[:3] = 1
    reference[5] = 2
    prediction = np.roll(reference, 1, axis=0)
    for folder, mask in (("pred", prediction), ("ref", reference)):
        (tmp_path / folder).mkdir()
        imsave(tmp_path / folder / "a.png", mask, check_contrast=False)
    labels = {"one": 1, "any": (1, 2)}
    request = FolderRequest(tmp_path / "pred", tmp_path / "ref", labels=labels)
    browser = evaluated_cases(evaluate_folders(request), tmp_path / "pred", tmp_path / "ref")
    assert browser.index["cases"] == ["a"]
    assert browser.index["labels"] == [["one", [1]], ["any", [1, 2]]]
    ((name, data),) = browser.cases
    raw = gzip.decompress(data)
    start = int.from_bytes(raw[:4], "little") + 4
    header = json.loads(raw[4:start])
    assert name == "a"
    assert header["notes"] == []
    assert browser.index["notes"] == [
        "Masks are shown without images, as none were named (--images)."
    ]
    assert header["masks"][0]["dice"] == {"one": pytest.approx(2 / 3), "any": pytest.approx(3 / 4)}
    stored = np.frombuffer(raw, np.uint8, prediction.size, start + header["arrays"][1][1])
    np.testing.assert_array_equal(stored.reshape(prediction.shape), prediction)


def test_a_case_that_cannot_be_encoded_does_not_stop_the_others(tmp_path: Path) -> None:
    for name, values in (("image", [[-1e308, 1e308]]), ("mask", [[0, 1]])):
        file = str(tmp_path / f"{name}.nrrd")
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.array(values)), file)
    mask = tmp_path / "mask.nrrd"
    cases = {
        "extreme": BrowsedCase(Case("extreme", (tmp_path / "image.nrrd",), mask), ()),
        "usual": BrowsedCase(Case("usual", (mask,), mask), ()),
        "broken": BrowsedCase(Case("broken", (mask,), tmp_path / "broken.nrrd"), ()),
    }
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\n")
    extreme, usual, broken = (gzip.decompress(data) for _, data in browse_cases(cases, {}).cases)
    assert b"The case cannot be shown: channel 0 has values from -1e+308 to 1e+308" in extreme
    assert b"problem" not in usual
    assert b"broken.nrrd" in broken
    assert str(tmp_path).encode() not in broken  # pages are sent to others
