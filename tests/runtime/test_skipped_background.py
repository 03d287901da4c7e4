"""Patches that are background in a coarse pass are skipped where that is asked for."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor, nn

from exported_models import Exported
from model_factory import write_image, write_model
from umamba.errors import DatasetError, UMambaError
from umamba.logit_files import CoarseLogits
from umamba.nnunet.prediction import sliding_window
from umamba.nnunet.prediction.folders import predict
from umamba.nnunet.prediction.loading import PredictionOptions
from umamba.runtime.sliding_window import predict_logits

SHAPE = (24, 48, 40)
REGIONS = {
    "labels": {"background": 0, "whole": [1, 2], "small": 2},
    "of_dataset": {"regions_class_order": [1, 2]},
}


def organ_in_air() -> np.ndarray:
    """Return a noisy image with one organ, normalised, (1, z, y, x)."""
    z, y, x = np.ogrid[:24, :48, :40]
    organ = ((z - 12) / 6) ** 2 + ((y - 14) / 8) ** 2 + ((x - 12) / 7) ** 2 < 1
    noise = np.random.default_rng(0).normal(scale=0.3, size=SHAPE)
    return (np.where(organ, 2, -2) + noise).astype(np.float32)[None]


class Organs:
    """A network that finds organs by their smoothed intensity, and counts its patches."""

    def __init__(self, n_outputs: int) -> None:
        self.n_outputs, self.calls = n_outputs, 0

    def __call__(self, patch: np.ndarray) -> np.ndarray:
        self.calls += 1
        smooth = 6 * uniform_filter(patch, (1, 1, *[3] * (patch.ndim - 2)))
        others = [smooth - 40] * (self.n_outputs - 1)
        first = [smooth] if self.n_outputs == 2 else [np.zeros_like(smooth), smooth]
        return np.concatenate([*first, *others], axis=1)[:, : self.n_outputs].astype(np.float32)


def by_runtime(network: Organs, image: np.ndarray, exported: Exported, **how: Any) -> np.ndarray:
    store = predict_logits([network], image, exported.pipeline, exported.folder, **how)
    with closing(store):
        return store.read(0, len(image[0]))


def by_torch(network: Organs, image: np.ndarray, exported: Exported, **how: Any) -> np.ndarray:
    class Wrapped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(network(x.numpy()))

    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    pipeline = exported.pipeline
    predictor = nnUNetPredictor(
        tile_step_size=how["step_size"], use_mirroring=how["mirroring"], device=torch.device("cpu")
    )
    predictor.network, predictor.list_of_parameters = Wrapped(), [{}]
    predictor.perform_everything_on_device = predictor.allow_tqdm = False
    predictor.allowed_mirroring_axes = pipeline.mirroring_axes
    predictor.configuration_manager = SimpleNamespace(patch_size=pipeline.patch_size)
    predictor.label_manager = SimpleNamespace(
        num_segmentation_heads=network.n_outputs,
        foreground_labels=[1, 2],
        has_regions=pipeline.has_regions,
    )
    case = sliding_window.NetworkInput(torch.from_numpy(image), None, {})
    store = sliding_window.predict_logits(
        predictor, case, exported.folder, "", skip_background=how.get("skip_background", False)
    )
    with closing(store):
        return store.read(0, len(image[0]))


def labels(logits: np.ndarray, exported: Exported) -> np.ndarray:
    return logits > 0 if exported.pipeline.has_regions else logits.argmax(0)


@pytest.mark.parametrize("run", [by_runtime, by_torch])
@pytest.mark.parametrize(
    ("model", "mirroring"),
    [
        ({"patch_size": (8, 16, 12)}, False),
        ({"patch_size": (24, 24, 20)}, True),
        ({"patch_size": (16, 12)}, False),
        ({"patch_size": (8, 16, 12), **REGIONS}, False),
        ({"patch_size": (4, 64, 8)}, False),  # longer than the image
    ],
    ids=["3D", "mirrored", "2D", "regions", "padded"],
)
def test_labels_stay_where_most_patches_are_skipped(
    tmp_path: Path, run: Callable[..., np.ndarray], model: dict[str, Any], mirroring: bool
) -> None:
    spacing = [1.0] * len(model["patch_size"])
    exported = Exported(tmp_path / "model", of_configuration={"spacing": spacing}, **model)
    image, network = organ_in_air(), Organs(len(exported.pipeline.output_labels))
    how = {"step_size": 0.5, "mirroring": mirroring}
    whole = labels(run(network, image, exported, **how), exported)
    computed, network.calls = network.calls, 0
    skipped = labels(run(network, image, exported, **how, skip_background=True), exported)
    assert np.array_equal(skipped, whole)
    assert 500 < whole.astype(bool).sum() < whole.size / 10
    assert network.calls < 0.75 * computed  # the coarse pass is among them


@pytest.mark.parametrize("run", [by_runtime, by_torch])
def test_there_is_no_coarse_pass_where_it_would_take_as_long(
    tmp_path: Path, run: Callable[..., np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    exported = Exported(tmp_path / "model", patch_size=SHAPE)
    network = Organs(3)
    with caplog.at_level("INFO"):
        run(network, organ_in_air(), exported, step_size=0.5, mirroring=False, skip_background=True)
    assert network.calls == 1
    assert "0 of 1 patches were skipped" in caplog.text


@pytest.mark.parametrize("run", [by_runtime, by_torch])
def test_outputs_that_are_not_finite_are_not_taken_for_background(
    tmp_path: Path, run: Callable[..., np.ndarray]
) -> None:
    class Broken(Organs):
        def __call__(self, patch: np.ndarray) -> np.ndarray:
            return super().__call__(patch) * np.float32("nan")

    exported = Exported(tmp_path / "model", patch_size=(8, 16, 12))
    how = {"step_size": 0.5, "mirroring": False, "skip_background": True}
    with pytest.raises((DatasetError, RuntimeError), match="output is not finite"):
        run(Broken(3), organ_in_air(), exported, **how)


@pytest.mark.parametrize("most_in_memory", [0, 1 << 20])
def test_background_is_where_nothing_else_has_one_percent(
    tmp_path: Path, most_in_memory: int
) -> None:
    shape = (3, 4, 5, 6)
    logits = np.zeros(shape, np.float16)
    logits[0] = np.log(2 * 99) + 0.01  # of two other classes together
    logits[2, 3, 4, 5] = 0.1
    box = (slice(1, 3), slice(2, 4), slice(3, 6))
    inside = [slice(0, 4), slice(0, 5), slice(0, 6)]
    how = {"folder": tmp_path, "most_in_memory": most_in_memory, "has_regions": False}
    with closing(CoarseLogits(shape, inside=inside, **how)) as coarse:
        coarse.write(0, logits)
        assert np.array_equal(coarse.box(box), logits[(slice(None), *box)])
        assert coarse.background((slice(0, 4), slice(0, 5), slice(0, 5))) is not None
        assert coarse.background((slice(3, 4), slice(4, 5), slice(5, 6))) is None
        assert np.array_equal(coarse.background(box), logits[(slice(None), *box)])
    inside[1] = slice(1, 4)  # beside what is not background
    with closing(CoarseLogits(shape, inside=inside, **how)) as coarse:
        coarse.write(0, logits)
        assert coarse.background((slice(3, 4), slice(0, 5), slice(0, 6))) is not None
    with closing(CoarseLogits(shape, inside=inside, **{**how, "has_regions": True})) as coarse:
        coarse.write(0, -logits)
        assert coarse.background(box) is None  # of the last two regions


def test_a_prediction_says_what_it_skipped_and_is_not_mixed_with_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_model(tmp_path / "model")
    write_image(tmp_path / "in" / "a_0000.nii.gz")
    options = PredictionOptions(mirroring=False, skip_background_patches=True)
    with caplog.at_level("INFO"):
        predict(model, tmp_path / "in", tmp_path / "out", options)
    assert "a: 0 of " in caplog.text  # of a network that is never certain
    assert "patches were skipped, as a coarse pass found background alone" in caplog.text
    with pytest.raises(UMambaError, match="another model or other settings"):
        predict(model, tmp_path / "in", tmp_path / "out", PredictionOptions(mirroring=False))
