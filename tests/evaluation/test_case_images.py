"""Cases as they are looked at: the patient's axes, and no more voxels than fit."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from skimage.io import imsave

from umamba.datasets.checks import Case
from umamba.evaluation.case_images import find_images, read_volumes
from umamba.images.contents import UnreadableFileError

SPACING = (0.5, 1.0, 4.0)  # x, y, z


def rotation(degrees: float, axis: int) -> np.ndarray:
    """Return a rotation around an axis."""
    turn = np.radians(degrees)
    a, b = (other for other in range(3) if other != axis)
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(turn)
    matrix[a, b], matrix[b, a] = -np.sin(turn), np.sin(turn)
    return matrix


DIRECTIONS = {
    "usual": np.eye(3),
    "flipped": np.diag([-1.0, 1.0, -1.0]),
    "sagittal": np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]]),
    "oblique": rotation(20, 0) @ np.diag([1.0, -1.0, -1.0]),
}


def write(folder: Path, direction: np.ndarray) -> tuple[Case, SimpleITK.Image]:
    """Write an image and a mask in which every voxel is another one."""
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    folder.mkdir(exist_ok=True)
    for name, values in (("image", array), ("mask", (array % 3).astype(np.uint8))):
        image = SimpleITK.GetImageFromArray(values)
        image.SetSpacing(SPACING)
        image.SetDirection(direction.ravel().tolist())
        SimpleITK.WriteImage(image, str(folder / f"{name}.nii.gz"))
    case = Case("a", (folder / "image.nii.gz",), folder / "mask.nii.gz")
    return case, SimpleITK.ReadImage(str(folder / "image.nii.gz"))


@pytest.mark.parametrize("name", DIRECTIONS)
def test_axes_become_those_of_the_patient(tmp_path: Path, name: str) -> None:
    case, image = write(tmp_path, DIRECTIONS[name])
    found = read_volumes(case, {"one": tmp_path / "mask.nii.gz", "gone": tmp_path / "no.nii.gz"})
    wanted = SimpleITK.DICOMOrient(image, "LPS")  # ITK's own: x to the left, y back, z up
    array = SimpleITK.GetArrayFromImage(wanted)
    np.testing.assert_array_equal(found.channels[0], array)
    np.testing.assert_array_equal(found.reference, array % 3)
    np.testing.assert_array_equal(found.predictions["one"], array % 3)
    assert [*found.predictions] == ["one"]
    assert found.spacing == pytest.approx(wanted.GetSpacing()[::-1])
    assert found.oriented
    assert found.tilt == pytest.approx(20 if name == "oblique" else 0, abs=0.1)


def test_at_45_degrees_each_axis_is_still_used_once(tmp_path: Path) -> None:
    case, _ = write(tmp_path, rotation(45, 0))
    found = read_volumes(case, {})
    assert sorted(found.channels[0].ravel().tolist()) == list(range(120))
    assert found.tilt == pytest.approx(45, abs=0.1)


def test_of_a_large_volume_voxels_are_left_out_where_they_are_finest(tmp_path: Path) -> None:
    case, _ = write(tmp_path, np.eye(3))
    whole = read_volumes(case, {})
    assert whole.steps == (1, 1, 1)
    found = read_volumes(case, {"one": tmp_path / "mask.nii.gz"}, most_bytes=2 * 4 * 5 * 3)
    assert found.steps == (1, 1, 2)  # x has the smallest voxels
    assert found.spacing == (4.0, 1.0, 1.0)
    np.testing.assert_array_equal(found.channels[0], whole.channels[0][:, :, 1::2])
    np.testing.assert_array_equal(found.predictions["one"], whole.reference[:, :, 1::2])
    assert read_volumes(case, {}, most_bytes=1).reference.size == 1


def test_without_its_image_a_case_keeps_its_masks(tmp_path: Path) -> None:
    case, image = write(tmp_path, DIRECTIONS["flipped"])
    (tmp_path / "image.nii.gz").write_bytes(b"no image")
    found = read_volumes(case, {})
    assert (found.channels, found.oriented) == ((), True)
    assert found.problem
    wanted = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(image, "LPS")) % 3
    np.testing.assert_array_equal(found.reference, wanted)
    assert read_volumes(Case("a", (), case.mask), {}).problem == "there is no image"
    with pytest.raises(UnreadableFileError, match="has no reference"):
        read_volumes(Case("a", case.images, None), {})


def test_colours_stay_together_and_shapes_must_agree(tmp_path: Path) -> None:
    imsave(tmp_path / "mask.png", np.ones((4, 5), np.uint8), check_contrast=False)
    image = np.random.default_rng(0).integers(0, 255, (4, 5, 3), np.uint8)
    imsave(tmp_path / "image.png", image, check_contrast=False)
    found = read_volumes(Case("a", (tmp_path / "image.png",), tmp_path / "mask.png"), {})
    np.testing.assert_array_equal(found.channels[0], image)
    assert not found.oriented
    imsave(tmp_path / "image.png", image[:3], check_contrast=False)
    found = read_volumes(Case("a", (tmp_path / "image.png",), tmp_path / "mask.png"), {})
    assert found.problem == (
        "the image has the shape (3, 5), its reference (4, 5); replace one of them"
    )


def test_skewed_axes_are_drawn_and_it_is_said(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 1] = 0.5
    array = np.arange(6 * 5 * 4, dtype=np.int16).reshape(6, 5, 4)
    for name, values in (("image", array), ("mask", (array % 3).astype(np.uint8))):
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / f"{name}.nii.gz")
    mask = tmp_path / "mask.nii.gz"
    for images in ((tmp_path / "image.nii.gz",), ()):
        found = read_volumes(Case("a", images, mask), {"one": mask})
        assert found.notes == (
            "The axes of the masks are not at right angles, but are drawn as if they were.",
        )
        # NIfTI's axes run to the right and front, ours to the left and back.
        np.testing.assert_array_equal(found.reference, (array % 3).T[:, ::-1, ::-1])
        np.testing.assert_array_equal(found.predictions["one"], found.reference)
    assert len(read_volumes(Case("a", (tmp_path / "image.nii.gz",), mask), {}).channels) == 1


def test_an_image_that_lies_elsewhere_than_its_masks_is_remarked_on(tmp_path: Path) -> None:
    case, _ = write(tmp_path, np.eye(3))
    assert read_volumes(case, {}).notes == ()
    other, _ = write(tmp_path / "other", DIRECTIONS["flipped"])
    found = read_volumes(Case("a", other.images, case.mask), {})
    (note,) = found.notes
    assert "has the direction (-1, 0, 0, 0, 1, 0, 0, 0, -1) but (1, 0, 0, 0, 1, 0, 0, 0, 1)" in note
    assert "one of them may be mirrored or shifted" in note
    np.testing.assert_array_equal(found.channels[0] % 3, found.reference)  # as nnU-Net trains


def test_files_without_a_voxel_size_have_the_one_that_is_given(tmp_path: Path) -> None:
    imsave(tmp_path / "mask.png", np.ones((4, 5), np.uint8), check_contrast=False)
    case, masks = Case("a", (), tmp_path / "mask.png"), {"one": tmp_path / "mask.png"}
    assert read_volumes(case, masks).spacing == (1.0, 1.0)
    assert read_volumes(case, masks, spacing=(5.0, 0.5)).spacing == (5.0, 0.5)


def test_images_are_named_like_cases_or_numbered_by_channel(tmp_path: Path) -> None:
    names = ["a_0001.nii.gz", "a_0000.nii.gz", "b.png", "b_0000.png", "c_001.png", "notes.txt"]
    names += ["site/d_0000.nrrd", "e_0000_0000.png", "other_0000.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_images(tmp_path, ("a", "b", "c", "site/d", "e_0000"))
    assert {case: [str(p.relative_to(tmp_path)) for p in its] for case, its in found.items()} == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b": ["b.png"],
        "site/d": ["site/d_0000.nrrd"],
        "e_0000": ["e_0000_0000.png"],
    }
