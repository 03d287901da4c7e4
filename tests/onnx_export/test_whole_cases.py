"""Labels of a whole case: ties are counted, and engines that find others are left out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from exported_models import Exported
from umamba.errors import ModelFileError
from umamba.onnx_export import whole_cases
from umamba.onnx_export.whole_cases import compare_labels
from umamba.runtime.pipeline import EngineCheck
from umamba.runtime.preprocessing import NetworkInput
from umamba.runtime.sliding_window import Network

REGIONS = {
    "labels": {"background": 0, "whole": [1, 2], "small": 2},
    "of_dataset": {"regions_class_order": [1, 2]},
}
CHECK = EngineCheck(largest_difference=1e-6, seconds=1.0)
SHAPE = (9, 20, 15)


class Tied(nn.Module):
    """A network whose last two outputs are equal: the intensity, compared with zero."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.n_outputs = n_outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), x, x], 1)[:, -self.n_outputs :]


def a_case() -> NetworkInput:
    image = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)
    box = tuple(slice(0, size) for size in SHAPE)
    return NetworkInput(image, SHAPE, box, (1.0,) * 3, (1.0,) * 3)


def compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch, engines: dict[str, float], **model: object
) -> dict[str, EngineCheck]:
    """Compare engines that add something to the last of torch's outputs."""

    def load(_: Path, engine: str, __: int) -> Network:
        def run(patch: np.ndarray) -> np.ndarray:
            logits = network(torch.from_numpy(patch)).numpy().copy()
            logits[:, -1] += engines[engine]
            return logits

        return run

    exported = Exported(folder / "model", patch_size=(8, 16, 12), **model)
    network = Tied(len(exported.pipeline.output_labels))
    monkeypatch.setattr(whole_cases, "load_network", load)
    checks = dict.fromkeys(("torch", *engines), CHECK)
    return compare_labels(network, exported.folder / "none", checks, a_case(), exported.pipeline)


def test_voxels_of_ties_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = compared(tmp_path, monkeypatch, {"openvino": 0.0, "onnxruntime": 2e-3})
    # float16 leaves differences of 2e-3 beside logits of up to 4
    assert 0 < (n_ties := found["onnxruntime"].differing_voxels) <= (a_case().image > 0).sum()
    assert n_ties > 0.4 * np.prod(SHAPE)
    assert found["openvino"].differing_voxels == 0
    assert found["openvino"].seconds == CHECK.seconds
    assert found["torch"] == CHECK


@pytest.mark.parametrize("model", [{}, REGIONS], ids=["classes", "regions"])
def test_an_engine_with_other_labels_is_left_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    model: dict[str, object],
) -> None:
    found = compared(tmp_path, monkeypatch, {"openvino": 0.1, "onnxruntime": 0.0}, **model)
    assert set(found) == {"torch", "onnxruntime"}
    assert found["onnxruntime"].differing_voxels == 0
    assert "of a whole case openvino finds other labels than torch" in caplog.text


def test_where_no_engine_is_left_there_is_no_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelFileError, match="no engine finds torch's labels of a whole case"):
        compared(tmp_path, monkeypatch, {"onnxruntime": 0.1})
