import gzip
import json
import shutil

import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image
from skimage.io import imread

from dataset_files import (
    NAME,
    disc,
    make,
    make_folders,
    nnunet_accepts,
    noise,
    save,
    save_pair,
    save_png_pair,
)
from umamba.errors import DatasetError, UMambaError
from umamba.images.files import read_image
from umamba.system import publishing


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path)


# What comes out.


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_files_that_nnunet_reads_are_copied_byte_by_byte(folders, ending):
    for case in ("a", "b"):
        save_pair(folders, case, ending, spacing=(0.7, 0.8, 3.0), origin=(-5.0, 2.0, 9.5))
    created = make(folders, naming={"channels": (("CT", ""),)})
    assert created.file_ending == ending
    for case in ("a", "b"):
        pairs = ((f"imagesTr/{case}_0000", "images"), (f"labelsTr/{case}", "masks"))
        for target, source in pairs:
            expected = (folders / source / f"{case}{ending}").read_bytes()
            assert (created.path / f"{target}{ending}").read_bytes() == expected
    assert json.loads((created.path / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "label_1": 1},
        "numTraining": 2,
        "file_ending": ending,
    }
    assert nnunet_accepts(created.path)


def test_plain_nifti_is_packed_without_a_change(folders):
    save_pair(folders, "a", ".nii", spacing=(0.7, 0.8, 3.0))
    created = make(folders)
    packed = (created.path / "imagesTr" / "a_0000.nii.gz").read_bytes()
    assert gzip.decompress(packed) == (folders / "images" / "a.nii").read_bytes()
    assert any("saved as .nii.gz" in warning for warning in created.warnings)
    assert nnunet_accepts(created.path)


GREY16 = noise(8, 10, dtype=np.uint16) * 300


@pytest.mark.parametrize(
    ("image", "n_channels"),
    [
        (noise(8, 10), 1),
        (GREY16, 1),
        (noise(8, 10, 3), 3),
        (np.dstack([noise(8, 10, 3), np.full((8, 10), 255, np.uint8)]), 3),
        (noise(8, 10, 4), 4),
    ],
    ids=["grey", "grey16", "rgb", "rgba-constant", "rgba-varying"],
)
def test_png(folders, image, n_channels):
    save_png_pair(folders, "a", image)
    created = make(folders)
    assert created.file_ending == ".png"
    assert len(created.channels) == n_channels
    written = imread(created.path / "imagesTr" / "a_0000.png")
    np.testing.assert_array_equal(written, image[..., :n_channels] if image.ndim == 3 else image)
    assert nnunet_accepts(created.path)


def test_dropped_alpha_is_said_and_grey_alpha_becomes_grey(folders):
    grey = noise(8, 10)
    Image.fromarray(np.dstack([grey, np.full_like(grey, 255)])).save(folders / "images" / "a.png")
    save(folders / "masks" / "a.png", disc(8, 10))
    created = make(folders)
    np.testing.assert_array_equal(imread(created.path / "imagesTr" / "a_0000.png"), grey)
    assert "alpha channel is constant and is left out" in " ".join(created.warnings)


@pytest.mark.parametrize("ending", [".tif", ".tiff"])
@pytest.mark.parametrize("image", [GREY16, noise(8, 10, 3), noise(8, 10, dtype=np.float32)])
def test_flat_tiff_stays_tiff(folders, ending, image):
    save_pair(folders, "a", ending, image, disc(8, 10))
    created = make(folders)
    content = json.loads((created.path / "dataset.json").read_text())
    assert content["overwrite_image_reader_writer"] == "NaturalImage2DIO"
    np.testing.assert_array_equal(imread(created.path / "imagesTr" / f"a_0000{ending}"), image)
    assert nnunet_accepts(created.path)


def test_tiff_stack_gets_the_spacing_in_a_file(folders):
    save_pair(folders, "a", ".tif", noise(5, 8, 10), disc(5, 8, 10))
    created = make(folders, spacing=(3.0, 0.5, 0.5))
    content = json.loads((created.path / "dataset.json").read_text())
    assert content["overwrite_image_reader_writer"] == "Tiff3DIO"
    for folder in ("imagesTr", "labelsTr"):
        assert json.loads((created.path / folder / "a.json").read_text()) == {
            "spacing": [3.0, 0.5, 0.5]
        }
    assert nnunet_accepts(created.path)


def test_tiff_stack_without_spacing_is_warned_of(folders):
    save_pair(folders, "a", ".tif", noise(5, 8, 10), disc(5, 8, 10))
    assert "1 1 1 mm is assumed" in " ".join(make(folders).warnings)


def test_tiff_stack_takes_the_spacing_of_its_nifti_mask(folders):
    save(folders / "images" / "a.tif", noise(5, 8, 10))
    save(folders / "masks" / "a.nii.gz", disc(5, 8, 10), spacing=(0.5, 0.75, 3.0))
    created = make(folders)
    content = json.loads((created.path / "imagesTr" / "a.json").read_text())
    assert content == {"spacing": [3.0, 0.75, 0.5]}
    assert created.warnings == ()
    assert nnunet_accepts(created.path)


def test_spacing_for_files_that_know_it_is_refused(folders):
    save_pair(folders, "a")
    with pytest.raises(DatasetError, match="--spacing is for 3D TIFF stacks"):
        make(folders, spacing=(1.0, 1.0, 1.0))


def test_fluorescence_channels_in_one_tiff_are_split(folders):
    image = noise(2, 8, 10)
    tifffile.imwrite(folders / "images" / "a.tif", image, imagej=True, metadata={"axes": "CYX"})
    save(folders / "masks" / "a.tif", disc(8, 10))
    created = make(folders)
    for index in range(2):
        written = imread(created.path / "imagesTr" / f"a_000{index}.tif")
        np.testing.assert_array_equal(written, image[index])
    assert nnunet_accepts(created.path)


@pytest.mark.parametrize("vector", [False, True], ids=["4D", "vector"])
def test_several_channels_in_one_nifti_are_split_and_keep_the_geometry(folders, vector):
    channels = [noise(4, 6, 8, dtype=np.float32) for _ in range(2)]
    parts = [SimpleITK.GetImageFromArray(channel) for channel in channels]
    direction = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    for part in parts:
        part.SetSpacing((0.5, 0.75, 2.0))
        part.SetDirection(direction)
    image = SimpleITK.Compose(parts) if vector else SimpleITK.JoinSeries(parts)
    SimpleITK.WriteImage(image, str(folders / "images" / "a.nii.gz"))
    mask_file = folders / "masks" / "a.nii.gz"
    save(mask_file, disc(4, 6, 8), spacing=(0.5, 0.75, 2.0), direction=direction)
    created = make(folders)
    for index, channel in enumerate(channels):
        written = read_image(created.path / "imagesTr" / f"a_000{index}.nii.gz")
        np.testing.assert_array_equal(written.array[0], channel)
        assert written.geometry.spacing == (0.5, 0.75, 2.0)
        np.testing.assert_allclose(written.geometry.direction, direction, atol=1e-6)
    assert nnunet_accepts(created.path)


def test_masks_take_the_format_of_the_images(folders):
    save(folders / "images" / "a.png", noise(8, 10, 3))
    save(folders / "masks" / "a.tif", disc(8, 10, value=255, dtype=np.uint16))
    created = make(folders, rules={"mapping": {255: 1}})
    np.testing.assert_array_equal(imread(created.path / "labelsTr" / "a.png"), disc(8, 10))
    assert nnunet_accepts(created.path)


def test_mixed_formats_become_nifti(folders):
    for case, ending in (("a", ".nrrd"), ("b", ".mha")):
        save_pair(folders, case, ending, spacing=(0.5, 0.5, 2.0))
    created = make(folders)
    assert created.file_ending == ".nii.gz"
    assert read_image(created.path / "labelsTr" / "b.nii.gz").geometry.spacing == (0.5, 0.5, 2.0)
    assert nnunet_accepts(created.path)


@pytest.mark.parametrize(("dtype", "ending"), [(np.uint8, ".png"), (np.float32, ".tif")])
def test_mixed_flat_formats_become_png_if_that_is_lossless(folders, dtype, ending):
    image = noise(8, 10, dtype=dtype)
    save(folders / "images" / "a.tif", image)
    save(folders / "masks" / "a.tif", disc(8, 10))
    save_png_pair(folders, "b")
    created = make(folders)
    assert created.file_ending == ending
    np.testing.assert_array_equal(imread(created.path / "imagesTr" / f"a_0000{ending}"), image)
    assert nnunet_accepts(created.path)


def test_palette_mask_means_its_indices(folders):
    save(folders / "images" / "a.png", noise(8, 10))
    picture = Image.fromarray(disc(8, 10)).convert("P")
    picture.putpalette([0, 0, 0, 128, 0, 0])
    picture.putdata(disc(8, 10).ravel().tolist())
    picture.save(folders / "masks" / "a.png")
    created = make(folders)
    np.testing.assert_array_equal(imread(created.path / "labelsTr" / "a.png"), disc(8, 10))


def test_rounding_in_the_mask_header_is_replaced_by_the_images_geometry(folders):
    save(folders / "images" / "a.nrrd", noise(4, 6, 8), spacing=(0.7, 0.7, 2.0))
    save(folders / "masks" / "a.nrrd", disc(4, 6, 8), spacing=(0.70001, 0.7, 2.0))
    created = make(folders)
    assert read_image(created.path / "labelsTr" / "a.nrrd").geometry.spacing == (0.7, 0.7, 2.0)


# The place of the data set.


@pytest.mark.parametrize(
    "name",
    [
        *("007_Test", "Dataset7_Test", "Dataset007", "Dataset007_a/b", "x"),
        *("Dataset\u0660\u0660\u0667_Test", "Dataset007_T\u0435st", "Dataset007_Test\n"),
    ],
)
def test_names_have_one_form(folders, name):
    save_pair(folders, "a")
    with pytest.raises(DatasetError, match=r"use DatasetXXX_Name.*e\.g\. Dataset101_Nuclei"):
        make(folders, name=name)


def test_a_number_can_be_used_once(folders):
    (folders / "raw" / "Dataset007_Other").mkdir()
    with pytest.raises(DatasetError, match=r"number 007 is taken by Dataset007_Other"):
        make(folders)


def test_an_existing_data_set_is_replaced_only_on_demand(folders):
    save_pair(folders, "a")
    make(folders)
    (folders / "images" / "a.nii.gz").rename(folders / "images" / "b.nii.gz")
    (folders / "masks" / "a.nii.gz").rename(folders / "masks" / "b.nii.gz")
    with pytest.raises(UMambaError, match=r"exists already; add --overwrite"):
        make(folders)
    created = make(folders, overwrite=True)
    assert [p.name for p in (created.path / "labelsTr").iterdir()] == ["b.nii.gz"]
    assert "out of date" in " ".join(created.warnings)
    assert [p.name for p in (folders / "raw").iterdir()] == [NAME]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written_stays(folders, monkeypatch, error):
    for case in "ab":
        save_pair(folders, case)
    make(folders)
    before = (folders / "raw" / NAME / "dataset.json").stat().st_mtime_ns
    copied = []
    copy = shutil.copyfile

    def copy_one(source, target):
        if copied:
            raise error
        copied.append(copy(source, target))

    monkeypatch.setattr(shutil, "copyfile", copy_one)
    with pytest.raises((UMambaError, KeyboardInterrupt), match=r"No space left|^$"):
        make(folders, overwrite=True)
    assert copied
    assert [p.name for p in (folders / "raw").iterdir()] == [NAME]
    assert (folders / "raw" / NAME / "dataset.json").stat().st_mtime_ns == before


def test_the_old_data_set_comes_back_if_the_new_one_cannot_be_moved(folders, monkeypatch):
    save_pair(folders, "a")
    make(folders)
    take_name = publishing.take_name

    def fail_for_the_new_one(finished, path, **options):
        if finished.name == "new":
            raise OSError(5, "Input/output error")
        return take_name(finished, path, **options)

    monkeypatch.setattr(publishing, "take_name", fail_for_the_new_one)
    with pytest.raises(UMambaError, match=r"Input/output error; nothing was changed there"):
        make(folders, overwrite=True)
    assert [p.name for p in (folders / "raw").iterdir()] == [NAME]
    assert nnunet_accepts(folders / "raw" / NAME)


# nnU-Net itself, and real data.


@pytest.mark.nnunet
def test_nnunet_verifies_the_data_set(folders, capfd):
    from nnunetv2.experiment_planning.verify_dataset_integrity import (
        verify_dataset_integrity,
    )

    for case in "ab":
        save_png_pair(folders, case, image=noise(8, 10, 3))
    verify_dataset_integrity(str(make(folders).path), num_processes=1)
    assert "verify_dataset_integrity Done" in capfd.readouterr().out


def some_files(source, target, n_files):
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir())[:n_files]:
        (target / path.name).symlink_to(path)


@pytest.mark.parametrize(
    ("name", "rules", "ending"),
    [
        ("nuclei_dsb2018", {"instances": True, "names": {"nucleus": 1}}, ".png"),
        ("hippocampus_msd", {"names": {"anterior": 1, "posterior": 2}}, ".nii.gz"),
    ],
)
def test_real_data(shared_data, folders, name, rules, ending):
    some_files(shared_data / name / "images", folders / "images", 6)
    some_files(shared_data / name / "labels", folders / "masks", 6)
    created = make(folders, rules=rules)
    assert (created.n_cases, created.file_ending) == (6, ending)
    assert created.labels == {"background": 0, **rules["names"]}
    assert nnunet_accepts(created.path)
