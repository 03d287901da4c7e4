"""Networks as ONNX files: what engines compute, and what is refused."""

import copy
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from reference_cases import relative_max
from umamba.errors import DatasetError, ModelFileError
from umamba.layers.mixer_layer import MixerLayer
from umamba.onnx_export import TOLERANCE, comparison
from umamba.onnx_export.programs import write_compiled, write_program
from umamba.onnx_export.writing import WrittenNetwork, write_onnx
from umamba.runtime.engines import ENGINES, load_network
from umamba.runtime.sliding_window import Network

# More steps than segments that advance side by side, and fewer.
EXAMPLE = (4, 20, 30)
OTHERS = [(1, 4, 20, 30), (3, 4, 23, 25), (2, 4, 3, 2)]


SLOW = [
    pytest.param(choice, marks=pytest.mark.slow)
    for choice in (("lti", "forward"), ("mamba2", "forward"), ("mamba", "bidirectional"))
]


@pytest.fixture(scope="module", params=[("mamba", "forward"), *SLOW], ids="-".join)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[nn.Module, Path, WrittenNetwork]:
    mixer, scan = request.param
    torch.manual_seed(0)
    network = MixerLayer(4, mixer=mixer, scan=scan)
    path = tmp_path_factory.mktemp("onnx") / "fold_0.onnx"
    return network, path, write_onnx(network, EXAMPLE, path)


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_compute_a_recurrence_of_any_batch_and_length(
    written: tuple[nn.Module, Path, WrittenNetwork], engine: str
) -> None:
    network, path, found = written
    assert found.free_axes == (0, 2, 3)
    run = load_network(path, engine, 1)
    for shape in OTHERS:
        image = torch.randn(shape)
        with torch.no_grad():
            expected = network(image)
        assert relative_max(torch.from_numpy(run(image.numpy())), expected) < 1e-5


def test_the_file_is_of_standard_operators_without_an_unrolled_loop_or_a_path(
    written: tuple[nn.Module, Path, WrittenNetwork],
) -> None:
    network, path, found = written
    assert set(found.checks) == {"torch", *ENGINES}
    assert all(check.largest_difference < 1e-5 for check in found.checks.values())
    content = path.read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in content
    assert b"mixer_layer.py" not in content
    model = onnx.load_model_from_string(content)
    assert {opset.domain for opset in model.opset_import} == {""}
    assert not model.functions
    loops = (1 if network.mixer == "mamba2" else 3) * (2 if network.scan == "bidirectional" else 1)
    assert [node.op_type for node in model.graph.node].count("Scan") == loops
    assert len(model.graph.node) < 200


@pytest.mark.slow  # compiles
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("mixer", ["mamba", "lti", "mamba2"])
def test_a_recurrence_is_compiled_for_any_batch_and_length(tmp_path: Path, mixer: str) -> None:
    torch.manual_seed(0)
    network, path = MixerLayer(4, mixer=mixer), tmp_path / "fold_0.aotinductor.pt2"
    write_compiled(network, EXAMPLE, path)
    compiled = torch._inductor.aoti_load_package(str(path))
    for shape in OTHERS:
        image = torch.randn(shape)
        assert relative_max(compiled(image), network(image).detach()) < 1e-5


NORMS = [
    (nn.InstanceNorm2d(2, affine=True), (2, 1024, 1024)),
    (nn.InstanceNorm3d(2), (2, 64, 128, 128)),
    (nn.InstanceNorm2d(2, affine=True, track_running_stats=True), (2, 1024, 1024)),
    (nn.GroupNorm(2, 4), (4, 512, 512)),
    (nn.GroupNorm(1, 2, affine=False), (2, 64, 64, 64)),
]


@pytest.mark.parametrize(("norm", "example"), NORMS, ids=lambda value: str(value).split("(")[0])
def test_engines_normalise_a_million_voxels_as_exactly_as_float32_can(
    tmp_path: Path, norm: nn.Module, example: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    for values in (*norm.parameters(), *norm.buffers()):
        if values.is_floating_point():
            nn.init.uniform_(values, 0.5, 1.5)
    path = tmp_path / "fold_0.onnx"
    write_onnx(norm, example, path)
    smaller = (2, example[0], *(size - 1 for size in example[1:]))
    for shape in ((1, *example), smaller):
        image = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 3
        with torch.no_grad():
            expected = copy.deepcopy(norm).double()(image.double())
        for engine in ENGINES:
            computed = torch.from_numpy(load_network(path, engine, 1)(image.numpy()))
            assert relative_max(computed, expected) < 5e-6, engine


class Eigenvalues(nn.Module):
    """A network with an operator that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x)


class Deceptive(nn.Module):
    """A network that computes something else when it is exported."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + 2 * TOLERANCE) if torch.compiler.is_exporting() else x


def test_what_cannot_be_exported_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "fold_0.onnx"
    with pytest.raises(
        ModelFileError, match=r"Eigenvalues cannot be exported as ONNX: No ONNX .*_linalg_eigh"
    ):
        write_onnx(Eigenvalues(), (1, 4, 4), path)
    assert not path.exists()


class Raising(nn.Module):
    """A network of somebody's own that cannot be traced."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            msg = "no tracing"
            raise self.error(msg)
        return x


@pytest.mark.parametrize("error", [ValueError, TypeError, AssertionError, KeyError])
def test_whatever_a_network_raises_while_it_is_traced_is_named(
    tmp_path: Path, error: type[Exception]
) -> None:
    path = tmp_path / "fold_0"
    with pytest.raises(ModelFileError, match=r"Raising cannot be exported as ONNX: '?no tracing"):
        write_onnx(Raising(error), (1, 4, 4), path)
    with pytest.raises(ModelFileError, match=r"as a program of torch\.export: '?no tracing"):
        write_program(Raising(error), (1, 4, 4), path)
    assert not path.exists()


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_memory_and_signals_are_no_fault_of_the_network(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        write_onnx(Raising(error), (1, 4, 4), tmp_path / "fold_0.onnx")


class Batchwise(nn.Module):
    """A network that computes something else of two patches at once."""

    def forward(self, x: Tensor) -> Tensor:
        return x if torch.compiler.is_exporting() else x * (1 + 2 * TOLERANCE * (len(x) - 1))


def test_two_patches_at_once_are_compared_where_no_other_patch_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "fold_0"
    for write in (write_onnx, write_program):
        with pytest.raises(ModelFileError, match=r"differs from torch by 2\.0e-04"):
            write(Batchwise(), (1, 4, 4), path, any_patch=False)
        assert not path.exists()


class Narrow(nn.Module):
    """A network that computes something else where a patch has not four columns."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sym_float(x.shape[-1]) if torch.compiler.is_exporting() else x * 4


class Square(nn.Module):
    """A network that says what it takes."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != 4:
            msg = "give four columns"
            raise ValueError(msg)
        return x * 2


class Untraceable(nn.Module):
    """A network that can be traced for a known patch only."""

    def forward(self, x: Tensor) -> Tensor:
        assert type(x.shape[-1]) is int, "give four columns"
        return x * 2


@pytest.mark.parametrize("network", [Square(), Untraceable()])
def test_a_network_that_refuses_another_patch_keeps_its_own(
    network: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        written = write_onnx(network, (1, 4, 4), tmp_path / "fold_0.onnx", other_patch=(6, 8))
    assert (written.other_patch, written.free_axes) == ((), (0,))
    assert "takes its own patch alone: " in caplog.text
    assert "give four columns" in caplog.text


class Doubled(nn.Module):
    """A network of any patch."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def test_another_patch_is_compared_or_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fold_0.onnx"
    written = write_onnx(Doubled(), (1, 4, 4), path, other_patch=(6, 8))
    assert (written.other_patch, written.free_axes) == ((6, 8), (0, 2, 3))
    with caplog.at_level("INFO"):
        written = write_onnx(Narrow(), (1, 4, 4), path, other_patch=(6, 8))
    assert (written.other_patch, written.free_axes) == ((), (0,))
    assert "fold_0.onnx takes its own patch alone: " in caplog.text
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[3].dim_value == 4


def test_a_file_that_differs_from_torch_is_not_left(tmp_path: Path) -> None:
    path = tmp_path / "fold_0.onnx"
    with pytest.raises(ModelFileError, match=r"differs from torch by 2\.0e-04 of the largest"):
        write_onnx(Deceptive(), (1, 4, 4), path)
    assert not path.exists()


def test_an_engine_that_is_less_exact_than_others_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def load(path: Path, engine: str, threads: int) -> Network:
        run = load_network(path, engine, threads)
        return run if engine == "onnxruntime" else lambda image: run(image) * np.float32(1.01)

    monkeypatch.setattr(comparison, "load_network", load)
    monkeypatch.setattr(comparison, "installed_engines", lambda: ["onnxruntime", "openvino"])
    checks = write_onnx(nn.Conv2d(1, 2, 3, padding=1), (1, 4, 4), tmp_path / "fold_0.onnx").checks
    assert set(checks) == {"torch", "onnxruntime"}
    assert "openvino differs from torch by 1.0e-02 of the largest logit" in caplog.text


def broken_load(*_: Any) -> Network:
    msg = "openvino cannot load fold_0.onnx (no such CPU)"
    raise ModelFileError(msg)


def broken_run(_: Any) -> Any:
    msg = "openvino failed on a patch of 4 x 4 voxels"
    raise DatasetError(msg)


@pytest.mark.parametrize("broken", [broken_load, lambda *_: broken_run], ids=["load", "run"])
def test_an_engine_that_fails_is_left_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: Callable[..., Network],
) -> None:
    def load(path: Path, engine: str, threads: int) -> Network:
        return (load_network if engine == "onnxruntime" else broken)(path, engine, threads)

    monkeypatch.setattr(comparison, "load_network", load)
    network, path = nn.Conv2d(1, 2, 3, padding=1), tmp_path / "fold_0.onnx"
    monkeypatch.setattr(comparison, "installed_engines", lambda: ["openvino", "onnxruntime"])
    assert set(write_onnx(network, (1, 4, 4), path).checks) == {"torch", "onnxruntime"}
    assert "note: openvino " in caplog.text
    monkeypatch.setattr(comparison, "installed_engines", lambda: ["openvino"])
    with pytest.raises(ModelFileError, match=r"openvino .*; the network is not exported"):
        write_onnx(network, (1, 4, 4), path)


@pytest.mark.parametrize("engines", [["openvino"], ["onnxruntime", "openvino"]])
def test_what_fails_on_another_patch_alone_is_taken_for_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    engines: list[str],
) -> None:
    def load(path: Path, engine: str, threads: int) -> Network:
        run = load_network(path, "onnxruntime", threads)
        return lambda image: (broken_run if image.shape[2:] == (6, 8) else run)(image)

    monkeypatch.setattr(comparison, "load_network", load)
    monkeypatch.setattr(comparison, "installed_engines", lambda: engines)
    with caplog.at_level("INFO"):
        written = write_onnx(Doubled(), (1, 4, 4), tmp_path / "fold_0.onnx", other_patch=(6, 8))
    assert (set(written.checks), written.other_patch) == ({"torch", *engines}, ())
    assert "takes its own patch alone: o" in caplog.text
    assert "not exported" not in caplog.text
    assert "do not take it" not in caplog.text


def test_a_network_whose_output_is_no_number_is_not_exported(tmp_path: Path) -> None:
    network = nn.Conv2d(1, 2, 3, padding=1)
    nn.init.constant_(network.bias, math.nan)
    with pytest.raises(ModelFileError, match=r"^the network's logits are not finite numbers; "):
        write_onnx(network, (1, 4, 4), tmp_path / "fold_0.onnx")
    assert not list(tmp_path.iterdir())


class Windowed(Doubled):
    """A network that takes any patch, but whose graph for any would never be ready."""

    traced_for_one_patch = True


def test_a_network_that_cannot_be_traced_for_any_patch_is_not(tmp_path: Path) -> None:
    path = tmp_path / "fold_0.onnx"
    written = write_onnx(Windowed(), (1, 4, 4), path, other_patch=(6, 8))
    assert (written.other_patch, written.free_axes) == ((), (0,))
    sizes = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_value for size in sizes[2:]] == [4, 4]
