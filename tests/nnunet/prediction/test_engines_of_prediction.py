"""`umamba predict` runs ONNX files where they are of the model's weights, and says where not."""

from pathlib import Path
from typing import Any

import msgspec
import nibabel
import numpy as np
import pytest
import torch

from exported_models import convolution, onnx_of
from model_folders import CONFIGURATION, SHAPE, write_model
from umamba.errors import ModelFileError, UMambaError
from umamba.nnunet.checkpoints.contents import weights_digest
from umamba.nnunet.plans.pipeline import pipeline_of
from umamba.nnunet.prediction.engines import use_engine
from umamba.nnunet.prediction.folders import predict
from umamba.nnunet.prediction.loading import PredictionOptions, load_model
from umamba.nnunet.prediction.record import model_identity
from umamba.runtime.pipeline import (
    EngineCheck,
    describe_network_file,
    read_pipeline,
    write_pipeline,
)
from umamba.system.json_files import load_json


def write_exported(folder: Path, **seconds: float) -> list[Any]:
    """Write a model of two folds whose ONNX files hold convolutions; return these."""
    networks = write_model(folder, "umamba_bot_nomamba", n_folds=2)
    convolutions = [convolution(1, 3, 3, seed) for seed in (0, 1)]
    checks = {
        name: EngineCheck(largest_difference=1e-6, seconds=value) for name, value in seconds.items()
    }
    files = []
    for fold, (network, conv) in enumerate(zip(networks, convolutions, strict=True)):
        path = folder / f"fold_{fold}.onnx"
        path.write_bytes(onnx_of(conv))
        digest = weights_digest([network.state_dict()])
        files.append(describe_network_file(path, str(fold), checks, digest))
    plans, dataset_json = load_json(folder / "plans.json"), load_json(folder / "dataset.json")
    write_pipeline(folder, pipeline_of(plans, dataset_json, CONFIGURATION, networks=files))
    return convolutions


def options(engine: str, **changes: Any) -> PredictionOptions:
    return PredictionOptions(engine=engine, mirroring=False, **changes)


def labels_of(model: Path, folder: Path, engine: str) -> np.ndarray:
    images = folder / "images"
    images.mkdir(exist_ok=True)
    voxels = np.random.default_rng(0).normal(size=SHAPE[::-1]).astype(np.float32)
    image = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.2, 2.0, 1.0]))
    nibabel.save(image, images / "case_0000.nii.gz")
    predict(model, images, folder / engine, options(engine))
    return np.asarray(nibabel.load(folder / engine / "case.nii.gz").dataobj)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_engine_runs_the_file_of_every_fold(tmp_path: Path, engine: str) -> None:
    convolutions = write_exported(tmp_path / "model")
    predictor = load_model(tmp_path / "model", options(engine))
    patch = torch.randn(1, 1, *SHAPE)
    for weights, conv in zip(predictor.list_of_parameters, convolutions, strict=True):
        predictor.network.load_state_dict(weights)
        assert torch.allclose(predictor.network(patch), conv(patch), atol=1e-5)
    by_torch = load_model(tmp_path / "model", options("torch"))
    assert model_identity(predictor, None) == model_identity(by_torch, None)


def test_predictions_are_the_engine_s(tmp_path: Path) -> None:
    write_exported(tmp_path / "model")
    torch_s, engine_s = (
        labels_of(tmp_path / "model", tmp_path, engine) for engine in ("torch", "onnxruntime")
    )
    assert (torch_s != engine_s).any()  # the files hold other networks


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        ({"torch": 3.0, "openvino": 1.0, "onnxruntime": 2.0}, "openvino"),
        ({"torch": 1.0, "openvino": 2.0}, ""),
        ({"onnxruntime": 2.0, "torch": 2.5}, "onnxruntime"),
        ({}, ""),
    ],
)
def test_auto_takes_the_fastest_that_was_verified(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: dict[str, float], taken: str
) -> None:
    write_exported(tmp_path / "model", **seconds)
    with caplog.at_level("INFO"):
        load_model(tmp_path / "model", options("auto"))
    said = [message for message in caplog.messages if "runs the network" in message]
    assert said == ([f"{taken} runs the network"] if taken else [])


def test_an_engine_that_was_not_found_right_is_taken_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_exported(tmp_path / "model", torch=2.0, onnxruntime=1.0)
    load_model(tmp_path / "model", options("onnxruntime"))
    assert "note:" not in caplog.text
    load_model(tmp_path / "model", options("openvino"))
    assert "note: openvino was not found to give torch's logits when this model was" in caplog.text


def test_models_without_onnx_files_are_left_to_torch(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "umamba_bot_nomamba")
    load_model(tmp_path / "model", options("auto"))
    with pytest.raises(UMambaError, match=r"has no pipeline.json, which `umamba export --onnx`"):
        load_model(tmp_path / "model", options("openvino"))


def test_files_of_other_weights_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    write_exported(folder, openvino=1.0)
    pipeline = read_pipeline(folder)
    stale = msgspec.structs.replace(pipeline.networks[1], weights="0" * 64)
    networks = (pipeline.networks[0], stale)
    write_pipeline(folder, msgspec.structs.replace(pipeline, networks=networks))
    with caplog.at_level("INFO"):
        load_model(folder, options("auto"))
    assert "torch predicts, not an ONNX engine: the ONNX files in" in caplog.text
    with pytest.raises(UMambaError, match="are not of these weights; leave it out, or give torch"):
        load_model(folder, options("onnxruntime"))
    load_model(folder, options("onnxruntime", folds=("0",)))


def test_damaged_files_are_refused_and_not_passed_over(tmp_path: Path) -> None:
    write_exported(tmp_path / "model", torch=1.0)
    (tmp_path / "model" / "fold_1.onnx").write_bytes(b"torn")
    with pytest.raises(ModelFileError, match="its checksum differs"):
        load_model(tmp_path / "model", options("auto"))
    model = load_model(tmp_path / "model", options("torch"))
    model.device = torch.device("cuda")  # which files for a CPU do not concern
    use_engine(model, tmp_path / "model", "auto", is_pruned=False)
