"""The runtime predicts arrays as stock nnU-Net does with the same networks."""

import errno
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.postprocessing.remove_connected_components import (
    remove_all_but_largest_component_from_segmentation,
)

from exported_models import Exported
from umamba.errors import DatasetError, UMambaError
from umamba.runtime import Predictor, predictor
from umamba.runtime.engines import load_network
from umamba.runtime.pipeline import EngineCheck
from umamba.runtime.preprocessing import prepare
from umamba.runtime.sliding_window import predict_logits

REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}


def image_of(channels: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Smooth and rough intensities like a CT's, with a border of zeros that is cut off."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 300, (channels, *shape)).astype(np.float32)
    image += np.linspace(-400, 600, shape[-1], dtype=np.float32)
    image[..., :2, :], image[..., -1] = 0, 0
    image[..., shape[-2] // 2, shape[-1] // 2] = 0  # a hole, which is inside
    return image


SCENARIOS = {
    "anisotropic CT, resampled": (
        {"channels": ["CTNormalization"], "of_configuration": {"spacing": [2.5, 0.9, 0.8]}},
        (1, 7, 30, 26),
        (5.0, 0.7, 0.7),
    ),
    "two modalities, masked, transposed, two folds": (
        {
            "channels": ["ZScoreNormalization", "RescaleTo01Normalization"],
            "n_folds": 2,
            "of_configuration": {
                "spacing": [1.0, 1.2, 1.5],
                "use_mask_for_norm": [True, False],
            },
            "of_plans": {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]},
        },
        (2, 12, 18, 11),
        (1.3, 1.0, 1.0),
    ),
    "regions, smaller than a patch": (
        {
            "channels": ["NoNormalization"],
            "labels": REGIONS,
            "of_dataset": {"regions_class_order": [1, 2, 3]},
        },
        (1, 5, 20, 9),
        (1.0, 1.0, 1.0),
    ),
    "RGB in 2D": (
        {
            "channels": ["RGBTo01Normalization"] * 3,
            "patch_size": (16, 12),
            "of_configuration": {"spacing": [1.0, 1.0]},
        },
        (3, 1, 40, 33),
        (999.0, 1.0, 1.0),
    ),
    "slices of a volume": (
        {"patch_size": (16, 12), "of_configuration": {"spacing": [0.8, 0.8]}},
        (1, 4, 20, 25),
        (5.0, 1.0, 0.9),
    ),
}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_labels_are_those_of_stock_nnunet(tmp_path: Path, scenario: str, engine: str) -> None:
    options, shape, spacing = SCENARIOS[scenario]
    exported = Exported(tmp_path / "model", **options)
    image = image_of(*shape)
    if "RGB" in scenario:
        image = np.clip(np.abs(image), 0, 255)
    untouched = image.copy()

    with Predictor(exported.folder, engine=engine) as predictor:
        labels = predictor(image, spacing)

    want = exported.stock_labels(image, spacing)
    assert labels.shape == want.shape
    assert len(np.unique(want)) > 1
    assert (labels != want).mean() < 1e-3  # float32 sums of convolutions differ in their last bits
    assert np.array_equal(image, untouched)


def test_a_slice_is_segmented_as_one(tmp_path: Path) -> None:
    exported = Exported(
        tmp_path / "model", patch_size=(16, 12), of_configuration={"spacing": [0.8, 0.8]}
    )
    image = image_of(1, 20, 25)
    labels = Predictor(exported.folder)(image, (1.0, 0.9))
    assert np.array_equal(labels, exported.stock_labels(image[:, None], (999.0, 1.0, 0.9))[0])


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_threads_share_a_predictor(tmp_path: Path, engine: str) -> None:
    exported = Exported(tmp_path / "model")
    images = [image_of(1, 8, 20, 12, seed=seed) for seed in range(4)]
    with Predictor(exported.folder, engine=engine, threads=1) as predictor:
        alone = [predictor(image, (1.0, 1.0, 1.0)) for image in images]
        barrier = threading.Barrier(4, timeout=60)

        def predict(image: np.ndarray) -> np.ndarray:
            barrier.wait()
            return predictor(image, (1.0, 1.0, 1.0))

        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(predict, images))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_step_and_mirroring_change_what_is_averaged(tmp_path: Path) -> None:
    exported = Exported(tmp_path / "model")
    image = image_of(1, 14, 20, 17)
    usual = Predictor(exported.folder)(image, (1.0, 1.0, 1.0))
    plain = Predictor(exported.folder, mirroring=False)(image, (1.0, 1.0, 1.0))
    wide = Predictor(exported.folder, step_size=1.0)(image, (1.0, 1.0, 1.0))
    assert (usual != plain).any()
    assert (usual != wide).any()
    with pytest.raises(UMambaError, match=r"--step-size 1\.5: give a part of the patch"):
        Predictor(exported.folder, step_size=1.5)


def test_largest_components_are_kept_as_stock_nnunet_keeps_them(tmp_path: Path) -> None:
    exported = Exported(tmp_path / "model", keep_largest=[[1, 2], [2]])
    image = image_of(1, 14, 20, 17)
    labels = Predictor(exported.folder)(image, (1.0, 1.0, 1.0))
    kept = Predictor(exported.folder, postprocessing=True)(image, (1.0, 1.0, 1.0))
    want = labels
    for step in ([1, 2], [2]):
        want = remove_all_but_largest_component_from_segmentation(want, step)
    assert (want != labels).any()
    assert np.array_equal(kept, want)


@pytest.mark.parametrize("patch_size", [(8, 8, 6), (8, 6)])
def test_logits_are_the_same_in_memory_and_in_files(
    tmp_path: Path, patch_size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def predicted(*most_in_memory: int) -> np.ndarray:
        store = predict_logits(
            networks,
            image_of(1, 13, 17, 9)[:, :, :, :5],  # narrower than a patch
            exported.pipeline,
            tmp_path / "scratch",
            step_size=0.5,
            mirroring=False,
            most_in_memory=most_in_memory,
        )
        with closing(store):
            return store.read(0, 13)

    made: list[str] = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda **to: made.append(str(to["dir"])) or make(**to)
    )
    spacing = [1.0] * len(patch_size)
    exported = Exported(
        tmp_path / "model",
        patch_size=patch_size,
        n_folds=2,
        of_configuration={"spacing": spacing},
    )
    (tmp_path / "scratch").mkdir()
    networks = [
        load_network(exported.folder / f"fold_{fold}.onnx", "onnxruntime", 1) for fold in (0, 1)
    ]
    in_memory = predicted(1 << 30, 1 << 30)
    assert not made
    assert np.array_equal(predicted(0, 0), in_memory)
    assert made == [str(tmp_path / "scratch")] * 3  # the logits, and sums for each fold
    assert len(np.unique(in_memory)) > 1000


def test_postprocessing_is_applied_to_the_folds_that_it_was_chosen_for(tmp_path: Path) -> None:
    chosen = Exported(tmp_path / "chosen", n_folds=2, keep_largest=[[1]]).folder
    assert Predictor(chosen, folds=[1, 0], postprocessing=True).keep_largest == ((1,),)
    message = r"chose no post-processing for the folds 0 of .* together; predict without it"
    with pytest.raises(UMambaError, match=message):
        Predictor(chosen, folds=[0], postprocessing=True)
    with pytest.raises(UMambaError, match=message):
        Predictor(Exported(tmp_path / "none").folder, postprocessing=True)


@pytest.mark.parametrize(
    ("image", "spacing", "message"),
    [
        (
            np.ones((2, 4, 4, 4)),
            (1.0, 1.0, 1.0),
            r"shape \[2, 4, 4, 4\], but must have 1 channel\(s\) \(channel 0\) first",
        ),
        (np.ones((1, 4)), (1.0,), r"has the shape \[1, 4\]"),
        (np.ones((1, 4, 4, 4)), (1.0, 0.0, 1.0), "must be 3 positive sizes of a voxel"),
        (np.ones((1, 4, 4, 4)), (1.0, 1.0), "must be 3 positive sizes of a voxel"),
        (np.ones((1, 4, 4, 4)), ("1", "1", "1"), r"spacing \['1', '1', '1'\] must be 3 positive"),
        (np.full((1, 4, 4, 4), np.nan), (1.0, 1.0, 1.0), "must hold finite real numbers"),
        (np.ones((1, 4, 4, 4)), (1.0, 1e-4, 1.0), "1 x 0.0001 x 1 mm the image is smaller than"),
        (np.ones((1, 4, 4, 4)), (1e308, 1.0, 1.0), r"1e\+308, 1.0, 1.0\] must be .* to 1e\+09"),
        (np.ones((1, 4, 4, 4)), (1e-300, 1.0, 1.0), "must be .* each from 1e-12"),
        (np.ones((1, 4, 4, 4)), (1e4, 1e4, 1.0), r"the image takes .* GiB on the network's grid"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, image: np.ndarray, spacing: tuple[float, ...], message: str
) -> None:
    exported = Exported(tmp_path / "model")
    with Predictor(exported.folder) as predictor, pytest.raises(DatasetError, match=message):
        predictor(image, spacing)


def test_colours_out_of_range_are_refused(tmp_path: Path) -> None:
    exported = Exported(tmp_path / "model", channels=["RGBTo01Normalization"])
    with pytest.raises(DatasetError, match="outside of 0 to 255"):
        Predictor(exported.folder)(np.full((1, 8, 16, 12), 300.0), (1.0, 1.0, 1.0))


def test_an_engine_that_was_not_found_right_is_taken_only_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(predictor, "installed_engines", lambda _: ["openvino"])
    unchecked = Exported(tmp_path / "unchecked").folder
    assert Predictor(unchecked).engine == "openvino"
    assert "openvino was not compared with torch when this model was exported" in caplog.text
    check = EngineCheck(largest_difference=1e-6, seconds=1)
    right = {"torch": check, "onnxruntime": check}
    checked = Exported(tmp_path / "checked", checks=right).folder
    message = (
        r"installed here \(openvino\) none was found to give torch's logits when this model was "
        "exported; `pip install onnxruntime`, or name an engine"
    )
    with pytest.raises(UMambaError, match=message):
        Predictor(checked)
    caplog.clear()
    assert Predictor(checked, engine="openvino").engine == "openvino"
    assert "openvino was not found to give torch's logits" in caplog.text
    monkeypatch.undo()
    caplog.clear()
    assert Predictor(checked).engine == "onnxruntime"
    assert not caplog.messages


def test_a_closed_predictor_says_so(tmp_path: Path) -> None:
    with Predictor(Exported(tmp_path / "model").folder) as predictor:
        pass
    with pytest.raises(UMambaError, match="was closed"):
        predictor(np.ones((1, 8, 16, 12)), (1.0, 1.0, 1.0))


def test_a_call_ends_as_usual_if_another_thread_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).normal(size=(1, 8, 16, 12))
    model = Predictor(Exported(tmp_path / "model").folder)
    want = model(image, (1.0, 1.0, 1.0))

    def closed_meanwhile(*given: Any) -> Any:
        model.close()
        return prepare(*given)

    monkeypatch.setattr(predictor, "prepare", closed_meanwhile)
    np.testing.assert_array_equal(model(image, (1.0, 1.0, 1.0)), want)
    with pytest.raises(UMambaError, match="was closed"):
        model(image, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left"), r"kept in .* \(No space left\); make room"),
        (MemoryError(), "there is not enough memory; use a machine with more"),
    ],
)
def test_what_the_machine_lacks_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def lacking(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(predictor, "predict_logits", lacking)
    model = Predictor(Exported(tmp_path / "model").folder)
    with model, pytest.raises(UMambaError, match=message):
        model(np.ones((1, 8, 16, 12)), (1.0, 1.0, 1.0))


def test_logits_that_are_not_finite_are_noticed(tmp_path: Path) -> None:
    exported = Exported(tmp_path / "model", channels=["NoNormalization"])
    image = np.full((1, 8, 16, 12), 3e38, np.float32)
    with pytest.raises(DatasetError, match="output is not finite"), np.errstate(all="ignore"):
        Predictor(exported.folder)(image, (1.0, 1.0, 1.0))
