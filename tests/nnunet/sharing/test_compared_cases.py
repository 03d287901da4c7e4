"""The case that an export compares: the user's image, the smallest of the data set, or numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from exported_models import Exported
from model_factory import write_image
from toy import voxels
from umamba.errors import DatasetError
from umamba.nnunet.sharing.compared_cases import (
    CaseSources,
    compared_case,
    middle_patch,
    preprocessed_case,
)
from umamba.runtime.preprocessing import prepare

pytestmark = pytest.mark.nnunet
IDENTIFIER = "nnUNetPlans_3d_fullres"


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    return Exported(tmp_path / "model")


def raw_cases(folder: Path) -> Path:
    for number, shape in enumerate([(12, 20, 16), (6, 10, 8), (12, 20, 16)]):
        write_image(folder / "imagesTr" / f"case{number}_0000.nii.gz", shape, seed=number)
    return folder


def test_an_image_that_is_given_comes_first(tmp_path: Path, exported: Exported) -> None:
    image = write_image(tmp_path / "own" / "mine.nii.gz", (7, 9, 11), (1.0, 2.0, 3.0))
    sources = CaseSources((image,), raw=raw_cases(tmp_path / "raw"))
    case, record = compared_case(sources, exported.pipeline, exported.dataset_json, IDENTIFIER)
    array = voxels(image)[None].astype(np.float32)
    assert np.array_equal(case.image, prepare(array, (3.0, 2.0, 1.0), exported.pipeline).image)
    assert (record.origin, record.voxels) == ("an image", 7 * 9 * 11)
    two = CaseSources((image, image))
    with pytest.raises(
        DatasetError, match=r"mine\.nii\.gz cannot be compared: the channels must be"
    ):
        compared_case(two, exported.pipeline, exported.dataset_json, IDENTIFIER)


def test_of_raw_cases_the_smallest_is_taken(tmp_path: Path, exported: Exported) -> None:
    sources = CaseSources(preprocessed=tmp_path / "none", raw=raw_cases(tmp_path / "raw"))
    _, record = compared_case(sources, exported.pipeline, exported.dataset_json, IDENTIFIER)
    assert (record.origin, record.voxels) == ("a training case", 6 * 10 * 8)


def test_of_preprocessed_cases_the_smallest_is_taken(tmp_path: Path, exported: Exported) -> None:
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    folder = tmp_path / "preprocessed" / IDENTIFIER
    folder.mkdir(parents=True)
    images = {}
    for name, size in (("a", 24), ("b", 6), ("c", 24)):
        image = np.random.default_rng(size).normal(size=(1, 5, 20, size)).astype(np.float32)
        sizes, labels = [image.shape] * 2, np.zeros(image.shape, np.int16)
        nnUNetDatasetBlosc2.save_case(image, labels, {}, str(folder / name), *sizes, *sizes)
        images[name] = image
    sources = CaseSources(preprocessed=folder.parent, raw=raw_cases(tmp_path / "raw"))
    case, record = compared_case(sources, exported.pipeline, exported.dataset_json, IDENTIFIER)
    assert np.array_equal(case.image, images["b"])
    assert (record.origin, record.voxels) == ("a training case", 600)


def test_of_preprocessed_cases_those_that_cannot_be_read_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    folder = tmp_path / IDENTIFIER
    folder.mkdir()
    images = {}
    for name, size in (("dot.1", 24), ("less", 12), ("torn", 6), ("lone", 6)):
        image = np.random.default_rng(size).normal(size=(1, 5, 20, size)).astype(np.float32)
        sizes, labels = [image.shape] * 2, np.zeros(image.shape, np.int16)
        nnUNetDatasetBlosc2.save_case(image, labels, {}, str(folder / name), *sizes, *sizes)
        images[name] = image
    torn = folder / "torn.b2nd"
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    (folder / "lone.pkl").unlink()
    sources = CaseSources(preprocessed=tmp_path)

    assert np.array_equal(preprocessed_case(sources, IDENTIFIER), images["less"])
    said = capsys.readouterr().err
    assert [line.partition(" in ")[0] for line in said.splitlines()] == ["note: torn", "note: lone"]
    assert f" in {folder} is not compared: " in said

    for path in folder.glob("*.b2nd"):
        if not path.name.endswith("_seg.b2nd"):
            path.unlink()
    assert preprocessed_case(sources, IDENTIFIER) is None


@pytest.mark.parametrize("stray", [".DS_Store", "b.b2nd"])
def test_a_stray_file_is_noted(
    tmp_path: Path, stray: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / IDENTIFIER
    folder.mkdir()
    for name in ("a.npz", "a.pkl", stray):
        (folder / name).touch()
    assert preprocessed_case(CaseSources(preprocessed=tmp_path), IDENTIFIER) is None
    told = capsys.readouterr().err
    assert f"note: {folder} holds files of several kinds (.{stray.split('.')[1]}, .npz)" in told


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # numpy's, of the torn file
def test_a_torn_npz_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetNumpy

    folder = tmp_path / IDENTIFIER
    folder.mkdir()
    image = np.ones((1, 2, 3, 4), np.float32)
    nnUNetDatasetNumpy.save_case(image, image, {}, str(folder / "a"))
    (folder / "a.npz").write_bytes((folder / "a.npz").read_bytes()[:99])
    assert preprocessed_case(CaseSources(preprocessed=tmp_path), IDENTIFIER) is None
    assert f"note: a in {folder} is not compared: " in capsys.readouterr().err


def test_raw_cases_that_do_not_fit_the_model_are_said(
    tmp_path: Path, exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "a_0000.png").touch()  # the model reads another format
    compared_case(CaseSources(raw=tmp_path), exported.pipeline, exported.dataset_json, IDENTIFIER)
    assert "is compared: none of its images fits the model" in capsys.readouterr().err


def test_without_any_case_it_is_random_numbers_of_more_than_a_patch(
    tmp_path: Path, exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    write_image(raw / "imagesTr" / "a_0000.nii.gz", (4, 4, 4)).write_bytes(b"torn")
    case, record = compared_case(
        CaseSources(raw=raw), exported.pipeline, exported.dataset_json, IDENTIFIER
    )
    assert record.origin == "random numbers"
    assert case.image.shape == (1, 8, 16, 18)
    assert "imagesTr is compared: " in capsys.readouterr().err


def test_the_middle_of_an_image_fills_a_patch() -> None:
    image = np.arange(5 * 6 * 3, dtype=np.float32).reshape(1, 5, 6, 3)
    patch = middle_patch(image, (3, 6, 4))
    assert torch.equal(patch[..., :3], torch.from_numpy(image[:, 1:4]))
    assert not patch[..., 3].any()
    assert torch.equal(middle_patch(image, (2, 3)), torch.from_numpy(image[:, 2, 2:4]))
