"""The Triton kernels against float64; run by test_triton.py, in a process of its own.

Triton decides when it is imported whether it compiles or, with TRITON_INTERPRET=1, interprets:
numpy on the CPU, slow, so that tiles and sequences are short here. Cases marked `slow` repeat, in
another layout, type or operator, what others show.
"""

import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from reference_cases import relative_l2, relative_max
from scan_cases import run_with_gradients, scan_inputs
from umamba import Mamba, selective_scan
from umamba.errors import BackendError
from umamba.ops.scan_backend import ScanTensors
from umamba.ops.triton import tiling, triton_scan, triton_scan_backward
from umamba.ops.triton.launches import forget_launches

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
TINY = {"batch": 1, "d_inner": 4, "d_state": 2, "length": 13}


def slow(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def short_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make short sequences take several spans, parts of chunks and tiles of parts."""
    steps = {"TILE": 2, "GRADIENT_TILE": 2, "PART": 4, "CHUNK": 8, "LEAST_SPAN": 4, "STATES": 4}
    for name, value in steps.items():
        monkeypatch.setattr(tiling, name, value)
    forget_launches()
    yield
    forget_launches()


def assert_close(
    inputs: dict[str, Tensor], tolerance: float, *, again: bool = DEVICE == "cuda"
) -> dict[str, Tensor]:
    """Compare outputs, last state and every gradient with the definition in float64.

    With `again`, compare a second run, too, which launches what the first one has compiled: on a
    GPU always. The interpreter has nothing compiled, and does the same for any sizes.
    """
    given = {n: x.to(DEVICE) for n, x in inputs.items()}
    got = run_with_gradients(given, "triton")
    if again:
        second = run_with_gradients(given, "triton")
        assert all(torch.equal(second[name], x) for name, x in got.items())
    want = run_with_gradients({n: x.double() for n, x in inputs.items()}, "reference")
    errors = {name: relative_l2(got[name].cpu(), want[name]) for name in want}
    assert all(error <= tolerance for error in errors.values()), errors
    return got


@pytest.mark.parametrize("layout", [slow("dn"), "bnl", slow("bgnl")])
def test_every_layout_of_b_and_c_in_float64(layout: str) -> None:
    inputs = scan_inputs(**TINY, layout=layout, dtype=torch.float64)
    assert_close(inputs, 1e-14, again=layout == "bnl")


@pytest.mark.parametrize("length", [1, 8, 17])
def test_lengths_around_tiles_and_spans(length: int) -> None:
    assert_close(
        scan_inputs(**TINY | {"batch": 1 + length % 2, "length": length}, dtype=torch.float64),
        1e-14,
    )


@pytest.mark.parametrize("layout", ["dn", slow("bnl")])
def test_more_states_than_registers_hold(layout: str) -> None:
    inputs = scan_inputs(**TINY | {"d_state": 6}, layout=layout, dtype=torch.float64)
    assert_close(inputs, 1e-14)


@pytest.mark.parametrize("absent", [("z",), ("D", "dt_bias", "initial_state")])
def test_optional_arguments(absent: tuple[str, ...]) -> None:
    inputs = scan_inputs(**TINY | {"length": 9}, dtype=torch.float64)
    assert_close({n: x for n, x in inputs.items() if n not in absent}, 1e-14)


@pytest.mark.parametrize(("b_groups", "c_groups", "d_inner"), [(1, 3, 6), (1, 1, 72)])
def test_groups_may_differ_and_channels_fill_several_blocks(
    b_groups: int, c_groups: int, d_inner: int
) -> None:
    inputs = scan_inputs(**TINY | {"d_inner": d_inner, "length": 5}, dtype=torch.float64)
    inputs["B"] = torch.randn(1, b_groups, 2, 5, dtype=torch.float64)
    inputs["C"] = torch.randn(1, c_groups, 2, 5, dtype=torch.float64)
    assert_close(inputs, 1e-14)


@pytest.mark.parametrize(
    ("dtype", "d_state"), [(torch.bfloat16, 6), slow(torch.float16, 2)], ids=str
)
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, d_state: int) -> None:
    inputs = scan_inputs(**TINY | {"d_state": d_state}, dtype=dtype)
    inputs["A"] = inputs["A"].float()
    # Only the rounding of the results is left; in float16 some are subnormal.
    got = assert_close(inputs, torch.finfo(dtype).eps * (4 if dtype == torch.float16 else 1))
    assert got["y"].dtype == got["du"].dtype == got["dB"].dtype == dtype
    assert got["last"].dtype == got["dA"].dtype == torch.float32


def test_sequences_of_several_types_keep_theirs() -> None:
    inputs = scan_inputs(**TINY | {"length": 9}, dtype=torch.float32)
    low = ("dt", "B", "C", "z")  # as products of the Mamba block give them under autocast
    inputs |= {name: inputs[name].bfloat16() for name in low}
    eps = torch.finfo(torch.bfloat16).eps
    got = assert_close(inputs, eps)
    exact = run_with_gradients({n: x.double() for n, x in inputs.items()}, "reference")
    for name in ("y", "last", "du", "dA", "dD", "ddt_bias"):
        assert got[name].dtype == torch.float32
        assert relative_l2(got[name].cpu(), exact[name]) <= 2e-6
    assert {got[f"d{name}"].dtype for name in low} == {torch.bfloat16}


@pytest.mark.parametrize("change", [("dt", 30.0), slow(("dt_bias", 14.0)), slow(("A", 1000.0))])
def test_extreme_steps_and_decays_in_float32(change: tuple[str, float]) -> None:
    name, factor = change
    inputs = scan_inputs(**TINY, dtype=torch.float32)
    inputs["dt_bias"] = -inputs["dt_bias"].abs()
    inputs[name] = inputs[name] * factor
    assert_close(inputs, 1e-5)


def test_any_strides() -> None:
    inputs = scan_inputs(**TINY | {"batch": 2, "length": 5}, dtype=torch.float32)
    want = run_with_gradients({n: x.to(DEVICE) for n, x in inputs.items()}, "triton")
    strided = {n: x.transpose(0, -1).contiguous().transpose(0, -1) for n, x in inputs.items()}
    strided = {n: x.to(DEVICE) for n, x in strided.items()}
    both = torch.cat([inputs["u"], inputs["z"]], 1).transpose(1, 2).contiguous().to(DEVICE)
    strided["u"], strided["z"] = both.transpose(1, 2).chunk(2, dim=1)  # not dense
    leaves = {n: x.detach().requires_grad_() for n, x in strided.items()}
    y, last = selective_scan(**leaves, dt_softplus=True, return_last_state=True, backend="triton")
    assert torch.equal(y, want["y"])
    assert torch.equal(last, want["last"])
    y.sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in leaves.values())


def test_states_may_lie_further_apart_than_32_bits_reach() -> None:
    sizes = TINY | {"d_state": 3, "length": 4}
    inputs = {n: x.to(DEVICE) for n, x in scan_inputs(**sizes, dtype=torch.float16).items()}
    want = run_with_gradients(inputs, "triton")
    memory = torch.empty(2**31 + 4, dtype=torch.float16, device=DEVICE)  # almost none is touched
    apart = memory.as_strided((1, 3, 4), (1, 2**30, 1)).copy_(inputs["B"])
    got = selective_scan(
        **inputs | {"B": apart}, dt_softplus=True, return_last_state=True, backend="triton"
    )
    assert all(torch.equal(got[i], want[name]) for i, name in enumerate(("y", "last")))


def test_steps_too_far_apart_are_refused() -> None:
    apart = torch.empty_strided((1, 2, 2), (0, 0, 2**30), device="meta")
    tensors = [x.to("meta") for x in scan_inputs(1, 2, 2, 2, dtype=torch.float32).values()]
    with pytest.raises(BackendError, match="are too far; make the sequence contiguous"):
        triton_scan(ScanTensors(apart, *tensors[1:]), softplus=True, keep_states=False)


def test_without_a_softplus() -> None:
    inputs = scan_inputs(**TINY | {"length": 9}, dtype=torch.float64)
    y = selective_scan(**{n: x.to(DEVICE) for n, x in inputs.items()}, backend="triton")
    want = selective_scan(**inputs, backend="reference")
    assert relative_max(y.cpu(), want) <= 1e-14


@pytest.mark.parametrize("name", ["u", "dt", "A"])
def test_nan_is_not_swallowed(name: str) -> None:
    inputs = scan_inputs(**TINY | {"length": 5}, dtype=torch.float32)
    inputs[name].view(-1)[1] = float("nan")
    y = selective_scan(
        **{n: x.to(DEVICE) for n, x in inputs.items()}, dt_softplus=True, backend="triton"
    )
    assert y.isnan().any()


def test_an_empty_batch_is_no_work() -> None:
    inputs = {n: x[:0] if x.dim() == 3 else x for n, x in scan_inputs(**TINY).items()}
    assert not assert_close(inputs, 0)["dA"].any()


def test_restart_states_are_checked() -> None:
    tensors = [x.to(DEVICE) for x in scan_inputs(**TINY, dtype=torch.float32).values()]
    given = ScanTensors(*tensors)
    y, last, states = triton_scan(given, softplus=True, keep_states=True)
    with pytest.raises(BackendError, match="do not belong to this sequence"):
        triton_scan_backward(y, last, given, states[:, :1], softplus=True, with_first=False)
    with pytest.raises(BackendError, match="on one device; got meta and"):
        triton_scan(given._replace(u=given.u.to("meta")), softplus=True, keep_states=True)


@pytest.mark.slow
def test_operator_passes_torchs_own_checks(unchecked: None) -> None:
    sizes = TINY | {"length": 5}
    inputs = {n: x.to(DEVICE) for n, x in scan_inputs(**sizes, dtype=torch.float32).items()}
    names = ("u", "dt", "A", "B", "C", "D", "z", "dt_bias", "initial_state")
    args = (*(inputs[n].requires_grad_() for n in names), True, True, "triton")
    torch.library.opcheck(torch.ops.umamba.selective_scan.default, args)


def test_compiles_to_one_graph(unchecked: None) -> None:
    inputs = {n: x.to(DEVICE) for n, x in scan_inputs(**TINY, dtype=torch.float32).items()}

    def scan(**given: Tensor) -> Tensor:
        return selective_scan(**given, backend="triton")

    compiled = torch.compile(scan, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(**inputs), scan(**inputs))


@pytest.mark.slow
def test_a_mamba_block_is_that_of_the_portable_backend() -> None:
    tokens = torch.randn(1, 10, 2)
    results = []
    for backend in ("triton", "torch"):
        torch.manual_seed(0)
        block = Mamba(2, d_state=2, backend=backend).to(DEVICE)
        own = tokens.to(DEVICE).requires_grad_()
        y = block(own)
        grads = torch.autograd.grad(y.square().sum(), [own, *block.parameters()])
        results.append([y, *grads])
    assert all(relative_l2(got, want) <= 1e-5 for got, want in zip(*results, strict=True))
