"""Masks that are nearly integers, layered, blurred, or cannot be read at all."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK

from dataset_files import (
    disc,
    findings_of,
    make,
    make_folders,
    noise,
    problems_of,
    save_pair,
    save_png_pair,
    save_raw,
)
from umamba.cli.main import main
from umamba.errors import EvaluationError
from umamba.evaluation.folders import FolderRequest, evaluate_folders
from umamba.evaluation.mask_files import MaskPair, read_pair
from umamba.images.contents import LoadedImage, UnreadableFileError
from umamba.images.files import read_image
from umamba.images.mask_values import integer_layer, mask_values, values_in

UP, DOWN = np.float32(np.inf), np.float32(-np.inf)


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


def labels(*shape):
    mask = np.zeros(shape, np.float32)
    mask[:2], mask[2:4], mask[4:5] = 1, 2, 3
    return mask


def nudged(mask, steps=1):
    """Move 1 and 2 up and 3 down by so many steps of float32."""
    for _ in range(steps):
        mask = np.where(mask >= 2.5, np.nextafter(mask, DOWN), np.nextafter(mask, UP))
    return mask


@pytest.mark.parametrize(
    ("array", "values", "n_rounded"),
    [
        (labels(6, 5, 4), {0, 1, 2, 3}, 0),
        (labels(6, 5, 4).astype(np.float64) * (1 - 1e-10), {0, 1, 2, 3}, 0),  # as float32 exact
        (nudged(labels(6, 5, 4)), {0, 1, 2, 3}, 120),
        (nudged(labels(6, 5, 4), steps=2), {0, 1, 2, 3}, 120),
        (np.float16(labels(6, 5, 4)) * np.float16(1.001), {0, 1, 2, 3}, 100),
        (labels(6, 5, 4) * 5000 * np.float32(1 + 1e-7), {0, 5000, 10000, 15000}, 100),
        (np.full((3, 3), -2.0), {-2}, 0),
    ],
)
def test_values_within_rounding_are_the_integer(tmp_path, array, values, n_rounded):
    found = mask_values(LoadedImage(tmp_path / "a.nii", array[None]))
    assert found.refusal is None
    assert (found.values, found.n_rounded) == (values, n_rounded)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0001, "1.0001"), (0.99999, "0.99999"), (np.nan, "nan"), (np.inf, "inf"), (0.5, "0.5")],
)
def test_other_values_are_refused_with_all_their_digits(tmp_path, value, shown):
    array = labels(6, 5, 4)
    array[0, 0, 0] = value
    problem, fix = mask_values(LoadedImage(tmp_path / "a.nii", array[None])).refusal
    assert problem == f"the mask holds 1 non-integer values, e.g. {shown}"
    assert fix == "save labels, not probabilities"


@pytest.mark.parametrize(("highest", "dtype"), [(3, np.int16), (7, np.int16), (4, np.uint8)])
def test_scaled_integers_are_labels_within_half_a_step(tmp_path, highest, dtype):
    """As nibabel saves float labels under a header of integers."""
    array = np.arange(8 * 6 * 4).reshape(8, 6, 4) % (highest + 1)
    image = nibabel.Nifti1Image(array.astype(np.float64), np.eye(4))
    image.header.set_data_dtype(dtype)
    image.to_filename(tmp_path / "a.nii.gz")
    for reader in ("SimpleITKIO", "NibabelIO"):
        loaded = read_image(tmp_path / "a.nii.gz", is_mask=True, reader=reader)
        assert mask_values(loaded).values == set(range(highest + 1))


def test_scaled_probabilities_are_no_labels(tmp_path):
    array = np.linspace(0, 1, 192).reshape(8, 6, 4)
    image = nibabel.Nifti1Image(array, np.eye(4))
    image.header.set_data_dtype(np.uint8)
    image.to_filename(tmp_path / "a.nii.gz")
    assert "non-integer" in mask_values(read_image(tmp_path / "a.nii.gz")).refusal[0]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int64])
def test_values_are_those_of_unique(dtype):
    array = (np.random.default_rng(0).random((5, 6, 7)) * 300).astype(dtype)
    assert values_in(array) == set(np.unique(array).tolist())


def test_a_data_set_gets_clean_integers(folders):
    for case in "ab":
        save_pair(folders, case, image=noise(6, 5, 4), mask=nudged(labels(6, 5, 4)))
    created = make(folders)
    assert "2 of 2 masks hold values such as 1.0000001" in created.warnings[0]
    written = SimpleITK.ReadImage(str(created.path / "labelsTr" / "a.nii.gz"))
    assert written.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    assert np.array_equal(SimpleITK.GetArrayFromImage(written), labels(6, 5, 4))


def test_check_says_that_nnunet_does_not_round(folders):
    raw = save_raw(folders, labels={"background": 0, "a": 1, "b": 2, "c": 3})
    for case in "abcde":
        image = SimpleITK.GetImageFromArray(nudged(labels(4, 6, 8)))
        SimpleITK.WriteImage(image, str(raw / "labelsTr" / f"{case}.nii.gz"))
    lines = [line for line in findings_of(folders) if line.startswith("error")]
    assert len(lines) == 5
    assert "192 voxels of the mask are not integers, e.g. 1.0000001: nnU-Net does not" in lines[0]


def test_evaluation_rounds_and_says_so(tmp_path):
    for folder, mask in (("pred", labels(6, 5, 4)), ("ref", nudged(labels(6, 5, 4)))):
        (tmp_path / folder).mkdir()
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(mask), str(tmp_path / folder / "a.nii.gz"))
    done = evaluate_folders(FolderRequest(tmp_path / "pred", tmp_path / "ref"))
    assert [label.metrics["dice"] for label in done.cases["a"].labels] == [1, 1, 1]
    assert "ref/a.nii.gz: 120 voxels are not integers, e.g. 1.0000001" in done.notes[0]
    path = tmp_path / "ref" / "a.nii.gz"
    assert np.array_equal(read_pair(MaskPair("a", path, path))[0], labels(6, 5, 4))


def antialiased(value=255):
    mask = disc(24, 30, value=value)
    mask[12, 1:15] = value // 2
    return mask


def test_blurred_edges_are_called_so(folders):
    for case in "ab":
        save_png_pair(folders, case, image=noise(24, 30), mask=antialiased())
    (problem,) = problems_of(folders)
    assert "look like blurred edges" in problem
    assert "threshold" in problem
    assert "--map" not in problem


def third_class():
    mask = disc(24, 30, value=255)
    mask[14:20, 16:26] = 128
    return mask


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (lambda: disc(24, 30, value=255), "--map 255=1 (0 is background)"),
        (third_class, "--map 128=1 255=2"),
    ],
)
def test_other_values_are_to_be_mapped(folders, mask, text):
    for case in "ab":
        save_png_pair(folders, case, image=noise(24, 30), mask=mask())
    (problem,) = problems_of(folders)
    assert text in problem


def test_many_values_of_few_voxels_are_blurred_and_many_objects_are_not(tmp_path):
    blurred = np.zeros((80, 90), np.uint8)
    blurred[:, 45:] = 255
    blurred[:, 30:45] = np.arange(15, dtype=np.uint8) * 17
    blurred[0, 30:45] += 1
    objects = np.zeros((80, 90), np.uint8)
    for n in range(40):
        row, column = divmod(n, 8)
        objects[row * 10 : row * 10 + 7, column * 10 : column * 10 + 7] = n + 60
    for mask, want in ((blurred, True), (objects, False)):
        assert mask_values(LoadedImage(tmp_path / "a.png", mask[None])).is_blurred is want


def layered(path):
    mask = np.stack([disc(4, 6, 8), np.flip(disc(4, 6, 8, value=2))], -1)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(mask, isVector=True), str(path))


def test_layers_of_slicer_are_named_with_the_remedy(folders):
    for case in "ab":
        save_pair(folders, case, ending=".nrrd")
        layered(folders / "masks" / f"{case}.nrrd")
    problems = problems_of(folders)
    assert len(problems) == 2  # and none that says of what was not read that it is empty
    assert "it holds 2 layers of masks, as 3D Slicer saves" in problems[0]
    assert "export it as a labelmap" in problems[0]


def test_grey_images_as_colour_are_noted_once(folders):
    for case in "abc":
        save_png_pair(folders, case, image=np.stack([noise(8, 10)] * 3, -1))
    (warning,) = make(folders).warnings
    assert "all channels of an image hold the same values in 3 of 3 cases" in warning


def test_unreadable_masks_are_not_called_empty_in_a_data_set(folders):
    for case in "abc":
        save_pair(folders, case)
        (folders / "masks" / f"{case}.nii.gz").write_bytes(b"torn")
    problems = problems_of(folders)
    assert len(problems) == 3
    assert all("cannot read it" in problem for problem in problems)


def test_one_unreadable_mask_leaves_open_what_the_others_do_not_hold(folders):
    raw = save_raw(folders, labels={"background": 0, "tumour": 1, "rare": 2})
    (raw / "labelsTr" / "c.nii.gz").write_bytes(b"torn")
    lines = findings_of(folders)
    assert len(lines) == 1
    assert "c.nii.gz: cannot read it" in lines[0]


def test_gaps_are_not_to_be_closed_while_a_mask_cannot_be_read(folders):
    for case in "abc":
        save_pair(folders, case, mask=disc(4, 6, 8, value=2))
    (folders / "masks" / "c.nii.gz").write_bytes(b"torn")
    torn, gaps = problems_of(folders)
    assert "cannot read it" in torn
    assert "make all masks readable first" in gaps
    assert "--map" not in gaps


def masks_for_evaluation(tmp_path, n_torn):
    for folder in ("pred", "ref"):
        (tmp_path / folder).mkdir()
        for number in range(5):
            image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6), np.uint8))
            path = tmp_path / folder / f"{number}.nii.gz"
            SimpleITK.WriteImage(image, str(path))
            if folder == "ref" and number < n_torn:
                path.write_bytes(b"torn")
    return FolderRequest(tmp_path / "pred", tmp_path / "ref")


def test_unreadable_references_are_not_called_empty(tmp_path):
    request = masks_for_evaluation(tmp_path, n_torn=5)
    with pytest.raises(EvaluationError) as caught:
        evaluate_folders(request)
    message = str(caught.value)
    assert message.startswith("none of the references can be read: ref/0.nii.gz: cannot read it")
    assert message.endswith("(and 4 more like it)")


def test_empty_references_beside_unreadable_ones(tmp_path):
    request = masks_for_evaluation(tmp_path, n_torn=2)
    with pytest.raises(EvaluationError, match="of 5 references 2 could not be read: ref/0"):
        evaluate_folders(request)


def test_one_value_each_may_be_the_same(tmp_path, capsys):
    for folder, value in (("pred", 1), ("ref", 255)):
        (tmp_path / folder).mkdir()
        image = SimpleITK.GetImageFromArray(disc(8, 10, value=value))
        SimpleITK.WriteImage(image, str(tmp_path / folder / "a.png"))
    command = ["evaluate", str(tmp_path / "pred"), str(tmp_path / "ref"), "--workers", "1"]
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    assert "give --labels NAME=1,255" in captured.err
    assert main([*command, "--json", "--labels", "object=1,255"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"][0]["metrics"]["dice"] == 1


def test_a_layer_that_differs_in_colour(tmp_path):
    array = np.stack([disc(8, 10), noise(8, 10)])
    with pytest.raises(UnreadableFileError, match="2 channels that differ"):
        integer_layer(LoadedImage(tmp_path / "a.png", array))
