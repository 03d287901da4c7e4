"""Which files make a case, and under which names nnU-Net gets them."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from skimage.io import imread, imsave

from model_factory import OBLIQUE, write_image, write_model
from umamba.datasets.inputs import FoundInputs, check_case, find_inputs, input_files
from umamba.errors import DatasetError
from umamba.nnunet.prediction.folders import predict
from umamba.nnunet.prediction.loading import PredictionOptions


def description(*channels: str, ending: str = ".nii.gz") -> dict[str, Any]:
    return {"channel_names": dict(enumerate(channels)), "file_ending": ending}


def write(folder: Path, *names: str) -> None:
    for name in names:
        image = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.float32).reshape(3, 4, 5))
        SimpleITK.WriteImage(image, str(folder / f"{name}.nii.gz"))


def test_numbers_are_channels_only_where_they_can_be(tmp_path: Path) -> None:
    write(tmp_path, "a_0000", "b", "patient_0001", "patient_0002")
    cases = find_inputs(tmp_path, description("T1")).cases
    assert [case.case_id for case in cases] == ["a", "b", "patient_0001", "patient_0002"]
    assert all(not check_case(case, description("T1"))[1] for case in cases)


@pytest.mark.parametrize(
    ("names", "strays"),
    [
        (["STS_025_0001"], ["STS_025_0001"]),  # the T2 image of a case that has its number already
        (["a_0000", "b_0001"], ["b_0001"]),
        (["a_0001", "b_0001"], ["a_0001", "b_0001"]),
        (["patient_0001"], []),
        ([f"patient_{i:04d}" for i in range(1, 41)], []),
        (["site1_0001", "site1_0002", "site2_0001", "site2_0002"], []),
    ],
)
def test_a_second_channel_is_no_case_of_a_model_of_one(
    names: list[str], strays: list[str], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / f"{name}.nii.gz").touch()
    found = find_inputs(tmp_path, description("T1"))
    assert sorted(found.failed) == [f"{name}.nii.gz" for name in strays]
    assert [case.case_id for case in found.cases] == sorted(
        name.removesuffix("_0000") for name in set(names) - set(strays)
    )
    for name in strays:
        assert found.failed[f"{name}.nii.gz"] == (
            f"by its name it is channel 1 of {name[:-5]}, but the model reads one channel, T1, as "
            f"_0000; if it is that channel, name it {name[:-5]}_0000.nii.gz"
        )


def test_wrong_channel_numbers_are_named(tmp_path: Path) -> None:
    write(tmp_path, "good_0000", "good_0001", "late_0001", "late_0002", "one_0000", "bare")
    two = description("T1", "T2")
    problems = {case.case_id: check_case(case, two)[1] for case in find_inputs(tmp_path, two).cases}
    assert problems.pop("good") == []
    assert "must be named late_0000.nii.gz, late_0001.nii.gz" in problems.pop("late")[0]
    assert set(problems) == {"one", "bare"}
    assert all("1 channel(s), but the model was trained with 2" in p[0] for p in problems.values())


def test_names_without_a_number_are_linked_as_nnunet_wants_them(tmp_path: Path) -> None:
    write(tmp_path, "bare", "named_0000")
    staging = tmp_path / "staging"
    staging.mkdir()
    names = []
    for case in find_inputs(tmp_path, description("T1")).cases:
        facts, _ = check_case(case, description("T1"))
        names += [path.name for path in input_files(facts, staging, ".nii.gz")]
    assert names == ["image_0000.nii.gz", "named_0000.nii.gz"]
    assert (staging / "image_0000.nii.gz").resolve() == (tmp_path / "bare.nii.gz").resolve()


def test_an_alpha_channel_that_says_nothing_is_dropped(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 255, (6, 7, 4), np.uint8)
    rgba[..., 3] = 255
    imsave(tmp_path / "cells.png", rgba, check_contrast=False)
    rgb = description("R", "G", "B", ending=".png")
    (case,) = find_inputs(tmp_path, rgb).cases
    facts, problems = check_case(case, rgb)
    assert not problems
    staging = tmp_path / "staging"
    staging.mkdir()
    for ending, written in ((".png", ".png"), (".bmp", ".tif")):  # which we do not write
        (path,) = input_files(facts, staging, ending)
        assert path.name == f"image_0000{written}"
        assert np.array_equal(imread(path), rgba[..., :3])


def test_models_of_nnunet_v1_name_modalities(tmp_path: Path) -> None:
    write(tmp_path, "a_0000")
    old = {"modality": {"0": "MRI"}, "file_ending": ".nii.gz"}
    (case,) = find_inputs(tmp_path, old).cases
    assert check_case(case, old)[1] == []


def test_folders_without_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has no files that end in \.nii\.gz"):
        find_inputs(tmp_path, description("T1"))
    with pytest.raises(DatasetError, match="does not exist"):
        find_inputs(tmp_path / "none", description("T1"))


def names_of(inputs: FoundInputs) -> dict[str, list[str]]:
    return {case.case_id: [path.name for path in case.images] for case in inputs.cases}


def test_every_file_is_used_or_named(tmp_path: Path) -> None:
    write(tmp_path, "a_0000", "b_0000", "c_0000", "d", "e_0000")
    (tmp_path / "b_0000.nii.gz").rename(tmp_path / "b_0000.NII.GZ")
    (tmp_path / "c_0000.nii.gz").rename(tmp_path / "c_0000.Nii.gz")
    shutil.copy(tmp_path / "e_0000.nii.gz", tmp_path / "e.nii")
    (tmp_path / "f.nii.gz").mkdir()
    (tmp_path / "series").mkdir()
    os.mkfifo(tmp_path / "g.nii.gz")
    (tmp_path / "h.nii.gz").symlink_to("nowhere")
    for name in ("photo.png", "scan.dcm", "cases.csv", "._a_0000.nii.gz", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"?")
    (tmp_path / f"{'x' * 251}.nii").write_bytes(b"?")
    one = description("T1")
    inputs = find_inputs(tmp_path, one, "SimpleITKIO")
    assert names_of(inputs) == {
        "a": ["a_0000.nii.gz"],
        "b": ["b_0000.NII.GZ"],
        "c": ["c_0000.Nii.gz"],
        "d": ["d.nii.gz"],
        "g": ["g.nii.gz"],
        "h": ["h.nii.gz"],
    }
    reads = "the model reads .mha, .nii, .nii.gz, .nrrd: convert it, or remove it"
    assert inputs.failed == {
        "photo.png": reads,
        "scan.dcm": reads,
        "f.nii.gz": "it is a folder, not a file",
        "e": "e.nii, e_0000.nii.gz claim to be the same image: keep one",
        "x" * 251: "its name would take more than 255 bytes",
    }
    assert inputs.others == ("cases.csv", "series/")
    problems = {case.case_id: check_case(case, one)[1] for case in inputs.cases}
    assert [case for case, found in problems.items() if not found] == ["a", "b", "c", "d"]
    assert "it is a device or a pipe" in problems["g"][0]
    assert "the file is gone" in problems["h"][0]


@pytest.mark.parametrize(
    ("ending", "reader", "name", "is_read"),
    [
        (".nii.gz", "NibabelIO", "a.nii", True),
        (".nii.gz", "NibabelIO", "a.nrrd", False),
        (".nii.gz", "SimpleITKIO", "a.nrrd", True),
        (".png", "NaturalImage2DIO", "a.TIF", True),
        (".png", "NaturalImage2DIO", "a.nii.gz", False),
        (".tif", "Tiff3DIO", "a.tiff", True),
        (".bmp", "NaturalImage2DIO", "a.BMP", True),
    ],
)
def test_the_model_s_reader_decides(
    tmp_path: Path, ending: str, reader: str, name: str, *, is_read: bool
) -> None:
    (tmp_path / name).write_bytes(b"?")
    inputs = find_inputs(tmp_path, description("T1", ending=ending), reader)
    assert (list(names_of(inputs)), list(inputs.failed)) == (
        (["a"], []) if is_read else ([], [name])
    )


def test_the_same_image_under_all_endings_gets_the_same_segmentation(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    image = SimpleITK.ReadImage(str(write_image(tmp_path / "image.nii.gz", direction=OBLIQUE)))
    (tmp_path / "in").mkdir()
    endings = (".nii.gz", ".nii", ".nii.gz", ".nii.gz", ".nrrd", ".mha")
    for case, ending in zip("abcdef", endings, strict=True):
        SimpleITK.WriteImage(image, str(tmp_path / "in" / f"{case}{ending}"))
    (tmp_path / "in" / "c.nii.gz").rename(tmp_path / "in" / "c.NII.GZ")
    (tmp_path / "in" / "d.nii.gz").rename(tmp_path / "in" / "d.Nii.gz")
    report = predict(model, tmp_path / "in", tmp_path / "out", PredictionOptions(mirroring=False))
    assert (report.predicted, report.failed) == (list("abcdef"), {})
    first, *others = (
        SimpleITK.ReadImage(str(tmp_path / "out" / f"{case}.nii.gz")) for case in "abcdef"
    )
    assert len(np.unique(SimpleITK.GetArrayFromImage(first))) > 1
    for other in others:
        arrays = (SimpleITK.GetArrayFromImage(one) for one in (first, other))
        assert np.array_equal(*arrays)
        for name in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(other, name)() == pytest.approx(getattr(image, name)(), abs=1e-5)
