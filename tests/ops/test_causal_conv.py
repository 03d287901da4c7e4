"""Causal convolution with SiLU against torch's own operations in float64."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from reference_cases import relative_l2
from umamba import Mamba
from umamba.errors import BackendError
from umamba.layers import lean_mixer, mamba_block
from umamba.ops import causal_conv
from umamba.ops.causal_conv import (
    conv_silu,
    conv_silu_backward,
    shifted_conv_silu,
    shifted_conv_silu_backward,
)
from umamba.ops.cpu import cpu_conv_silu, why_unavailable

# Relative L2 error: about 4 x the worst value measured over the table.
TOLERANCE = {torch.float32: 1e-6, torch.float64: 2e-15}


def reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    padded = F.pad(x, (weight.shape[1] - 1, 0))
    p = sum(weight[:, k, None] * padded[..., k : k + x.shape[-1]] for k in range(weight.shape[1]))
    p = p if bias is None else p + bias[:, None]
    return p / (1 + torch.exp(-p))


@pytest.mark.parametrize("backend", ["cpu", "torch", "as on a GPU"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(
    ("d_inner", "length", "width"),
    [(40, 70, 4), (32, 3, 4), (64, 96, 3), (33, 33, 7), (5, 1, 4), (32, 100, 1), (3, 80, 33)],
)
def test_outputs_and_gradients(
    d_inner: int,
    length: int,
    width: int,
    biased: bool,
    dtype: torch.dtype,
    backend: str,
) -> None:
    assert why_unavailable("cpu") is None
    forward, backward = (
        partial(conv_silu, backend=backend),
        partial(conv_silu_backward, backend=backend),
    )
    if backend == "as on a GPU":
        forward, backward = shifted_conv_silu, shifted_conv_silu_backward
    x = torch.randn(2, length, d_inner, dtype=dtype).transpose(1, 2)
    weight = torch.randn(d_inner, width, dtype=dtype)
    bias = torch.randn(d_inner, dtype=dtype) if biased else None
    given = [t for t in (x, weight, bias) if t is not None]
    leaves = [t.double().requires_grad_() for t in given]
    want = reference(*leaves, *(() if biased else (None,)))
    got = forward(x, weight, bias)
    grad = torch.randn(2, d_inner, length, dtype=dtype)
    grads = backward(grad, x, weight, bias)
    assert (grads[2] is not None) == biased
    pairs = zip(grads, torch.autograd.grad(want, leaves, grad.double()), strict=False)
    errors = [relative_l2(got, want), *(relative_l2(g, w) for g, w in pairs)]
    assert all(error <= TOLERANCE[dtype] for error in errors), errors


def test_too_long_a_filter_is_refused_by_the_kernel_and_done_by_torch() -> None:
    x, weight = torch.randn(1, 3, 50), torch.randn(3, 34)
    with pytest.raises(BackendError, match="at most 33 taps; got 34"):
        cpu_conv_silu(x, weight, None)
    want = reference(x.double(), weight.double(), None)
    assert relative_l2(conv_silu(x, weight, None), want) < 1e-6


def test_on_a_gpu_the_scan_gets_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel reads whole lines along the channels. Strides can be told without a GPU."""
    seen: dict[str, Tensor] = {}

    def spy(u: Tensor, dt: Tensor, _A: Tensor, B: Tensor, C: Tensor, *rest: Any, **_: Any) -> Any:
        seen.update(u=u, dt=dt, B=B, C=C, z=rest[1])
        return torch.empty_like(u), u.new_empty(0), u.new_empty(0)

    monkeypatch.setattr(lean_mixer, "scan", spy)
    for module in (mamba_block, lean_mixer, causal_conv):
        monkeypatch.setattr(module, "resolve_backend", lambda *_: "triton")
    with FakeTensorMode(), torch.device("cuda"):
        layer = Mamba(8, d_state=4)
        layer(torch.randn(2, 50, 8))
        assert {name: x.stride(1) for name, x in seen.items()} == dict.fromkeys(seen, 1)
        u, weight = seen["u"], layer.conv1d.weight[:, 0]
        grad_x, _, _ = conv_silu_backward(u, u, weight, None, "triton")
        assert grad_x.stride(1) == 1


@pytest.mark.usefixtures("unchecked")
def test_as_on_a_gpu_a_mamba_block_compiles_to_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = Mamba(8, d_state=4, backend="torch")
    x = torch.randn(2, 50, 8, requires_grad=True)
    inputs = [x, *layer.parameters()]

    def run(block: Any) -> tuple[Tensor, ...]:
        y = block(x)
        return y, *torch.autograd.grad(y.square().sum(), inputs)

    want = run(layer)
    monkeypatch.setattr(lean_mixer, "conv_silu", lambda x, w, b, _: shifted_conv_silu(x, w, b))
    got = run(torch.compile(layer, backend="aot_eager", fullgraph=True))
    assert all(relative_l2(g, w) < 1e-5 for g, w in zip(got, want, strict=True))
