"""Self-attention against einsum in float64, and what it says of its memory."""

import pytest
import torch
from torch import Tensor, nn

from reference_cases import relative_l2, relative_max
from umamba.layers.attention_block import SelfAttention
from umamba.profiling import saved_bytes

HEADS = {1: (1, 8), 8: (1, 8), 20: (1, 24), 64: (1, 64), 67: (2, 40), 320: (5, 64)}


def reference(block: SelfAttention, x: Tensor, norm: nn.LayerNorm, n_heads: int) -> Tensor:
    """The equations of the paper, one index per axis."""
    weights = block.in_proj.weight.unflatten(0, (3, n_heads, -1))
    q, k, v = torch.einsum("bni,thci->tbhnc", norm(x), weights)
    scores = torch.einsum("bhnc,bhmc->bhnm", q, k) / q.shape[-1] ** 0.5
    y = torch.einsum("bhnm,bhmc->bnhc", scores.softmax(-1), v)
    return x + torch.einsum("bnhc,ohc->bno", y, block.out_proj.weight.unflatten(1, (n_heads, -1)))


@pytest.mark.parametrize("d_model", HEADS)
def test_matches_einsum_in_float64(d_model: int) -> None:
    block, norm = SelfAttention(d_model).double(), nn.LayerNorm(d_model).double()
    n_heads, width = HEADS[d_model]
    assert block.in_proj.weight.shape == (3 * n_heads * width, d_model)
    x = torch.randn(2, 11, d_model, dtype=torch.float64, requires_grad=True)
    inputs = [x, *block.parameters()]
    got, want = block(x, norm=norm, residual=True), reference(block, x, norm, n_heads)
    weights = torch.randn_like(x)
    grads = torch.autograd.grad((got * weights).sum(), inputs)
    wanted = torch.autograd.grad((want * weights).sum(), inputs)
    assert relative_l2(got, want) < 1e-12
    assert all(relative_l2(g, w) < 1e-10 for g, w in zip(grads, wanted, strict=True))
    plain = block(x, norm=norm).detach()
    assert relative_l2(plain + x.detach(), want) < 1e-12


def test_compiles_as_one_graph_and_follows_autocast(unchecked: None) -> None:
    block, x = SelfAttention(20), torch.randn(2, 50, 20)
    want = block(x).detach()
    assert relative_max(torch.compile(block, backend="aot_eager", fullgraph=True)(x), want) < 1e-6
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = block(x)
    assert got.dtype == torch.bfloat16
    assert relative_l2(got, want) < 0.05


def test_keeps_no_attention_map_and_the_meta_device_knows() -> None:
    def kept(device: str) -> float:
        with torch.device(device):
            block, x = SelfAttention(16), torch.randn(1, 2048, 16)
            return saved_bytes(lambda: block(x), block.parameters()) / x.numel() / 4

    # Tokens, queries, keys, values and outputs; of each query the logarithm of its sum.
    assert kept("meta") == pytest.approx(kept("cpu"), rel=0.01)
    assert 5 < kept("cpu") < 5.1
