"""The Mamba block and its layer against the authors' numbers."""

import math
from copy import deepcopy
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch.utils._python_dispatch import TorchDispatchMode

from reference_cases import golden, golden_loss, relative_l2, relative_max
from umamba import Mamba
from umamba.errors import BackendError, PlansError
from umamba.layers.mixer_layer import MixerLayer


@pytest.mark.parametrize("name", ["mamba_d16_L64", "mamba_d20_n8_k3_e3_L33"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-7)], ids=str
)
def test_agrees_with_mamba_ssm(name: str, dtype: torch.dtype, tolerance: float) -> None:
    stored = golden(f"{name}.pt")
    config = {k: stored["config"][k] for k in ("d_model", "d_state", "d_conv", "expand")}
    mamba = Mamba(**config)
    mamba.load_state_dict(stored["state_dict"])
    mamba.to(dtype)
    x = stored["input"].to(dtype).clone().requires_grad_()
    y = mamba(x)
    golden_loss([y]).backward()
    gradients = dict(mamba.named_parameters())
    errors = {"y": relative_max(y, stored["outputs_f64"][0])}
    errors["x"] = relative_max(x.grad, stored["grad_input_f64"])
    for parameter, grad in stored["grad_params_f64"].items():
        errors[parameter] = relative_max(gradients[parameter].grad, grad)
    assert all(error <= tolerance for error in errors.values()), errors


def test_initialisation_is_that_of_mamba_ssm() -> None:
    mamba = Mamba(96)
    assert torch.equal(mamba.A_log[5].exp().round(), torch.arange(1.0, 17.0))
    assert torch.equal(mamba.D, torch.ones(192))
    assert mamba.dt_rank == 6
    dt = torch.nn.functional.softplus(mamba.dt_proj.bias.detach())
    assert float(dt.min()) >= 0.99e-3
    assert float(dt.max()) <= 0.101
    # log-uniform: the mean of log dt lies half-way, within four standard errors
    spread = math.log(100) / math.sqrt(12 * 192)
    assert abs(float(dt.log().mean()) - math.log(1e-2)) < 4 * spread
    assert float(mamba.dt_proj.weight.detach().abs().max()) <= 6**-0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_is_finite_and_close(dtype: torch.dtype) -> None:
    mamba = Mamba(16)
    x = torch.randn(2, 100, 16)
    want = mamba(x)
    with torch.autocast("cpu", dtype=dtype):
        got = mamba(x)
    got.float().sum().backward()
    assert got.dtype == dtype
    assert relative_l2(got, want) < 10 * torch.finfo(dtype).eps
    assert all(p.grad.isfinite().all() for p in mamba.parameters())


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(
    ("dtype", "products"),
    [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)],
    ids=["bfloat16", "float16"],
)
def test_products_of_a_layer_under_autocast(
    dtype: torch.dtype, products: torch.dtype, backend: str
) -> None:
    layer = MixerLayer(8, residual=True, backend=backend)
    x = torch.randn(2, 8, 5, 12)
    names = [name for name, _ in layer.named_parameters()]

    def run(given: MixerLayer, types: list[torch.dtype], enabled: bool) -> dict[str, Tensor]:
        own = x.to(given.norm.weight.dtype).requires_grad_()
        with torch.autocast("cpu", dtype, enabled=enabled), _TypesOfProducts(types):
            y = given(own)
        grads = torch.autograd.grad(y.square().sum(), [own, *given.parameters()])
        return {"y": y} | dict(zip(("x", *names), grads, strict=True))

    types: list[torch.dtype] = []
    want = run(deepcopy(layer).double(), types, enabled=False)
    assert set(types) == {torch.float64}
    types.clear()
    got = run(layer, types, enabled=True)
    assert set(types) == {products}
    assert all(x.dtype == torch.float32 for x in got.values())
    errors = {name: relative_l2(got[name], want[name]) for name in want}
    least, most = (0, 1e-5) if products == torch.float32 else (1e-5, 2 * torch.finfo(dtype).eps)
    assert all(least <= error < most for error in errors.values()), errors


class _TypesOfProducts(TorchDispatchMode):
    """Record the types of matrix products."""

    def __init__(self, types: list[torch.dtype]) -> None:
        super().__init__()
        self.types = types

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm):
            self.types.append(args[-1].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_compiled_layer_multiplies_in_the_type_of_autocast(
    dtype: torch.dtype, unchecked: None
) -> None:
    layer = MixerLayer(6, backend="torch")
    x = torch.randn(1, 6, 4, 5)
    types: list[torch.dtype] = []

    def record(graph: torch.fx.GraphModule, _: Any) -> Any:
        found = [n.meta["val"].dtype for n in graph.graph.nodes if "aten.mm" in str(n.target)]
        types.extend(found)
        return make_boxed_func(graph.forward)

    compiled = torch.compile(layer, backend=aot_autograd(fw_compiler=record), fullgraph=True)
    with torch.autocast("cpu", dtype):
        y = compiled(x)
    y.square().sum().backward()
    forward, backward = types[:4], types[4:]
    # in_proj, x_proj, dt_proj; float16 ends where the outputs of the scan may not.
    assert forward == [dtype] * 3 + [torch.float32 if dtype == torch.float16 else dtype]
    assert set(backward) == {dtype}
    assert relative_l2(y, layer(x)) <= 2 * torch.finfo(torch.bfloat16).eps
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_a_layer_in_double_precision_leaves_autocast() -> None:
    layer = MixerLayer(8).double()
    x = torch.randn(1, 8, 40, dtype=torch.float64)
    want = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x), want)


def test_layer_survives_inputs_whose_float16_recurrence_overflows() -> None:
    layer = MixerLayer(8)
    with torch.no_grad():
        layer.norm.weight.fill_(300.0)
        layer.mamba.D.fill_(300.0)
    with torch.autocast("cpu", dtype=torch.float16):
        y = layer(torch.randn(1, 8, 6, 6))
    y.sum().backward()
    assert float(y.detach().abs().max()) > 65504
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("spatial", [(5,), (3, 4), (2, 3, 4)])
def test_tokens_are_voxels_in_row_major_order(spatial: tuple[int, ...]) -> None:
    layer = MixerLayer(6, residual=True)
    x = torch.randn(2, 6, *spatial)
    y = layer(x)
    tokens = layer.norm(x.flatten(2).transpose(1, 2))
    want = x + layer.mamba(tokens).transpose(1, 2).reshape(x.shape)
    assert torch.allclose(y, want, atol=1e-6)
    assert y.is_contiguous()
    moved = x.clone()
    moved.flatten(2)[..., 3:] += 1  # the last axis is the fastest; no voxel sees a later one
    assert torch.allclose(layer(moved).flatten(2)[..., :3], y.flatten(2)[..., :3], atol=1e-6)


def test_wrong_width_names_both_sizes() -> None:
    with pytest.raises(PlansError, match=r"tokens of width 8, but .*\[1, 3, 4, 4\].* width 16"):
        MixerLayer(8, channel_tokens=True)(torch.zeros(1, 3, 4, 4))


def test_unknown_backend_is_refused_at_construction() -> None:
    with pytest.raises(BackendError, match="'fast' does not exist"):
        Mamba(8, backend="fast")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"d_model": 0}, "d_model is 0"),
        ({"d_model": 8, "expand": 0}, "expand is 0"),
        ({"d_model": 8, "d_state": 0}, "d_state is 0"),
        ({"d_model": 8, "dt_rank": 0}, "dt_rank is 0"),
        ({"d_model": 8, "d_conv": -1}, "d_conv is -1"),
    ],
)
def test_a_block_without_size_is_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(
        ValueError, match=rf"Mamba: {message}, but must be an integer of at least 1"
    ):
        Mamba(**sizes)
