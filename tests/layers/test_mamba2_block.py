"""The Mamba-2 block against its definition; names and shapes of the weights."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_cases import relative_l2
from umamba.errors import PlansError
from umamba.layers import mamba2_block
from umamba.layers.mamba2_block import Mamba2
from umamba.layers.mixer_layer import MixerLayer
from umamba.layers.undecayed import spares_decay
from umamba.ops.state_space_duality import state_space_recurrence
from umamba.profiling import count_multiply_adds, saved_bytes


def reference(block: Mamba2, tokens: Tensor, norm: nn.LayerNorm) -> Tensor:
    """The block of figure 6, one step after another."""
    projected = norm(tokens) @ block.in_proj.weight.T
    z, x, B, C, dt = projected.split(
        [block.d_inner, block.d_inner, block.d_state, block.d_state, block.nheads], -1
    )
    xBC = torch.cat([x, B, C], -1)
    width = block.d_conv
    steps = F.pad(xBC, (0, 0, width - 1, 0)).unfold(1, width, 1)
    xBC = F.silu((steps * block.conv1d.weight[:, 0]).sum(-1) + block.conv1d.bias)
    x, B, C = xBC.split([block.d_inner, block.d_state, block.d_state], -1)
    x = x.unflatten(-1, (block.nheads, block.headdim))
    dt = F.softplus(dt + block.dt_bias)
    y, _ = state_space_recurrence(x, dt, -block.A_log.exp(), B, C)
    gated = (y + block.D[:, None] * x).flatten(2) * F.silu(z)
    scale = (gated.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    return tokens + (gated * scale * block.norm.weight) @ block.out_proj.weight.T


@pytest.mark.parametrize(("d_model", "length"), [(3, 1), (6, 2), (8, 64), (8, 200)])
def test_matches_its_definition(d_model: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mamba2_block, "CPU_NUMBERS", 1)  # pieces of one chunk
    block, norm = Mamba2(d_model, 5).double(), nn.LayerNorm(d_model).double()
    for parameter in (*block.parameters(), *norm.parameters()):
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, length, d_model, dtype=torch.float64, requires_grad=True)
    inputs = [x, *block.parameters(), *norm.parameters()]
    got, want = block(x, norm=norm, residual=True), reference(block, x, norm)
    weights = torch.randn_like(x)
    grads = torch.autograd.grad((got * weights).sum(), inputs)
    wanted = torch.autograd.grad((want * weights).sum(), inputs)
    assert relative_l2(got, want) < 1e-12
    errors = [relative_l2(g, w) for g, w in zip(grads, wanted, strict=True)]
    assert all(error < 1e-9 for error in errors), errors
    assert relative_l2(block(norm(x)).detach() + x.detach(), want) < 1e-12


def test_names_and_shapes_are_those_of_mamba_ssm() -> None:
    # mamba_ssm.Mamba2(256, d_state=64): d_inner 512 in 8 heads, 640 channels to convolve
    assert {name: tuple(p.shape) for name, p in Mamba2(256, 64).named_parameters()} == {
        "in_proj.weight": (2 * 512 + 2 * 64 + 8, 256),
        "conv1d.weight": (640, 1, 4),
        "conv1d.bias": (640,),
        "dt_bias": (8,),
        "A_log": (8,),
        "D": (8,),
        "norm.weight": (512,),
        "out_proj.weight": (256, 512),
    }


@pytest.mark.parametrize(
    ("d_model", "headdim"),
    [(1, 1), (8, 4), (32, 16), (64, 32), (128, 64), (320, 64), (512, 64), (67, 67), (257, 257)],
)
def test_heads_are_64_wide_or_a_quarter_or_as_near_as_divisors_are(
    d_model: int, headdim: int
) -> None:
    block = Mamba2(d_model, 4)
    assert (block.headdim, block.nheads) == (headdim, 2 * d_model // headdim)


def test_starts_in_the_ranges_of_its_authors_and_spares_its_dynamics() -> None:
    block = Mamba2(640)
    A, dt = block.A_log.detach().exp(), F.softplus(block.dt_bias.detach())
    assert bool((A.min() >= 1) & (A.max() <= 16) & (A.std() > 2))
    assert bool((dt.min() > 0.99e-3) & (dt.max() < 0.101))
    spared = {name for name, p in block.named_parameters() if spares_decay(p)}
    assert spared == {"A_log", "D", "dt_bias"}


def test_keeps_its_tokens_and_little_more_on_every_device() -> None:
    def kept(device: str) -> float:
        with torch.device(device):
            block, x = Mamba2(16, 8), torch.randn(1, 2**15, 16)
            return saved_bytes(lambda: block(x), block.parameters()) / x.numel() / 4

    assert kept("meta") == pytest.approx(kept("cpu"), rel=0.02)
    assert 1 < kept("cpu") < 1.02


def test_multiply_adds_by_hand() -> None:
    with torch.device("meta"):
        block, x = Mamba2(32, 16), torch.empty(3, 128, 32)
    tokens, chunk, chunks, heads, width = 3 * 128, 64, 3 * 2, 4, 64 + 2 * 16
    by_hand = tokens * 32 * (64 + width + heads) + tokens * 64 * 32  # projections
    by_hand += 3 * (128 + 3 + 3) * width * 4  # convolution, with its padding
    by_hand += chunks * chunk**2 * (16 + 64)  # scores, and their product with the inputs
    by_hand += 2 * chunks * chunk * 16 * 64  # into the state and out of it
    by_hand += 3 * heads * 3**2 * 16 * 16  # the carry between two chunks
    assert count_multiply_adds(lambda: block(x)) == by_hand


def test_compiles_as_one_graph(unchecked: None) -> None:
    block, x = Mamba2(8, 4), torch.randn(2, 150, 8)
    y = torch.compile(block, backend="aot_eager", fullgraph=True)(x)
    grads = torch.autograd.grad(y.sum(), list(block.parameters()))
    assert relative_l2(y, block(x)) < 1e-6
    wanted = torch.autograd.grad(block(x).sum(), list(block.parameters()))
    assert all(relative_l2(g, w) < 1e-5 for g, w in zip(grads, wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_products_of_a_layer_follow_bfloat16_autocast_and_not_float16(dtype: torch.dtype) -> None:
    layer = MixerLayer(8, mixer="mamba2", residual=True)
    x = torch.randn(2, 8, 10, 15)  # three chunks
    names = ["x", *(name for name, _ in layer.named_parameters())]

    def run(given: MixerLayer, *, enabled: bool) -> dict[str, Tensor]:
        own = x.to(given.norm.weight.dtype).requires_grad_()
        with torch.autocast("cpu", dtype, enabled=enabled):
            y = given(own)
        grads = torch.autograd.grad(y.square().sum(), [own, *given.parameters()])
        return {"y": y} | dict(zip(names, grads, strict=True))

    want, plain = run(deepcopy(layer).double(), enabled=False), run(layer, enabled=False)
    got = run(layer, enabled=True)
    assert all(x.dtype == torch.float32 for x in got.values())
    if dtype == torch.float16:
        assert all(torch.equal(got[name], plain[name]) for name in got)
        return
    errors = {name: relative_l2(got[name], want[name]) for name in want}
    assert all(1e-5 < error < 2 * torch.finfo(dtype).eps for error in errors.values()), errors


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_compiled_layer_is_close_and_finite_under_autocast(
    dtype: torch.dtype, unchecked: None
) -> None:
    layer, x = MixerLayer(6, mixer="mamba2"), torch.randn(1, 6, 8, 10)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", dtype):
        y = compiled(x)
    y.square().sum().backward()
    assert 1e-5 < relative_l2(y, layer(x)) <= 2 * torch.finfo(dtype).eps
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_products_within_chunks_stay_where_float16_would_overflow() -> None:
    block, x = Mamba2(8, 4), torch.randn(1, 100, 8)
    with torch.no_grad():
        block.in_proj.weight.mul_(1e3)  # their results leave its range, but not the projection's
    want, got = block(x), block(x, products=torch.float16)
    assert relative_l2(got, want) < 4 * torch.finfo(torch.float16).eps


def test_heads_that_do_not_fit_are_named() -> None:
    with pytest.raises(PlansError, match="headdim 5 of a Mamba-2 block must divide d_inner, 16"):
        Mamba2(8, headdim=5)
