"""The doctor tells what runs, what does not, and what mends it."""

import sys
from collections.abc import Iterator

import pytest
import torch

from scan_cases import replace_backend
from umamba.doctor import scan
from umamba.doctor.scan import examine_scan
from umamba.doctor.section import Section
from umamba.errors import BackendError
from umamba.ops import backends, cpu

VARIABLE = "UMAMBA_SCAN_BACKEND"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    cpu.why_unavailable.cache_clear()
    yield
    cpu.why_unavailable.cache_clear()
    backends._warn_once.cache_clear()


def test_every_backend_has_its_line() -> None:
    section = examine_scan()
    assert section.problems == ()
    assert section.lines["cpu"].endswith("auto takes: cpu")
    for backend in ("cpu", "torch", "reference"):
        assert section.lines[f"cpu: {backend}"].startswith("runs; ")
    assert section.lines["cpu: triton"].startswith("does not run: it runs on NVIDIA GPUs")
    assert section.lines["threads"] == "1"
    assert section.lines[VARIABLE] == "not set, or auto"


def test_without_llvmlite_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    section = examine_scan()
    assert section.lines["cpu"].endswith("auto takes: torch")
    assert "does not run: llvmlite cannot be imported" in section.lines["cpu: cpu"]
    assert section.lines["cpu: cpu"].endswith("`pip install llvmlite` installs it")
    assert section.problems == ()  # nobody asked for it by name
    monkeypatch.setenv(VARIABLE, "cpu")
    (problem,) = examine_scan().problems
    assert "asks for cpu, which runs on no device here (cpu: llvmlite cannot be" in problem
    assert problem.endswith("so torch is used. Fix this, or unset UMAMBA_SCAN_BACKEND")


def test_a_processor_that_llvm_refuses_needs_a_newer_llvmlite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: int) -> None:
        msg = "no such target"
        raise RuntimeError(msg)

    monkeypatch.setattr("umamba.ops.cpu.compilation.compile_scan", refuse)
    line = examine_scan().lines["cpu: cpu"]
    assert line == (
        "does not run: LLVM cannot compile for this processor (no such target); "
        "`pip install --upgrade llvmlite` may fix it"
    )


def test_a_backend_that_runs_on_one_device_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setenv(VARIABLE, "cpu")
    section = examine_scan()
    assert section.problems == ()
    assert section.lines[VARIABLE] == "cpu"
    assert section.lines["cuda"].startswith("Some GPU; auto takes: ")
    assert section.lines["cuda: cpu"].startswith("does not run: it runs on the CPU")
    assert "mend" not in section.lines["cuda: cpu"]  # no command would


def test_a_backend_that_runs_nowhere_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_backend(monkeypatch, "triton", why_not=lambda _: "no kernel")
    monkeypatch.setenv(VARIABLE, "triton")
    (problem,) = examine_scan().problems
    assert "asks for triton, which runs on no device here (cpu: no kernel)" in problem


def test_a_gpu_without_a_c_compiler_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    reason = "Triton cannot launch; it needs a C compiler"
    replace_backend(monkeypatch, "triton", why_not=lambda _: reason)
    section = examine_scan()
    assert section.lines["cuda"] == "Some GPU; auto takes: torch"
    assert section.lines["cuda: triton"] == f"does not run: {reason}"
    (warning,) = section.warnings
    assert warning == f"the GPU runs the slow torch backend: {reason}"
    replace_backend(monkeypatch, "triton", why_not=lambda _: None)
    section = examine_scan()
    assert section.lines["cuda"] == "Some GPU; auto takes: triton"
    assert section.warnings == ()


@pytest.mark.parametrize(("cuda", "text"), [(None, "for CPUs only"), ("12.8", "CUDA 12.8")])
def test_a_gpu_that_torch_cannot_use(
    cuda: "str | None", text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(scan.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    (warning,) = examine_scan().warnings
    assert warning.startswith("an NVIDIA driver is installed, but torch finds no GPU: ")
    assert text in warning
    monkeypatch.setattr(scan.shutil, "which", lambda _: None)
    assert examine_scan().warnings == ()


def test_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert examine_scan().lines["cuda"].startswith("4 x Some GPU; auto takes: ")


def test_unknown_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(BackendError, match="UMAMBA_SCAN_BACKEND 'fast' does not exist"):
        examine_scan()


def test_a_section_as_text() -> None:
    section = Section("Things", {"a": "runs", "longer": "does not"}, ("buy one",), ("slow",))
    want = "Things\n  a       runs\n  longer  does not\n  problem: buy one\n  warning: slow\n"
    assert section.to_text() == want
