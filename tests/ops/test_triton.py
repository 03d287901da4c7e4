"""The Triton kernels: right when interpreted, compiled for absent GPUs, and run on one."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from benchmarks.registers import launches_of, usage
from benchmarks.shapes import Shape
from reference_cases import REPOSITORY, relative_l2
from scan_cases import run_with_gradients, scan_inputs
from umamba import selective_scan
from umamba.ops import triton as ours
from umamba.ops.scan_backend import ScanTensors
from umamba.ops.triton import availability
from umamba.ops.triton.tiling import Tiling

triton = pytest.importorskip("triton")

CASES = Path(__file__).parents[1] / "support" / "triton_cases.py"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def _version(package: Any) -> tuple[int, ...]:
    return tuple(map(int, package.__version__.split(".")[:2]))


pytestmark = pytest.mark.skipif(
    _version(triton) < (3, 3), reason="Triton before 3.3, which torch 2.7 brings"
)


def run_cases(marked: str, **environment: str) -> None:
    # Coverage of kernels is not measured, and tracing makes the interpreter several times slower.
    here = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marked, str(CASES)],
        check=False,
        cwd=REPOSITORY,
        env=here | environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert run.returncode == 0, run.stdout[-6000:]
    assert re.search(r"\b[1-9]\d* passed", run.stdout)


@pytest.mark.skipif(
    _version(triton) < (3, 8) and _version(numpy) >= (2, 5),
    reason="Triton before 3.8 interprets with numpy before 2.5",
)
@pytest.mark.parametrize("marked", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_interpreted_on_the_cpu_it_agrees_with_float64(marked: str) -> None:
    run_cases(marked, TRITON_INTERPRET="1")


@pytest.mark.gpu
@needs_gpu
def test_compiled_for_this_gpu_it_agrees_with_float64() -> None:
    run_cases("slow or not slow", TRITON_INTERPRET="0")


def launches(monkeypatch: pytest.MonkeyPatch, **inputs: Any) -> dict[str, tuple[Any, ...]]:
    """Return kernels with the arguments and constants that a scan and its backward give them."""
    found: dict[str, tuple[Any, ...]] = {}

    def note(launch: Any, *tensors: Tensor | None) -> None:
        assert all(size >= 1 for size in launch.grid)
        assert all(size <= 65535 for size in launch.grid[1:])  # CUDA's limit
        name = launch.kernel.fn.__name__
        role = f"{name}_outputs" if launch.constants.get("OUTPUTS") else name
        found[role] = (launch, tensors)

    monkeypatch.setattr("umamba.ops.triton.launches.Launch.__call__", note)
    given = ScanTensors(**inputs)
    y, last, states = ours.triton_scan(given, softplus=True, keep_states=True)
    ours.triton_scan_backward(y, last, given, states, softplus=True, with_first=True)
    return found


@pytest.mark.parametrize(
    ("arch", "dtype", "layout"),
    [
        (90, torch.bfloat16, "bnl"),
        pytest.param(80, torch.float16, "dn", marks=pytest.mark.slow),
        pytest.param(80, torch.float32, "bgnl", marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_compiles_ahead_of_time(
    arch: int, dtype: torch.dtype, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = scan_inputs(1, 64, 16, 32768, layout=layout, dtype=dtype)
    inputs["A"] = inputs["A"].float()
    if layout == "dn":
        for absent in ("D", "z", "dt_bias"):
            del inputs[absent]
    if layout == "bnl":  # channels last, as our layers make them
        for name in ("u", "dt", "z", "B", "C"):
            inputs[name] = inputs[name].transpose(1, 2).contiguous().transpose(1, 2)
    found = launches(monkeypatch, **inputs)
    used = {name: usage(launch, arch) for name, launch in found.items()}
    assert used.keys() == {
        "forward_kernel",
        "forward_kernel_outputs",
        "carry_kernel",
        "adjoint_kernel",
        "gradient_kernel",
        "sum_kernel",
    }
    # The gradients spill, and hardly in their loop over states; others by a few bytes.
    spilled = {name: use["stack_bytes"] for name, use in used.items() if use["stack_bytes"]}
    most = {"gradient_kernel": 984, "adjoint_kernel": 32, "forward_kernel_outputs": 24}
    assert all(n_bytes <= most.get(name, 0) for name, n_bytes in spilled.items()), spilled
    # Twelve warps on a multiprocessor, which the options of the launch ask for.
    assert used["forward_kernel_outputs"]["registers"] <= 168


def test_registers_are_counted_for_the_launches_of_a_layer() -> None:
    found = launches_of(Shape(1, 64, 512), torch.bfloat16)
    _, tensors = found["forward_kernel, outputs"]
    types = [None if x is None else x.dtype for x in tensors[:6]]
    low = torch.bfloat16  # dt, z, and B and C after A
    assert types == [torch.float32, low, low, torch.float32, low, low]
    said = usage(found["sum_kernel"], 90)
    assert 8 <= said.pop("registers") <= 255
    assert said == dict.fromkeys(("stack_bytes", "spill_store_bytes", "spill_load_bytes"), 0)


def test_one_span_where_the_sequence_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = scan_inputs(2, 256, 16, 32, dtype=torch.float32)
    found = launches(monkeypatch, **inputs)
    assert found.keys() == {"forward_kernel_outputs", "gradient_kernel", "sum_kernel"}


def test_images_may_be_more_than_a_grid_is_high(monkeypatch: pytest.MonkeyPatch) -> None:
    found = launches(monkeypatch, **scan_inputs(70000, 2, 1, 1, dtype=torch.float32))
    assert found.keys() == {"forward_kernel_outputs", "gradient_kernel", "sum_kernel"}


def test_launches_are_planned_anew_for_what_kernels_are_compiled_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wide = torch.zeros(1, 40, 33)
    alike = {"u": wide[..., :32], "dt": torch.zeros(1, 40, 32), "A": -torch.ones(40, 4)}
    alike |= {name: torch.zeros(1, 4, 32) for name in "BC"}
    others: list[dict[str, Tensor]] = [
        {"u": wide[..., 1:]},  # an address that is no multiple of 16
        {"u": torch.zeros(1, 40, 32)},  # other strides
        {"dt": torch.zeros(1, 40, 32, dtype=torch.float16)},
        {"D": torch.zeros(40)},
        {"A": -torch.ones(40, 8)} | {name: torch.zeros(1, 8, 32) for name in "BC"},
    ]
    changes = [{}, {"u": wide[..., :32]}, *others]
    found = [launches(monkeypatch, **(alike | change)) for change in changes]
    made = [{role: launch for role, (launch, _) in roles.items()} for roles in found]
    assert made[1] == made[0]  # the same objects
    for anew in made[2:]:
        assert anew.keys() == made[0].keys() != set()
        assert not set(anew.values()) & set(made[0].values())


def test_many_channels_leave_fewer_spans() -> None:
    def spans(batch: int, d_inner: int, length: int) -> int:
        B = (batch, 16, length)
        return Tiling.of((batch, d_inner, length), B, B, torch.device("meta"), 8).spans

    assert spans(1, 64, 262144) == 1024
    assert spans(2, 128, 32768) == 256
    assert spans(64, 1024, 4096) == 1


def test_what_is_kept_for_the_backward_is_a_quarter_of_a_sequence() -> None:
    u, A = torch.empty(2, 128, 4096, device="meta"), torch.empty(128, 16, device="meta")
    B = torch.empty(2, 16, 4096, device="meta")
    given = ScanTensors(u, u, A, B, B)
    assert torch.Size(ours.restart_shape(given)).numel() * 4 == u.numel()


class _Driver:
    """A GPU that is not there, or why there is none."""

    def __init__(self, arch: int | str) -> None:
        self.arch = arch

    @property
    def active(self) -> "_Driver":
        if not isinstance(self.arch, int):
            raise RuntimeError(self.arch)  # noqa: TRY004 - as Triton does
        return self

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.arch, 32)


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        (90, None),
        (75, "compute capability 8.0 or later; this is 75"),
        ("Failed to find C compiler", r"cannot launch \(Failed to find C compiler\).*apt install"),
    ],
)
def test_why_it_cannot_run(
    arch: int | str, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triton.runtime.driver", _Driver(arch))
    availability.why_unavailable.cache_clear()
    found = ours.why_unavailable("cuda")
    availability.why_unavailable.cache_clear()
    assert found is None if reason is None else re.search(reason, str(found))


@pytest.mark.parametrize("there", [True, False])
def test_headers_of_python_are_asked_for_where_they_lack(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        (tmp_path / "Python.h").touch()
    monkeypatch.setattr(availability.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr("triton.runtime.driver", _Driver("gcc returned non-zero exit status 1"))
    availability.why_unavailable.cache_clear()
    found = str(ours.why_unavailable("cuda"))
    availability.why_unavailable.cache_clear()
    assert found.startswith("Triton cannot launch (gcc returned non-zero exit status 1)")
    assert found.endswith("`sudo apt install python3-dev`") != there


def test_without_triton_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    availability.why_unavailable.cache_clear()
    monkeypatch.setitem(sys.modules, "triton", None)
    found = ours.why_unavailable("cuda")
    availability.why_unavailable.cache_clear()
    assert re.search("Triton cannot be imported .*`pip install triton`", str(found))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("shape", [(1, 64, 65536), (2, 640, 210), (3, 96, 5000)])
def test_image_sized_sequences_on_this_gpu(shape: tuple[int, int, int]) -> None:
    batch, d_inner, length = shape
    inputs = scan_inputs(batch, d_inner, 16, length, dtype=torch.float32)
    inputs = {n: x.cuda() for n, x in inputs.items()}
    got, again = (run_with_gradients(inputs, "triton") for _ in range(2))
    assert all(torch.equal(got[name], again[name]) for name in got)
    want = run_with_gradients({n: x.double() for n, x in inputs.items()}, "torch")
    errors = {name: relative_l2(got[name], want[name]) for name in want}
    assert all(error <= 1e-5 for error in errors.values()), errors


@pytest.mark.gpu
@needs_gpu
def test_inductor_on_this_gpu(unchecked: None) -> None:
    inputs = {n: x.cuda() for n, x in scan_inputs(dtype=torch.float32).items()}
    compiled = torch.compile(selective_scan, fullgraph=True)
    assert torch.allclose(compiled(**inputs), selective_scan(**inputs, backend="torch"), atol=1e-4)
