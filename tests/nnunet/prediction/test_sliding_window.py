"""The labels of stock nnU-Net, voxel for voxel, whatever is kept in memory."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.io import imread, imsave

from model_factory import write_image, write_model
from toy import voxels
from umamba.errors import UMambaError
from umamba.logit_files import LogitStore
from umamba.nnunet.prediction.folders import predict
from umamba.nnunet.prediction.loading import PredictionOptions, load_model
from umamba.nnunet.prediction.sliding_window import NetworkInput, predict_logits


def stock_prediction(
    model: Path, images: Path, output: Path, folds: int = 1, **options: Any
) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    mirroring = options.pop("mirroring", False)
    stock = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False)
    stock.initialize_from_trained_model_folder(str(model), tuple(range(folds)))
    output.mkdir()
    stock.predict_from_files_sequential(str(images), str(output), **options)


def both(
    tmp_path: Path, model: Path, *, mirroring: bool = False, folds: int = 1, ending: str = ".nii.gz"
) -> tuple[np.ndarray, np.ndarray]:
    """Predict with ours and with stock; both have found more than one label."""
    predict(model, tmp_path / "in", tmp_path / "ours", PredictionOptions(mirroring=mirroring))
    stock_prediction(model, tmp_path / "in", tmp_path / "stock", folds, mirroring=mirroring)
    read = imread if ending == ".png" else voxels
    ours, stock = (read(tmp_path / name / f"a{ending}") for name in ("ours", "stock"))
    assert len(np.unique(stock)) > 1
    return ours, stock


TORCH_RESAMPLING = {
    "resampling_fn_probabilities": "resample_torch_fornnunet",
    "resampling_fn_probabilities_kwargs": {
        "is_seg": False,
        "force_separate_z": False,
        "memefficient_seg_resampling": False,
    },
}
REGIONS = {
    "labels": {"background": 0, "whole": [1, 2], "small": 2},
    "regions_class_order": [1, 2],
}
TRANSPOSED = {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}


@pytest.mark.parametrize(
    ("model", "image"),
    [
        ({}, {"spacing": (1.0, 1.0, 1.0)}),
        ({}, {}),
        ({}, {"spacing": (0.8, 0.8, 3.5)}),  # slices are resampled apart
        ({"configuration_changes": TORCH_RESAMPLING}, {}),
        ({"plans_changes": TRANSPOSED}, {}),
        ({"folds": 3}, {}),
        ({"mirror_axes": (0, 1, 2), "folds": 2}, {}),
        (REGIONS, {}),
        ({"configuration": "2d", "patch_size": (16, 16)}, {}),
        ({}, {"shape": (5, 40, 9), "spacing": (1.0, 1.0, 1.0)}),  # padded to the patch
        ({"labels": {"background": 0} | {f"l{i}": i for i in range(1, 20)}}, {}),
    ],
    ids=[
        *("same spacing", "resampled", "slices apart", "resampled by torch", "transposed"),
        *(
            "three folds",
            "mirrored, two folds",
            "regions",
            "2D",
            "smaller than the patch",
            "20 labels",
        ),
    ],
)
def test_labels_are_those_of_stock(
    model: dict[str, Any], image: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model", **model)
    write_image(tmp_path / "in" / "a_0000.nii.gz", **{"shape": (9, 24, 30)} | image)
    mirroring = "mirror_axes" in model
    ours, stock = both(tmp_path, folder, mirroring=mirroring, folds=model.get("folds", 1))
    assert ours.dtype == stock.dtype
    assert np.array_equal(ours, stock)
    assert not list((tmp_path / "ours").glob(".*"))


def test_labels_of_a_cascade_are_those_of_stock(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "3d_cascade_fullres")
    write_image(tmp_path / "in" / "a_0000.nii.gz")
    first = write_model(tmp_path / "first_model", "3d_lowres")
    stock_prediction(first, tmp_path / "in", tmp_path / "first")
    previous = tmp_path / "first"
    options = PredictionOptions(mirroring=False, previous_stage=previous)
    assert predict(folder, tmp_path / "in", tmp_path / "ours", options).predicted == ["a"]
    stock_prediction(
        folder,
        tmp_path / "in",
        tmp_path / "stock",
        folder_with_segs_from_prev_stage=str(previous),
    )
    ours, stock = (voxels(tmp_path / name / "a.nii.gz") for name in ("ours", "stock"))
    assert len(np.unique(voxels(previous / "a.nii.gz"))) > 1
    assert len(np.unique(stock)) > 1
    assert np.array_equal(ours, stock)


def test_colour_pictures_get_the_labels_of_stock(tmp_path: Path) -> None:
    folder = write_model(
        tmp_path / "model",
        "2d",
        patch_size=(16, 16),
        plans_changes={"image_reader_writer": "NaturalImage2DIO"},
        channel_names={"0": "R", "1": "G", "2": "B"},
        file_ending=".png",
    )
    (tmp_path / "in").mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    imsave(tmp_path / "in" / "a_0000.png", picture, check_contrast=False)
    ours, stock = both(tmp_path, folder, ending=".png")
    assert np.array_equal(ours, stock)


def test_probabilities_are_those_of_stock(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    write_image(tmp_path / "in" / "a_0000.nii.gz")
    options = PredictionOptions(mirroring=False, save_probabilities=True)
    predict(folder, tmp_path / "in", tmp_path / "ours", options)
    stock_prediction(folder, tmp_path / "in", tmp_path / "stock", save_probabilities=True)
    ours, stock = (
        np.load(tmp_path / name / "a.npz")["probabilities"] for name in ("ours", "stock")
    )
    assert np.array_equal(ours, stock)
    names = [p.name for p in sorted((tmp_path / "ours").iterdir()) if p.suffix != ".json"]
    assert names == ["a.nii.gz", "a.npz", "a.pkl"]


@pytest.mark.parametrize(
    ("configuration", "folds"), [("3d_fullres", 2), ("2d", 1)], ids=["3D, two folds", "2D"]
)
def test_logits_are_the_same_whether_sums_are_in_memory_or_in_a_file(
    tmp_path: Path, configuration: str, folds: int
) -> None:
    patch_size = (8, 16, 16)[-2 if configuration == "2d" else -3 :]
    folder = write_model(tmp_path / "model", configuration, folds=folds, patch_size=patch_size)
    predictor = load_model(folder, PredictionOptions(mirroring=False))
    case = NetworkInput(torch.randn(1, 21, 30, 17), None, {})

    def predicted(*most_in_memory: int) -> np.ndarray:
        store = predict_logits(predictor, case, tmp_path, "", most_in_memory)
        found = store.read(0, 21)
        store.close()
        return found

    assert np.array_equal(predicted(1 << 20, 1 << 20), predicted(0, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("most_in_memory", [2 * 3 * 5 * 4 * 2, 2 * 3 * 5 * 4 * 2 - 1])
def test_logits_come_back_as_they_were_written_to_memory_or_to_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_in_memory: int
) -> None:
    files: list[Any] = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda **to: files.append(make(**to)) or files[0]
    )
    planes = np.random.default_rng(0).normal(size=(3, 5, 4, 2)).astype(np.float16)
    store = LogitStore(planes.shape, tmp_path, most_in_memory)
    store.write(3, planes[:, 3:])
    store.write(0, planes[:, :3])
    assert np.array_equal(store.read(1, 3), planes[:, 1:4])
    assert np.array_equal(store.channel(2), planes[2:])
    assert len(files) == (most_in_memory < 2 * planes.size)
    assert not list(tmp_path.iterdir())
    store.close()
    assert all(file.closed for file in files)


def test_room_on_the_disk_is_looked_for_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 2**30

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    message = r"7\.\d GiB are needed temporarily in .*, but only 1\.0 are free; make room"
    with pytest.raises(UMambaError, match=message):
        LogitStore((20, 735, 512, 512), tmp_path)
    assert list(tmp_path.iterdir()) == []
