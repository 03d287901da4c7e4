"""Which backend runs, and what is said where it is not the one asked for."""

import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest
import torch

from ops.scan_cases import scan_inputs
from umamba import selective_scan
from umamba.errors import BackendError
from umamba.ops import backends, cpu, triton
from umamba.ops.backends import check_backend, resolve_backend, why_not


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("UMAMBA_SCAN_BACKEND", raising=False)
    caches = (backends._warn_once, cpu.why_unavailable)
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


def test_backend_by_argument_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_backend() == "auto"
    monkeypatch.setenv("UMAMBA_SCAN_BACKEND", "reference")
    assert resolve_backend(None, "cpu") == "reference"
    assert resolve_backend("torch", "cpu") == "torch"
    with pytest.raises(BackendError, match="backend 'cuda' does not exist; choose one of auto"):
        check_backend("cuda")
    monkeypatch.setenv("UMAMBA_SCAN_BACKEND", "fast")
    with pytest.raises(BackendError, match="UMAMBA_SCAN_BACKEND 'fast' does not exist"):
        check_backend()


def test_auto_takes_native_code_on_the_cpu_and_torch_where_there_is_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_backend(None, "cpu") == "cpu"
        assert resolve_backend(None, "mps") == "torch"
        assert resolve_backend(None, "meta") == "torch"


def test_auto_takes_triton_on_a_gpu_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "why_unavailable", lambda _: None)
    assert resolve_backend(None, "cuda") == "triton"
    monkeypatch.setattr(triton, "why_unavailable", lambda _: "no C compiler")
    with pytest.warns(RuntimeWarning, match="'triton' cannot run: no C compiler. The portable"):
        assert resolve_backend(None, "cuda") == "torch"


def test_without_llvmlite_torch_takes_over_and_says_once_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = scan_inputs(dtype=torch.float32)
    want = selective_scan(**inputs, backend="torch")
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    with pytest.warns(RuntimeWarning, match="cannot run: llvmlite .*`pip install llvmlite`"):
        got = selective_scan(**inputs)
    assert torch.equal(got, want)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selective_scan(**inputs)


def test_a_processor_that_llvm_refuses_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        msg = "no such target"
        raise RuntimeError(msg)

    monkeypatch.setattr("umamba.ops.cpu.compilation.compile_scan", refuse)
    with pytest.warns(RuntimeWarning, match="LLVM cannot compile .*no such target"):
        assert resolve_backend("cpu", "cpu") == "torch"


def test_what_cannot_run_is_said() -> None:
    assert "tensors are on cuda" in str(why_not("cpu", "cuda"))
    assert why_not("torch", "cuda") is None
    inputs = scan_inputs()
    want = selective_scan(**inputs, backend="torch")
    with pytest.warns(RuntimeWarning, match="'triton' cannot run: it runs on NVIDIA GPUs"):
        got = selective_scan(**inputs, backend="triton")
    assert torch.equal(got, want)


def test_networks_can_be_imported_under_a_meta_device_and_leave_the_compiler_out() -> None:
    code = (
        "import sys, torch\nloaded = 'torch._dynamo' in sys.modules\n"
        "with torch.device('meta'):\n    import umamba.networks\n"
        "assert loaded or 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
