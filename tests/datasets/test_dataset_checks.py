import numpy as np
import pytest
from skimage.io import imread

from dataset_files import (
    disc,
    make,
    make_folders,
    noise,
    problems_of,
    save,
    save_pair,
    save_png_pair,
)
from umamba.datasets.checks import Case, inspect_case


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


# Files that cannot be paired.


def test_all_problems_of_all_cases_are_listed_at_once(folders):
    save_png_pair(folders, "good")
    save_png_pair(folders, "small", mask=disc(8, 9))
    save(folders / "images" / "no_mask.png", noise(8, 10))
    save(folders / "masks" / "no_image.png", disc(8, 10))
    save_png_pair(folders, "torn")
    torn = folders / "images" / "torn.png"
    torn.write_bytes(torn.read_bytes()[:60])
    lines = problems_of(folders)
    assert len(lines) == 4
    assert lines[0].startswith(
        "case no_mask: images/no_mask.png: the image has no mask; add a mask"
    )
    assert lines[1].startswith(
        "case no_image: masks/no_image.png: the mask has no image; add an image"
    )
    assert lines[2].startswith(
        "case small: masks/small.png: shape (8, 9) but images/small.png has (8, 10)"
    )
    assert lines[3] == (
        "case torn: images/torn.png: cannot read it: truncated or not a PNG image; replace the file"
    )


def test_missing_channel(folders):
    for name in ("a_0000", "a_0001", "b_0000"):
        save(folders / "images" / f"{name}.png", noise(8, 10))
    for name in "ab":
        save(folders / "masks" / f"{name}.png", disc(8, 10))
    (line,) = problems_of(folders)
    assert line.startswith(
        "case b: images/b_0000.png: channel _0001 is missing; add the file b_0001"
    )


def test_two_files_for_one_case(folders):
    save_png_pair(folders, "a")
    save(folders / "images" / "a.tif", noise(8, 10))
    (line,) = problems_of(folders)
    assert "2 files claim to be this image" in line
    assert "keep one" in line


# Files that cannot be read.


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_unreadable_file(folders, capfd, ending, damage, folder):
    flat = ending in (".png", ".tif")
    shape = (40, 30) if flat else (10, 20, 30)
    image = noise(*shape)
    for case in "ab":
        save_pair(folders, case, ending, image, (image > 100).astype(np.uint8))
    file = folders / folder / f"b{ending}"
    content = file.read_bytes()
    file.write_bytes(
        {"truncated": content[: len(content) * 2 // 3], "empty": b"", "text": b"hi"}[damage]
    )
    (line,) = problems_of(folders)
    assert line.startswith(f"case b: {folder}/b{ending}: ")
    assert ("the file is empty" if damage == "empty" else "truncated") in line
    assert line.endswith("; replace the file")
    assert capfd.readouterr().err == ""


def test_broken_link_and_skewed_axes(folders):
    save_pair(folders, "a")
    (folders / "images" / "a.nii.gz").unlink()
    (folders / "images" / "a.nii.gz").symlink_to(folders / "gone")
    save_pair(folders, "b")
    skewed = np.eye(4)
    skewed[0, 1] = 0.3
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(noise(8, 6, 4), skewed), folders / "masks" / "b.nii.gz")
    lines = problems_of(folders)
    assert "the file is gone" in lines[0]
    assert "not at right angles" in lines[1]


# Grids.


@pytest.mark.parametrize(
    ("mask_geometry", "message"),
    [
        ({"spacing": (1.0, 1.0, 1.5)}, "spacing (1, 1, 1.5) but (1, 1, 1) in images/a.mha"),
        ({"origin": (0.0, 0.0, 0.5)}, "origin (0, 0, 0.5) but (0, 0, 0) in images/a.mha"),
        ({"direction": (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)}, "direction (-1, 0, 0, 0, -1, 0, 0"),
    ],
)
def test_geometry(folders, mask_geometry, message):
    save(folders / "images" / "a.mha", noise(4, 6, 8))
    save(folders / "masks" / "a.mha", disc(4, 6, 8), **mask_geometry)
    (line,) = problems_of(folders)
    assert message in line
    assert "resample one onto the other" in line


def test_channels_need_one_grid(folders):
    save(folders / "images" / "a_0000.nrrd", noise(4, 6, 8))
    save(folders / "images" / "a_0001.nrrd", noise(4, 6, 8), spacing=(1.0, 1.0, 2.0))
    save(folders / "masks" / "a.nrrd", disc(4, 6, 8))
    (line,) = problems_of(folders)
    assert line.startswith("case a: images/a_0001.nrrd: spacing (1, 1, 2)")


def test_swapped_axes_are_recognised(folders):
    save_pair(folders, "a", mask=disc(8, 6, 4))
    (line,) = problems_of(folders)
    assert "the axes look swapped" in line


# Cases against each other.


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (noise(8, 10), "the image has 1 channel, but 2 of 3 cases have 3 channels"),
        (noise(8, 10, 4), "the image has 4 channels (the last one perhaps an alpha channel"),
    ],
)
def test_channel_counts(folders, odd, message):
    for case in "ab":
        save_png_pair(folders, case, noise(8, 10, 3))
    save_png_pair(folders, "c", odd)
    (line,) = problems_of(folders)
    assert line.startswith(f"case c: images/c.png: {message}")


def test_flat_and_deep_images(folders):
    for case in "ab":
        save_pair(folders, case)
    save_pair(folders, "c", image=noise(6, 8), mask=disc(6, 8))
    (line,) = problems_of(folders)
    assert "the image has 2D, but 2 of 3 cases have 3D; give 2D or 3D images" in line


def test_channel_names_must_fit(folders):
    save_png_pair(folders, "a", noise(8, 10, 3))
    (line,) = problems_of(folders, naming={"channels": (("grey", ""),)})
    assert "--channels names 1, but the images have 3" in line


# Voxels.


def test_nan_and_infinity_are_counted_per_channel(folders):
    for channel, value in enumerate((np.nan, np.inf)):
        image = noise(4, 6, 8, dtype=np.float32)
        image[0, 0, : channel + 2] = value
        save(folders / "images" / f"a_000{channel}.nii.gz", image)
    save(folders / "masks" / "a.nii.gz", disc(4, 6, 8))
    lines = problems_of(folders, naming={"channels": (("T1", ""), ("T2", ""))})
    assert "channel T1 holds 2 NaN voxels (of 192)" in lines[0]
    assert "channel T2 holds 3 infinite voxels (of 192)" in lines[1]


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_masks_hold_integers(folders, value):
    mask = disc(4, 6, 8, dtype=np.float32)
    mask[0, 0, 0] = value
    save_pair(folders, "a", mask=mask)
    save_pair(folders, "b")
    (line,) = problems_of(folders)
    assert f"1 non-integer values, e.g. {value}; save labels, not probabilities" in line


def test_complex_voxels(folders):
    save_pair(folders, "a", ".tif", noise(8, 10).astype(np.complex64), disc(8, 10))
    (line,) = problems_of(folders)
    assert "of type complex64; save them as integers or real numbers" in line


def test_colour_mask_is_refused_but_grey_as_colour_is_not(folders):
    save_png_pair(folders, "a", mask=noise(8, 10, 3))
    save_png_pair(folders, "b")
    (line,) = problems_of(folders)
    assert "the mask has 3 channels that differ" in line
    save_png_pair(folders, "a", mask=np.dstack([disc(8, 10)] * 3))
    created = make(folders)
    np.testing.assert_array_equal(imread(created.path / "labelsTr" / "a.png"), disc(8, 10))


def test_colour_png_of_16_bit_is_warned_of(folders):
    imagecodecs = pytest.importorskip("imagecodecs")
    content = imagecodecs.png_encode(noise(8, 10, 3, dtype=np.uint16))
    (folders / "images" / "a.png").write_bytes(content)
    save(folders / "masks" / "a.png", disc(8, 10))
    assert "nnU-Net reads 8 bits; save it as TIFF" in " ".join(make(folders).warnings)


def test_one_case_can_be_inspected_alone(folders):
    save_pair(folders, "a", mask=disc(4, 6, 8, value=3))
    file = "a.nii.gz"
    case = Case("a", (folders / "images" / file,), folders / "masks" / file)
    facts, problems = inspect_case(case)
    assert problems == []
    assert (facts.n_channels, facts.mask.shape, facts.values) == (1, (4, 6, 8), {0, 3})
