"""The CPU kernel where it differs from the others: threads, strides, blocks, accuracy, targets."""

import multiprocessing
from typing import Any

import pytest
import torch
from torch import Tensor

from reference_cases import relative_l2
from scan_cases import TOLERANCE, run_with_gradients, scan_inputs
from umamba import selective_scan
from umamba.errors import BackendError
from umamba.ops.cpu import cpu_scan, cpu_scan_backward, why_unavailable
from umamba.ops.cpu.compilation import target_machine, vector_lanes
from umamba.ops.cpu.scan_kernels import build_scan_module
from umamba.ops.cpu.scan_task import KernelSpec
from umamba.ops.scan_backend import ScanTensors


@pytest.fixture(autouse=True)
def no_other_backend_takes_over() -> None:
    assert why_unavailable("cpu") is None


def errors_of(inputs: dict[str, Tensor]) -> dict[str, float]:
    got = run_with_gradients(inputs, "cpu")
    want = run_with_gradients({n: x.double() for n, x in inputs.items()}, "reference")
    return {name: relative_l2(got[name], want[name]) for name in want}


@pytest.mark.parametrize("d_inner", [1, 31, 32, 33, 70])
@pytest.mark.parametrize("d_state", [1, 5, 16, 67])
def test_any_number_of_channels_and_states(d_inner: int, d_state: int) -> None:
    # In float64: a gradient of one channel can cancel to a few digits of float32.
    inputs = scan_inputs(2, d_inner, d_state, 45, dtype=torch.float64)
    errors = errors_of(inputs)
    assert all(error <= TOLERANCE[torch.float64] for error in errors.values()), errors


@pytest.mark.parametrize(("b_groups", "c_groups"), [(1, 4), (2, 6), (3, 2), (12, 1)])
def test_groups_of_b_and_c_may_differ(b_groups: int, c_groups: int) -> None:
    inputs = scan_inputs(2, 72, 3, 40, dtype=torch.float64)
    inputs["B"] = torch.randn(2, b_groups, 3, 40, dtype=torch.float64)
    inputs["C"] = torch.randn(2, c_groups, 3, 40, dtype=torch.float64)
    errors = errors_of(inputs)
    assert all(error <= TOLERANCE[torch.float64] for error in errors.values()), errors


@pytest.mark.parametrize(
    "order", ["channels last", "halves of a projection", "reversed", "expanded"]
)
def test_any_strides(order: str) -> None:
    inputs = scan_inputs(2, 64, 16, 96, dtype=torch.float32)
    want = run_with_gradients(inputs, "cpu")
    strided = dict(inputs)
    if order == "channels last":
        for name in ("u", "dt", "z", "B", "C"):
            strided[name] = inputs[name].transpose(1, 2).contiguous().transpose(1, 2)
    elif order == "halves of a projection":
        both = torch.cat([inputs["u"], inputs["z"]], 1).transpose(1, 2).contiguous()
        strided["u"], strided["z"] = both.transpose(1, 2).chunk(2, dim=1)
    elif order == "reversed":
        strided = {n: x.t().contiguous().t() if x.dim() == 2 else x for n, x in inputs.items()}
        for name in ("u", "z"):
            strided[name] = inputs[name].permute(2, 0, 1).contiguous().permute(1, 2, 0)
    else:
        strided["B"] = inputs["B"][:, :1].expand(2, 16, 96)
        want = run_with_gradients(inputs | {"B": strided["B"].contiguous()}, "cpu")
    leaves = {n: x.detach().requires_grad_() for n, x in strided.items()}
    y, last = selective_scan(**leaves, dt_softplus=True, return_last_state=True, backend="cpu")
    assert torch.equal(y, want["y"])
    assert torch.equal(last, want["last"])


def gradients(inputs: dict[str, Tensor]) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs.values()]
    named = dict(zip(inputs, leaves, strict=True))
    y, last = selective_scan(**named, dt_softplus=True, return_last_state=True, backend="cpu")
    return [y, last, *torch.autograd.grad([y.square().sum(), last.sum()], leaves)]


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    inputs = scan_inputs(2, 200, 16, 300, dtype=torch.float32)
    alone = gradients(inputs)
    for threads in (2, 3, 5):
        torch.set_num_threads(threads)
        together = gradients(inputs)
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def _in_child(queue: Any, tensors: list[Tensor]) -> None:
    queue.put(cpu_scan(ScanTensors(*tensors), softplus=True, keep_states=False)[0].numpy())


def test_a_forked_child_computes_the_same() -> None:
    tensors = list(scan_inputs(2, 64, 16, 2048, dtype=torch.float32).values())
    torch.set_num_threads(2)
    # The parent's pool of threads is there when it forks; the child has none of them.
    want = cpu_scan(ScanTensors(*tensors), softplus=True, keep_states=False)[0]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue, tensors), daemon=True)
    child.start()
    got = torch.from_numpy(queue.get(timeout=60))
    child.join(timeout=60)
    assert child.exitcode == 0
    assert torch.equal(got, want)


@pytest.mark.parametrize("change", ["plain", "large steps", "tiny steps", "fast decays"])
def test_accuracy_over_long_sequences(change: str) -> None:
    torch.manual_seed(1)
    length = 65536 if change == "plain" else 4096
    inputs = scan_inputs(1, 4, 16, length, dtype=torch.float32)
    del inputs["initial_state"]
    # As Mamba begins: A = -(1..16), and step sizes around 0.01.
    inputs["A"] = -torch.arange(1.0, 17.0).repeat(4, 1)
    inputs["dt_bias"] = torch.full((4,), -4.6)
    if change == "large steps":
        inputs["dt"] = inputs["dt"].abs() * 10 + 25
    elif change == "tiny steps":
        inputs["dt_bias"] = torch.full((4,), -14.5)
    elif change == "fast decays":
        inputs["A"] = inputs["A"] * 1000
    got = run_with_gradients(inputs, "cpu")
    # Over so many steps the reference takes minutes; the portable backend agrees with it to 1e-14.
    want = run_with_gradients({n: x.double() for n, x in inputs.items()}, "torch")
    errors = {name: relative_l2(got[name], want[name]) for name in want}
    limits = {name: 5e-7 if name == "y" else 5e-6 for name in errors}
    assert all(errors[name] <= limits[name] for name in errors), errors


@pytest.mark.parametrize("name", ["u", "dt", "A", "B", "z"])
def test_nan_is_not_swallowed(name: str) -> None:
    inputs = scan_inputs(1, 40, 4, 40, dtype=torch.float32)
    inputs[name].view(-1)[5] = float("nan")
    y = selective_scan(**inputs, dt_softplus=True, backend="cpu")
    assert y.isnan().any()


def test_an_empty_batch_is_no_work() -> None:
    inputs = {n: x[:0] if x.dim() == 3 else x for n, x in scan_inputs().items()}
    assert selective_scan(**inputs, backend="cpu").shape == (0, 4, 50)


def test_types_and_devices_are_checked_at_the_boundary() -> None:
    tensors = list(scan_inputs(dtype=torch.float32).values())
    flags = {"softplus": True, "keep_states": True}
    mixed = [tensors[0], tensors[1].double(), *tensors[2:]]
    with pytest.raises(BackendError, match="tensors of one type in main memory"):
        cpu_scan(ScanTensors(*mixed), **flags)
    with pytest.raises(BackendError, match=r"float32 or float64; got torch\.bfloat16"):
        cpu_scan(ScanTensors(*(x.bfloat16() for x in tensors)), **flags)
    given = ScanTensors(*tensors)
    y, last, states = cpu_scan(given, **flags)
    with pytest.raises(BackendError, match="do not belong to this sequence"):
        cpu_scan_backward(y, last, given, states[:, :1], softplus=True, with_first=False)


@pytest.mark.parametrize("bits", [32, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("triple", "processor", "features", "lanes"),
    [
        ("aarch64-unknown-linux-gnu", "generic", "+neon", 128),
        ("x86_64-unknown-linux-gnu", "x86-64", "+sse2", 128),
        ("x86_64-unknown-linux-gnu", "skylake-avx512", "+avx512f", 512),
    ],
)
def test_other_processors_get_code(
    bits: int, triple: str, processor: str, features: str, lanes: int
) -> None:
    from llvmlite import binding

    assert vector_lanes(features, bits) == lanes // bits
    machine = target_machine(triple, processor, features)
    spec = KernelSpec(bits, lanes // bits)
    module = binding.parse_assembly(str(build_scan_module(spec, triple, str(machine.target_data))))
    module.verify()
    assembly = machine.emit_assembly(module)
    assert "forward:" in assembly
    assert "backward:" in assembly
