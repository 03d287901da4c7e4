"""Arrays in Python, beside files on the command line."""

import errno
import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

import umamba
from model_factory import write_image, write_model
from toy import voxels
from umamba.nnunet.prediction import sliding_window
from umamba.nnunet.prediction.folders import predict
from umamba.nnunet.prediction.loading import PredictionOptions


def test_labels_and_probabilities_are_those_of_files_from_any_thread(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", folds=2, mirror_axes=(0,))
    paths = [write_image(tmp_path / "in" / f"{i}_0000.nii.gz", seed=i) for i in range(3)]
    predict(folder, tmp_path / "in", tmp_path / "out", PredictionOptions(save_probabilities=True))

    def segment(path: Path) -> Any:
        image = SimpleITK.ReadImage(str(path))
        array = SimpleITK.GetArrayFromImage(image)[None]
        return predictor(array, image.GetSpacing()[::-1], probabilities=True)

    with umamba.Predictor(folder, device="cpu") as predictor, ThreadPoolExecutor(3) as pool:
        found = list(pool.map(segment, paths))
    for number, (labels, probabilities) in enumerate(found):
        assert np.array_equal(labels, voxels(tmp_path / "out" / f"{number}.nii.gz"))
        want = np.load(tmp_path / "out" / f"{number}.npz")["probabilities"]
        assert np.array_equal(probabilities, want)
    with pytest.raises(umamba.UMambaError, match="this predictor is closed; make another one"):
        segment(paths[0])


def test_flat_images_have_no_third_axis(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "2d", patch_size=(16, 16))
    path = write_image(tmp_path / "in" / "a_0000.nii.gz", (40, 30), (0.7, 1.3))
    predict(folder, tmp_path / "in", tmp_path / "out", PredictionOptions(mirroring=False))
    image = voxels(path)
    with umamba.Predictor([folder], device="cpu", mirroring=False) as predictor:
        labels, probabilities = predictor(image[None], (1.3, 0.7), probabilities=True)
        assert np.array_equal(labels, voxels(tmp_path / "out" / "a.nii.gz"))
        assert np.array_equal(predictor(image[None], [1.3, 0.7]), labels)
    assert len(np.unique(labels)) > 1
    assert probabilities.shape == (3, 40, 30)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    ones = np.ones((1, 4, 4, 4))
    wrong = [
        (np.zeros((2, 4, 4, 4)), (1.0, 1.0, 1.0), r"shape \[2, 4, 4, 4\], but must have 1 channel"),
        (np.zeros((4, 4)), (1.0, 1.0), r"shape \[4, 4\], but must have 1 channel"),
        (ones * np.nan, (1.0, 1.0, 1.0), "must hold finite real numbers; replace NaN"),
        (ones.astype(complex), (1.0, 1.0, 1.0), r"\(complex128\) must hold finite real"),
        (ones, (1.0, 1.0), r"spacing \[1\.0, 1\.0\] must be 3 positive sizes"),
        (ones, (1.0, 0.0, 1.0), r"spacing \[1\.0, 0\.0, 1\.0\] must be 3 positive"),
        (ones, (1000.0, 1e6, 1e6), "1000 x 1e\\+06 x 1e\\+06 mm the image takes .* GiB on the net"),
        (ones, (1e-3, 1.0, 1.0), "0.001 x 1 x 1 mm the image is smaller than a voxel"),
    ]
    with umamba.Predictor(write_model(tmp_path / "model"), device="cpu") as predictor:
        for image, spacing, message in wrong:
            with pytest.raises(umamba.UMambaError, match=message):
                predictor(image, spacing)


def test_the_size_on_the_networks_grid_is_that_along_its_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This network of slices keeps the last axis of images, and crops what is empty."""
    folder = write_model(
        tmp_path / "model",
        "2d",
        patch_size=(16, 16),
        plans_changes={"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]},
    )
    cube, large = np.ones((1, 20, 20, 2), np.float32), np.zeros((1, 20, 20, 400), np.float32)
    large[..., :2] = 1
    with umamba.Predictor(folder, device="cpu", mirroring=False) as predictor:
        assert predictor(cube, (1.0, 1.0, 0.01)).shape == (20, 20, 2)
        with pytest.raises(umamba.UMambaError, match=r"0\.01 x 1 x 1 mm the image is smaller"):
            predictor(cube, (0.01, 1.0, 1.0))
        monkeypatch.setattr("umamba.nnunet.prediction.cases.usable_memory", lambda: 8 * 800)
        assert predictor(large, (1.0, 1.0, 1.0)).shape == (20, 20, 400)
        with pytest.raises(umamba.UMambaError, match=r"takes .* GiB on the network's grid"):
            predictor(large, (1.1, 1.0, 1.0))


class ClosedMeanwhile:
    """An image whose predictor another thread closes when a call reads it."""

    ndim = 4

    def __init__(self, array: Any, predictor: umamba.Predictor) -> None:
        self.array, self.predictor = array, predictor

    def __array__(self, *_: Any, **__: Any) -> Any:
        thread = threading.Thread(target=self.predictor.close)
        thread.start()
        thread.join()
        return self.array


def test_a_call_ends_as_usual_if_another_thread_closes(tmp_path: Path) -> None:
    predictor = umamba.Predictor(write_model(tmp_path / "model"), device="cpu", mirroring=False)
    image = np.random.default_rng(0).normal(size=(1, 8, 16, 16)).astype(np.float32)
    want = predictor(image, (1.0, 1.0, 1.0))
    got = predictor(ClosedMeanwhile(image, predictor), (1.0, 1.0, 1.0))
    assert np.array_equal(got, want)
    with pytest.raises(umamba.UMambaError, match="this predictor is closed"):
        predictor(image, (1.0, 1.0, 1.0))


def test_a_full_disk_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with umamba.Predictor(write_model(tmp_path / "model"), device="cpu") as predictor:
        in_files = partial(sliding_window.predict_logits, most_in_memory=(0, 0))
        monkeypatch.setattr(sliding_window, "predict_logits", in_files)
        monkeypatch.setattr(tempfile, "TemporaryFile", full)
        with pytest.raises(umamba.UMambaError, match="cannot be predicted: No space left on dev"):
            predictor(np.ones((1, 8, 16, 16)), (1.0, 1.0, 1.0))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(umamba.UMambaError, match=r"model folder .*nothing does not exist"):
        umamba.Predictor(tmp_path / "nothing")
