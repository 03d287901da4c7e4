"""Which backend runs, and what is said where it is not the one asked for."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from scan_cases import replace_backend, run_with_gradients, scan_inputs
from umamba import selective_scan
from umamba.errors import BackendError
from umamba.ops import backends, cpu, portable
from umamba.ops.backends import check_backend, find_backend, resolve_backend


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
    replace_backend(monkeypatch, "triton", why_not=lambda _: None)
    assert resolve_backend(None, "cuda") == "triton"
    replace_backend(monkeypatch, "triton", why_not=lambda _: "no C compiler")
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
    assert "tensors are on cuda" in str(find_backend("cpu").why_not("cuda"))
    assert find_backend("torch").why_not("cuda") is None
    inputs = scan_inputs()
    want = selective_scan(**inputs, backend="torch")
    with pytest.warns(RuntimeWarning, match="'triton' cannot run: it runs on NVIDIA GPUs"):
        got = selective_scan(**inputs, backend="triton")
    assert torch.equal(got, want)


def test_a_new_backend_is_one_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = scan_inputs()
    want = run_with_gradients(inputs, "torch")
    new = replace(portable.BACKEND, name="new", priority=9, devices=("cpu",))
    monkeypatch.setattr(backends, "BACKENDS", {"new": new} | backends.BACKENDS)
    assert resolve_backend(None, "cpu") == "new"
    assert backends.fastest("cuda").name == "triton"
    got = run_with_gradients(inputs, "auto")
    assert all(torch.equal(got[name], want[name]) for name in want)
    replace_backend(monkeypatch, "new", why_not=lambda _: "it is asleep")
    with pytest.warns(RuntimeWarning, match="'new' cannot run: it is asleep"):
        assert resolve_backend(None, "cpu") == "torch"


def test_names_are_unique_and_only_differentiable_backends_keep_no_states() -> None:
    names = [module.BACKEND.name for module in backends._MODULES]
    assert sorted(set(names)) == sorted(names)
    for backend in backends.BACKENDS.values():
        assert (backend.backward is None) == (backend.restart_shape is None)
    priorities = [backend.priority for backend in backends.BACKENDS.values()]
    assert priorities == sorted(priorities, reverse=True)


def test_networks_can_be_imported_under_a_meta_device_and_leave_the_compiler_out() -> None:
    code = (
        "import sys, torch\nloaded = 'torch._dynamo' in sys.modules\n"
        "with torch.device('meta'):\n    import umamba.networks\n"
        "assert loaded or 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
