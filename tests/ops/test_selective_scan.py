"""Every backend against the authors' numbers and a float64 reference, gradients included."""

from typing import cast

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reference_cases import golden, golden_loss, relative_l2, relative_max
from scan_cases import TOLERANCE, run_with_gradients, scan_inputs
from umamba import Mamba, selective_scan
from umamba.ops import chunked

CASES = ["constB_L128", "full_L257", "groups_L128", "nosoftplus_L128", "stiff_L257"]
BACKENDS = ["reference", "torch", "cpu"]
FAST = ["torch", "cpu"]


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make short sequences take several segments."""
    monkeypatch.setattr(chunked, "segment_length", lambda u, _: min(u.shape[-1], 19))
    monkeypatch.setattr("umamba.ops.portable.segment_length", chunked.segment_length)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_mamba_ssm(case: str, backend: str) -> None:
    stored = golden(f"selscan_{case}.pt")
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-7)):
        given_ = {k: v.to(dtype).clone() for k, v in stored["inputs"].items() if v is not None}
        leaves = {name: x.requires_grad_() for name, x in given_.items()}
        renamed = {n.replace("delta_bias", "dt_bias"): x for n, x in leaves.items()}
        renamed["dt"] = renamed.pop("delta")
        y, last = selective_scan(
            **renamed,
            dt_softplus=stored["config"]["softplus"],
            return_last_state=True,
            backend=backend,
        )
        (golden_loss([y]) + 0.25 * last.square().mean()).backward()
        errors = {"y": relative_max(y, stored["out_f64"])}
        errors["last"] = relative_max(last, stored["last_state_f64"])
        errors |= {n: relative_max(leaves[n].grad, g) for n, g in stored["grads_f64"].items()}
        assert all(error <= tolerance for error in errors.values()), errors


@pytest.mark.parametrize("layout", ["dn", "bnl", "bgnl"])
@pytest.mark.parametrize("length", [1, 2, 7, 19, 50, 129])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("backend", FAST)
def test_matches_float64_reference(
    backend: str, dtype: torch.dtype, length: int, layout: str, short_segments: None
) -> None:
    inputs = scan_inputs(length=length, layout=layout, dtype=dtype)
    got = run_with_gradients(inputs, backend)
    want = run_with_gradients({n: x.double() for n, x in inputs.items()}, "reference")
    errors = {name: relative_l2(got[name], want[name]) for name in want}
    assert all(error <= TOLERANCE[dtype] for error in errors.values()), errors


@pytest.mark.parametrize("absent", ["D", "z", "dt_bias", "initial_state", None])
@pytest.mark.parametrize("backend", FAST)
def test_optional_arguments(backend: str, absent: str | None) -> None:
    inputs = scan_inputs()
    for name in (absent,) if absent else ("D", "z", "dt_bias", "initial_state"):
        del inputs[name]
    got, want = (run_with_gradients(inputs, name) for name in (backend, "reference"))
    errors = {name: relative_l2(got[name], want[name]) for name in want}
    assert all(error <= 1e-13 for error in errors.values()), errors


@pytest.mark.parametrize("backend", FAST)
def test_gradients_against_finite_differences(backend: str) -> None:
    inputs = scan_inputs(batch=1, d_inner=2, d_state=2, length=6)
    leaves = {name: x.requires_grad_() for name, x in inputs.items()}

    def scan(*values: Tensor) -> Tensor:
        named = dict(zip(leaves, values, strict=True))
        return selective_scan(**named, dt_softplus=True, backend=backend)

    assert torch.autograd.gradcheck(scan, tuple(leaves.values()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("backend", FAST)
def test_half_precision_is_computed_in_float32(backend: str, dtype: torch.dtype) -> None:
    inputs = scan_inputs(length=200, dtype=dtype)
    inputs["A"] = inputs["A"].float()
    got = run_with_gradients(inputs, backend)
    want = run_with_gradients({n: x.double() for n, x in inputs.items()}, "reference")
    assert got["y"].dtype == got["du"].dtype == dtype
    assert got["last"].dtype == torch.float32
    assert relative_l2(got["last"], want["last"]) <= 1e-6
    # Only the rounding of the results is left: half a unit in the last place, and little more.
    rounding = torch.finfo(dtype).eps
    errors = {name: relative_l2(got[name], want[name]) for name in want}
    assert all(error <= rounding for error in errors.values()), errors


def test_autocast_does_not_touch_the_recurrence() -> None:
    inputs = scan_inputs(dtype=torch.float32)
    plain = selective_scan(**inputs, dt_softplus=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = selective_scan(**inputs, dt_softplus=True)
    assert torch.equal(plain, cast)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("change", [("dt", 30.0), ("dt", 1e-7), ("A", 1000.0)])
def test_extreme_steps_and_decays_stay_finite(change: tuple[str, float], backend: str) -> None:
    name, factor = change
    inputs = scan_inputs(length=300, dtype=torch.float32)
    inputs[name] = inputs[name] * factor
    got = run_with_gradients(inputs, backend)
    want = run_with_gradients({n: x.double() for n, x in inputs.items()}, "reference")
    # |A| x 1000 squeezes dA and dt's gradient through exp(-1000 dt): compare on their own scale.
    errors = {name: relative_l2(got[name], want[name]) for name in want}
    assert all(error <= 1e-5 for error in errors.values()), errors


@settings(max_examples=20)
@given(length=st.integers(2, 40), data=st.data())
def test_scan_is_causal(length: int, data: st.DataObject) -> None:
    t = data.draw(st.integers(1, length - 1))
    inputs = scan_inputs(length=length)
    before = selective_scan(**inputs)
    inputs["u"][..., t:] += 1.0
    after = selective_scan(**inputs)
    assert torch.allclose(before[..., :t], after[..., :t], rtol=0, atol=1e-12)
    assert not torch.allclose(before[..., t:], after[..., t:])


@settings(max_examples=20)
@given(length=st.integers(2, 40), data=st.data())
def test_splitting_a_sequence_and_carrying_the_state_changes_nothing(
    length: int, data: st.DataObject
) -> None:
    t = data.draw(st.integers(1, length - 1))
    whole = scan_inputs(length=length)
    y, last = selective_scan(**whole, return_last_state=True)
    sequences = ("u", "dt", "B", "C", "z")
    first = {n: x[..., :t] if n in sequences else x for n, x in whole.items()}
    y1, state = selective_scan(**first, return_last_state=True)
    second = {n: x[..., t:] if n in sequences else x for n, x in whole.items()}
    second["initial_state"] = state
    y2, end = selective_scan(**second, return_last_state=True)
    assert relative_l2(torch.cat([y1, y2], dim=-1), y) < 1e-14
    assert relative_l2(end, last) < 1e-14


@pytest.mark.parametrize("backend", BACKENDS)
def test_strided_inputs_and_untouched_arguments(backend: str) -> None:
    inputs = scan_inputs()
    want = selective_scan(**inputs, backend=backend)
    strided = {
        n: x.transpose(0, -1).contiguous().transpose(0, -1) if x.dim() > 1 else x
        for n, x in inputs.items()
    }
    before = {n: x.clone() for n, x in strided.items()}
    assert torch.equal(selective_scan(**strided, backend=backend), want)
    assert all(torch.equal(strided[n], before[n]) for n in before)


def test_memory_saved_for_the_backward_is_linear_and_small() -> None:
    def saved(length: int) -> int:
        inputs = {
            n: x.requires_grad_()
            for n, x in scan_inputs(1, 64, 16, length, dtype=torch.float32).items()
        }
        own = {x.untyped_storage().data_ptr() for x in inputs.values()}
        extra = 0

        def pack(x: Tensor) -> Tensor:
            nonlocal extra
            extra += 0 if x.untyped_storage().data_ptr() in own else x.numel() * x.element_size()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            selective_scan(**inputs, backend="torch")
        return extra

    states_of_all_steps = 64 * 16 * 16384 * 4
    assert saved(16384) <= states_of_all_steps / 1000
    assert saved(16384) <= 2.2 * saved(8192)


@pytest.mark.parametrize("backend", FAST)
def test_operator_passes_torchs_own_checks(backend: str, unchecked: None) -> None:
    inputs = {n: x.requires_grad_() for n, x in scan_inputs(dtype=torch.float32).items()}
    for optional in (True, False):
        given_ = [inputs[n] if optional else None for n in ("D", "z", "dt_bias", "initial_state")]
        args = (*(inputs[n] for n in ("u", "dt", "A", "B", "C")), *given_, True, True, backend)
        torch.library.opcheck(torch.ops.umamba.selective_scan.default, args)


@pytest.mark.parametrize("backend", FAST)
def test_second_derivatives_are_refused_not_lost(backend: str) -> None:
    inputs = {n: x.requires_grad_() for n, x in scan_inputs().items()}
    y = selective_scan(**inputs, backend=backend)
    with pytest.raises(RuntimeError, match="has no second derivatives"):
        torch.autograd.grad(y.sum(), inputs["u"], create_graph=True)
    torch.autograd.grad(y.sum(), inputs["u"])  # the graph is still there
    tokens = torch.randn(1, 9, 4, requires_grad=True)
    mixed = Mamba(4, d_state=2, backend=backend)(tokens)
    with pytest.raises(RuntimeError, match="has no second derivatives"):
        torch.autograd.grad(mixed.sum(), tokens, create_graph=True)


def test_the_definition_has_second_derivatives() -> None:
    inputs = {n: x.requires_grad_() for n, x in scan_inputs(1, 2, 2, 4).items()}

    def run(*given: Tensor) -> Tensor:
        return cast(
            "Tensor", selective_scan(**dict(zip(inputs, given, strict=True)), backend="reference")
        )

    assert torch.autograd.gradgradcheck(run, tuple(inputs.values()))


def test_compiles_to_one_graph(unchecked: None) -> None:
    inputs = scan_inputs(dtype=torch.float32)

    def twice(u: Tensor) -> Tensor:
        rest = {n: x for n, x in inputs.items() if n != "u"}
        return selective_scan(selective_scan(u, **rest), **rest)

    compiled = torch.compile(twice, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(inputs["u"]), twice(inputs["u"]))
    with torch.inference_mode():
        assert torch.equal(twice(inputs["u"]), twice(inputs["u"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": torch.zeros(2, 4, 0), "dt": torch.zeros(2, 4, 0)}, "at least one step"),
        ({"u": torch.zeros(4, 5)}, r"needs u of shape \(batch, d_inner, length\)"),
        ({"dt": torch.zeros(2, 4, 49)}, r"dt has shape \(2, 4, 49\).*need \(2, 4, 50\)"),
        ({"A": torch.zeros(5, 3)}, r"A has shape \(5, 3\).*need \(4, 3\)"),
        ({"A": torch.zeros(4, 3, dtype=torch.complex64)}, "needs a real A"),
        ({"B": torch.zeros(2, 50, 3)}, r"B has shape \(2, 50, 3\); it must be \(4, 3\)"),
        ({"C": torch.zeros(2, 3, 3, 50)}, "C has shape .* groups dividing d_inner 4"),
        ({"D": torch.zeros(1)}, r"D has shape \(1,\).*need \(4,\)"),
        ({"initial_state": torch.zeros(2, 3, 4)}, "initial_state has shape"),
    ],
)
def test_wrong_shapes_are_named(change: dict[str, Tensor], message: str, unchecked: None) -> None:
    inputs = scan_inputs(dtype=torch.float32) | change
    with pytest.raises(ValueError, match=message):
        selective_scan(**inputs)


def test_shapes_are_checked_here() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="initial_state"):
        selective_scan(**scan_inputs(dtype=torch.float32) | {"initial_state": torch.zeros(2, 3, 4)})
