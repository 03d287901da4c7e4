"""Engines are found without loading them, chosen by what the export found, and refused by name."""

import importlib.util
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from exported_models import Exported, convolution, onnx_of
from umamba.errors import DatasetError, ModelFileError, UMambaError
from umamba.runtime import Predictor, engines
from umamba.runtime.engines import installed_engines, load_network, verified_engines
from umamba.runtime.pipeline import EngineCheck, describe_network_file, write_pipeline


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    find = importlib.util.find_spec

    def find_others(name: str, package: str | None = None) -> object:
        return None if name in names else find(name, package)

    monkeypatch.setattr("umamba.runtime.engines.find_spec", find_others)


def took(seconds: float) -> EngineCheck:
    return EngineCheck(largest_difference=1e-6, seconds=seconds)


def test_auto_takes_the_fastest_that_was_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = {"openvino": took(0.4), "onnxruntime": took(0.3), "torch": took(0.2)}
    exported = Exported(tmp_path / "model", checks=checks)
    assert verified_engines(exported.pipeline.networks) == ["torch", "onnxruntime", "openvino"]
    assert Predictor(exported.folder).engine == "onnxruntime"
    assert Predictor(exported.folder, engine="openvino").engine == "openvino"
    without(monkeypatch, "onnxruntime")
    assert Predictor(exported.folder).engine == "openvino"


def test_auto_takes_the_first_installed_where_none_was_verified(tmp_path: Path) -> None:
    assert Predictor(Exported(tmp_path / "model").folder).engine == "openvino"


def test_an_engine_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "openvino")
    assert installed_engines() == ["onnxruntime"]
    with pytest.raises(UMambaError, match="engine openvino is not installed here; `pip install op"):
        installed_engines("openvino")
    without(monkeypatch, "onnx")  # which checks files before an engine sees them
    with pytest.raises(UMambaError, match=r"openvino is not .*; `pip install openvino onnx`"):
        installed_engines("openvino")
    without(monkeypatch, "openvino", "onnxruntime")
    with pytest.raises(UMambaError, match="`pip install openvino` or `pip install onnxruntime`"):
        installed_engines()
    with pytest.raises(UMambaError, match="'tensorrt' does not exist; choose one of auto"):
        installed_engines("tensorrt")


def test_threads_that_come_at_once_share_openvino_s_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    made = []

    def slow() -> object:
        time.sleep(0.05)  # as importing it does
        made.append(core())
        return made[-1]

    path, core = tmp_path / "fold_0.onnx", openvino.Core
    path.write_bytes(onnx_of(convolution(2, 3, 2)))
    engines._openvino_core.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(openvino, "Core", slow)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: load_network(path, "openvino", 1), range(4)))
    assert len(made) == 1


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_what_an_engine_cannot_load_is_refused(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "fold_0.onnx"
    path.write_bytes(b"not ONNX")
    with pytest.raises(ModelFileError, match="is damaged, or is not an ONNX file"):
        load_network(path, engine, 1)


def test_a_network_that_an_engine_cannot_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fold_0.onnx"
    model = onnx.load_model_from_string(onnx_of(convolution(2, 3, 2)))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"openvino cannot load .*fold_0.onnx \(") as caught:
        load_network(path, "openvino", 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_failure_on_a_patch_is_one_of_the_image(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        msg = "no memory\nfor this"
        raise RuntimeError(msg)

    path = tmp_path / "fold_0.onnx"
    path.write_bytes(onnx_of(convolution(2, 3, 2)))
    run = load_network(path, engine, 1)
    monkeypatch.setattr("openvino.CompiledModel.create_infer_request", fail)
    with pytest.raises(DatasetError, match=rf"{engine} failed on a patch of 8 x 6 voxels \(") as e:
        run(np.zeros((1, 5, 8, 6), np.float32))  # ONNX Runtime fails by itself: it takes 2 channels
    assert "\n" not in str(e.value)


def test_a_network_of_another_shape_is_refused(tmp_path: Path) -> None:
    small = Exported(tmp_path / "small", labels={"background": 0, "organ": 1})
    large = Exported(tmp_path / "large")
    network = describe_network_file(small.folder / "fold_0.onnx", "0")
    write_pipeline(small.folder, msgspec.structs.replace(large.pipeline, networks=(network,)))
    with (
        Predictor(small.folder) as predictor,
        pytest.raises(ModelFileError, match=r"and not into \(1, 3, 8, 16, 12\) as pipeline"),
    ):
        predictor([[[[1.0] * 12] * 16] * 8], (1.0, 1.0, 1.0))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_signal_is_heard_after_networks_of_several_folds(tmp_path: Path, engine: str) -> None:
    (tmp_path / "fold_0.onnx").write_bytes(onnx_of(convolution(2, 3, 2)))
    code = """
import signal, sys
from pathlib import Path
from umamba.runtime.engines import load_network

networks = [load_network(Path(sys.argv[1]), sys.argv[2], 1) for _ in range(2)]
del networks[0]
del networks[0]
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
signal.raise_signal(signal.SIGTERM)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "fold_0.onnx"), engine]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "heard\n"), run.stderr
