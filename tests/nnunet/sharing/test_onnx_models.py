"""A trained model is exported with its networks as ONNX files, and predicts without torch."""

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from model_factory import write_image, write_model
from reference_cases import relative_max
from toy import read_json, voxels
from umamba.cli.main import main
from umamba.nnunet.postprocessing import chosen_for
from umamba.runtime import Predictor, read_pipeline
from umamba.runtime.engines import ENGINES, load_network

pytestmark = pytest.mark.nnunet
DATASET = "Dataset901_Toy"
MODEL = f"{DATASET}/nnUNetTrainer__nnUNetPlans__3d_fullres"


def export(results: Path, output: Path, *more: str, configuration: str = "3d_fullres") -> int:
    command = ["export", "901", configuration, "-p", "nnUNetPlans", "-tr", "nnUNetTrainer"]
    return main([*command, "-o", str(output), "--onnx", "--results", str(results), *more])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("onnx") / "results"
    write_model(results / MODEL, patch_size=(8, 8, 8))
    chosen = results / MODEL / "crossval_results_folds_0" / "postprocessing.json"
    chosen.parent.mkdir()
    step = {"labels_or_regions": [1, 2]}
    name = "remove_all_but_largest_component_from_segmentation"
    content = {"postprocessing_fns": [name], "postprocessing_kwargs": [step]}
    chosen.write_text(json.dumps(content))
    return results


@pytest.fixture(scope="module")
def exported(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exported") / "model"
    assert export(results, output, "--pt2") == 0
    return output


def test_the_onnx_file_is_listed_described_and_checked(exported: Path) -> None:
    listed = read_json(exported / "manifest.json")["files"]
    assert {"fold_0.onnx", "pipeline.json"} <= set(listed)
    assert read_pipeline(exported).keep_largest == ((1, 2),)
    (network,) = read_json(exported / "pipeline.json")["networks"]
    assert network["file"] == "fold_0.onnx"
    assert network["sha256"] == listed["fold_0.onnx"]["sha256"]
    assert set(network["checks"]) == {"torch", "onnxruntime", "openvino"}
    assert all(check["largest_difference"] < 1e-4 for check in network["checks"].values())
    card = (exported / "README.md").read_text()
    assert "| `fold_0.onnx` | openvino" in card
    assert "at most\n0.0001 was allowed" in card
    assert network["case"] == {"origin": "random numbers", "voxels": 8 * 8 * 12}
    assert "counts voxels of random numbers (768 voxels;" in card
    assert all(network["checks"][name]["differing_voxels"] < 8 for name in ENGINES)
    other = network["other_patch"]
    assert len(other) == 3
    assert other != [8, 8, 8]
    assert f"two patches at once of {other[0]} x {other[1]} x {other[2]} voxels were" in card


def test_the_runtime_predicts_what_torch_predicts(exported: Path, tmp_path: Path) -> None:
    image = write_image(tmp_path / "images" / "case_0000.nii.gz", spacing=(1, 1, 1))
    command = ["predict", "-m", str(exported), "-i", str(tmp_path / "images"), "--disable_tta"]
    command += ["-device", "cpu"]
    assert main([*command, "-o", str(tmp_path / "torch"), "--engine", "torch"]) == 0
    assert main([*command, "-o", str(tmp_path / "openvino"), "--engine", "openvino"]) == 0
    expected = voxels(tmp_path / "torch" / "case.nii.gz")
    assert np.mean(voxels(tmp_path / "openvino" / "case.nii.gz") == expected) > 0.999
    for engine in ("onnxruntime", "openvino"):
        with Predictor(exported, engine=engine, mirroring=False) as predictor:
            labels = predictor(voxels(image)[None].astype(np.float32), (1.0, 1.0, 1.0))
        assert np.mean(labels == expected) > 0.999
        assert 0 < labels.mean() < labels.max()  # something to compare


def test_a_damaged_file_is_neither_installed_nor_run(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = shutil.copytree(exported, tmp_path / "damaged")
    content = bytearray((damaged / "fold_0.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / "fold_0.onnx").write_bytes(content)
    assert main(["install", str(damaged), "--results", str(tmp_path / "results")]) == 2
    assert "'fold_0.onnx' is not what was exported: its checksum" in capsys.readouterr().err


def list_again(model: Path) -> None:
    """Give the files of an exported model the checksums that it lists."""
    pipeline, manifest = (read_json(model / name) for name in ("pipeline.json", "manifest.json"))
    content = (model / "fold_0.onnx").read_bytes()
    digest = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    pipeline["networks"][0] |= digest
    (model / "pipeline.json").write_text(json.dumps(pipeline))
    for name in manifest["files"]:
        content = (model / name).read_bytes()
        digest = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        manifest["files"][name] = digest
    (model / "manifest.json").write_text(json.dumps(manifest))


def test_a_hostile_file_with_right_checksums_is_neither_installed_nor_run(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = shutil.copytree(exported, tmp_path / "hostile")
    model = onnx.load(hostile / "fold_0.onnx")
    node = onnx.helper.make_node("ReadFile", ["image"], ["text"], domain="ai.onnx.contrib")
    model.graph.node.append(node)
    onnx.save_model(model, hostile / "fold_0.onnx")
    list_again(hostile)
    images = write_image(tmp_path / "images" / "case_0000.nii.gz").parent
    predict = ["predict", "-m", str(hostile), "-i", str(images), "-o", str(tmp_path / "out")]
    for command in (["install", str(hostile), "--results", str(tmp_path / "results")], predict):
        assert main(command) == 2
        said = capsys.readouterr().err.splitlines()
        assert f"{hostile / 'fold_0.onnx'} has the operator 'ai.onnx.contrib.ReadFile'" in said[-1]
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "results").rglob("*.onnx"))


def test_messages_on_an_exported_model_name_it_as_the_user_does(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = shutil.copytree(exported, tmp_path / "without")
    manifest = read_json(without / "manifest.json")
    for name in ("pipeline.json", "fold_0.onnx"):
        (without / name).unlink()
        del manifest["files"][name]
    (without / "manifest.json").write_text(json.dumps(manifest))
    images = write_image(tmp_path / "images" / "case_0000.nii.gz").parent
    command = ["predict", "-m", str(without), "-i", str(images), "-o", str(tmp_path / "out")]
    assert main([*command, "-device", "cpu", "--engine", "openvino"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert f"--engine openvino cannot be used: {without} has no pipeline.json" in said[-1]
    assert not any("perform_everything_on_device" in line for line in said)


def test_an_installed_model_keeps_its_networks(exported: Path, tmp_path: Path) -> None:
    assert main(["install", str(exported), "--results", str(tmp_path / "results")]) == 0
    installed = tmp_path / "results" / MODEL
    assert read_pipeline(installed) == read_pipeline(exported)
    assert chosen_for([installed], ["0"]) is not None


def test_the_program_computes_what_the_onnx_file_does(exported: Path) -> None:
    program = torch.export.load(exported / "fold_0.pt2").module()
    image = torch.randn(3, 1, 8, 16, 8)
    logits = load_network(exported / "fold_0.onnx", "onnxruntime", 1)(image.numpy())
    assert relative_max(program(image), torch.from_numpy(logits)) < 1e-5
    with zipfile.ZipFile(exported / "fold_0.pt2") as packed:
        contents = b"".join(map(packed.read, packed.namelist()))
    assert str(Path(torch.__file__).parent).encode() not in contents


@pytest.mark.slow
def test_a_case_of_the_training_data_is_compared(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    folder = tmp_path / "preprocessed" / DATASET / "nnUNetPlans_3d_fullres"
    folder.mkdir(parents=True)
    image = np.full((1, 5, 20, 8), np.nan, np.float32)
    sizes = [image.shape] * 2
    labels = np.zeros_like(image, np.int16)
    nnUNetDatasetBlosc2.save_case(image, labels, {}, str(folder / "case"), *sizes, *sizes)
    preprocessed = ["--preprocessed", str(tmp_path / "preprocessed")]
    assert export(results, tmp_path / "model", *preprocessed) == 2
    assert "differs from torch by inf of the largest logit" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


class Pointwise(nn.Module):
    """A network of somebody's own, whose keywords do not have strides."""

    def __init__(self, input_channels: int, num_classes: int, **_: object) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(input_channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.convolution(x)
        return logits


def test_a_network_without_strides_takes_its_own_patch_alone(results: Path, tmp_path: Path) -> None:
    own = tmp_path / "results"
    shutil.copytree(results, own)
    plans = read_json(own / MODEL / "plans.json")
    plans["configurations"]["3d_fullres"]["architecture"] = {
        "network_class_name": f"{__name__}.{Pointwise.__name__}",
        "arch_kwargs": {},
        "_kw_requires_import": [],
    }
    (own / MODEL / "plans.json").write_text(json.dumps(plans))
    checkpoint = {
        "network_weights": Pointwise(1, 3).state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, own / MODEL / "fold_0" / "checkpoint_final.pth")
    assert export(own, tmp_path / "model", "--trust-plans") == 0
    (network,) = read_pipeline(tmp_path / "model").networks
    assert network.other_patch == ()


def test_an_image_to_compare_needs_onnx_files(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "901", "3d_fullres", "-p", "nnUNetPlans", "-tr", "nnUNetTrainer"]
    command += ["-o", str(tmp_path / "model"), "--results", str(results), "--check-image", "a.nii"]
    assert main(command) == 2
    assert "--check-image is compared with what ONNX files predict" in capsys.readouterr().err


def test_an_image_that_does_not_fit_is_refused_before_anything_is_compiled(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = write_image(tmp_path / "a.nii.gz", (4, 4, 4))
    image.write_bytes(b"torn")
    assert export(results, tmp_path / "model", "--pt2", "--check-image", str(image)) == 2
    said = capsys.readouterr().err
    assert "a.nii.gz cannot be compared: " in said
    assert "as a program" not in said


def test_a_missing_library_is_named_before_anything_is_written(
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert export(results, tmp_path / "model") == 2
    assert "--onnx needs onnxscript: pip install 'umamba[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.slow  # compiles
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_compiled_program_computes_what_the_onnx_file_does(
    results: Path, exported: Path, tmp_path: Path
) -> None:
    command = ["export", "901", "3d_fullres", "-p", "nnUNetPlans", "-tr", "nnUNetTrainer"]
    command += ["-o", str(tmp_path / "model"), "--results", str(results), "--aotinductor"]
    assert main(command) == 0
    package = tmp_path / "model" / "fold_0.aotinductor.pt2"
    compiled = torch._inductor.aoti_load_package(str(package))
    image = torch.randn(3, 1, 8, 16, 8)
    logits = load_network(exported / "fold_0.onnx", "onnxruntime", 1)(image.numpy())
    assert relative_max(compiled(image), torch.from_numpy(logits)) < 1e-5


def test_without_a_compiler_nothing_is_compiled(
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    command = ["export", "901", "3d_fullres", "-p", "nnUNetPlans", "-tr", "nnUNetTrainer"]
    command += ["-o", str(tmp_path / "model"), "--results", str(results), "--aotinductor"]
    assert main(command) == 2
    assert "--aotinductor needs a C++ compiler: install g++" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
