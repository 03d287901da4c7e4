"""The Mamba block in training: the same gradients as the plain composition, and little memory."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from reference_cases import relative_l2
from umamba import Mamba
from umamba.layers import lean_mixer, mamba_block
from umamba.layers.mixer_layer import MixerLayer
from umamba.profiling import saved_bytes


def outputs_and_gradients(mamba: nn.Module, x: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    mamba.zero_grad()
    y = mamba(x)
    y.square().mean().backward()
    grads = {name: p.grad for name, p in mamba.named_parameters()}
    return {"y": y.detach(), "dx": x.grad} | {n: g for n, g in grads.items() if g is not None}


@pytest.mark.parametrize("backend", ["cpu", "torch"])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_are_those_of_the_reference(
    dtype: torch.dtype, biased: bool, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mamba = Mamba(24, d_state=5, d_conv=3, bias=biased, conv_bias=biased).double()
    x = torch.randn(2, 70, 24, dtype=torch.float64)
    mamba.backend = "reference"  # composed of torch's own operations
    want = outputs_and_gradients(mamba, x)
    mamba.backend = backend
    called = []
    lean = mamba_block.lean_mixer
    monkeypatch.setattr(
        mamba_block,
        "lean_mixer",
        lambda *args, **kwargs: called.append(args) or lean(*args, **kwargs),
    )
    got = outputs_and_gradients(mamba.to(dtype), x.to(dtype))
    assert called
    assert got.keys() == want.keys()
    errors = {name: relative_l2(got[name], want[name]) for name in want}
    tolerance = {torch.float32: 4e-6, torch.float64: 1e-14}[dtype]
    assert all(error <= tolerance for error in errors.values()), errors


@pytest.mark.parametrize("backend", ["cpu", "torch"])
@pytest.mark.parametrize("width", [1, 3, 4])
@pytest.mark.parametrize("channel_tokens", [True, False])
def test_pieces_are_one_sequence(
    channel_tokens: bool, width: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = MixerLayer(
        6 if not channel_tokens else 77, channel_tokens=channel_tokens, residual=True
    )
    layer.mamba = Mamba(layer.norm.normalized_shape[0], d_state=5, d_conv=width)
    layer = layer.double()
    nn.init.normal_(layer.norm.weight)
    nn.init.normal_(layer.norm.bias)
    shape = (2, 70, 7, 11) if channel_tokens else (2, 6, 7, 11)
    x = torch.randn(shape, dtype=torch.float64)
    layer.mamba.backend = "reference"  # composed of torch's own operations
    want = outputs_and_gradients(layer, x)
    layer.mamba.backend = backend
    short = lean_mixer.PieceSize(1, 33)  # the last is shorter
    in_pieces = partial(lean_mixer.lean_mixer, piece_size=short)
    monkeypatch.setattr(mamba_block, "lean_mixer", in_pieces)
    got = outputs_and_gradients(layer, x)
    assert got.keys() == want.keys()
    errors = {name: relative_l2(got[name], want[name]) for name in want}
    assert all(error <= 1e-14 for error in errors.values()), errors


def test_a_backward_inside_autocast_is_in_full_precision() -> None:
    layer = MixerLayer(6, residual=True)
    x = torch.randn(2, 6, 5, 7)
    layer(x).square().mean().backward()
    want = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    loss = layer(x).square().mean()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss.backward()
    for p, grad in zip(layer.parameters(), want, strict=True):
        assert torch.equal(p.grad, grad)


def test_frozen_parameters_still_let_gradients_through() -> None:
    mamba = Mamba(8).requires_grad_(requires_grad=False)
    x = torch.randn(1, 20, 8, requires_grad=True)
    mamba(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in mamba.parameters())


def test_training_keeps_at_most_six_times_the_tokens_and_inference_nothing() -> None:
    mamba = Mamba(64)
    tokens = torch.randn(2, 2048, 64, requires_grad=True)
    kept = saved_bytes(lambda: mamba(tokens), mamba.parameters())
    assert kept <= 4.1 * tokens.numel() * 4
    with torch.no_grad():
        assert saved_bytes(lambda: mamba(tokens), mamba.parameters()) == 0


def test_inference_forgets_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    scan = lean_mixer.scan

    def record(*args: object, **kwargs: object) -> object:
        kept.append(kwargs["keep_states"])
        return scan(*args, **kwargs)

    monkeypatch.setattr(lean_mixer, "scan", record)
    mamba = Mamba(8)
    tokens = torch.randn(1, 600, 8)
    mamba(tokens)
    with torch.no_grad():
        mamba(tokens)
    mamba.requires_grad_(requires_grad=False)(tokens)
    assert kept == [True, False, False]


def test_an_empty_batch_stays_empty() -> None:
    assert Mamba(8)(torch.empty(0, 5, 8)).shape == (0, 5, 8)
