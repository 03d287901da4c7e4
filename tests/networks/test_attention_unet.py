"""Attention U-Net: its gates shut and open, and the maps that show it."""

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from reference_cases import keywords, patch
from umamba.errors import PlansError
from umamba.networks import UMambaAttentionUNet

FOUR = {
    "n_stages": 4,
    "features_per_stage": [4, 5, 6, 7],
    "kernel_sizes": 3,
    "n_conv_per_stage": 2,
    "n_conv_per_stage_decoder": 2,
}


def set_gates(network: UMambaAttentionUNet, bias: float) -> None:
    for gate in network.decoder.gates:
        nn.init.zeros_(gate.psi.weight)
        nn.init.constant_(gate.psi.bias, bias)


@pytest.mark.parametrize("dim", [2, 3])
def test_with_open_gates_it_is_nnunets_plain_unet(dim: int) -> None:
    plan = keywords(dim)
    network = UMambaAttentionUNet(**plan).double()
    set_gates(network, 100.0)
    stock = PlainConvUNet(**plan).double()
    copy_weights(network, stock)
    x = torch.randn(2, 2, *patch(dim), dtype=torch.float64)
    for got, want in zip(network(x), stock(x), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


def copy_weights(network: UMambaAttentionUNet, stock: nn.Module) -> None:
    """Copy ours to stock's, part by part; the order within a part is the same."""
    parts = [
        (network.encoder, stock.encoder),
        (network.decoder.stages, stock.decoder.stages),
        (network.decoder.upsample_layers, stock.decoder.transpconvs),
        (network.decoder.seg_layers, stock.decoder.seg_layers),
    ]
    for ours, theirs in parts:
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            b.data.copy_(a.data)


def test_shut_gates_let_nothing_of_the_deep_skips_through() -> None:
    network = UMambaAttentionUNet(**keywords(3, deep_supervision=False))
    set_gates(network, -1000.0)
    skips = network.encoder(torch.randn(1, 2, *patch(3)))
    want = network.decoder(skips)
    skips[1] = torch.randn_like(skips[1])
    assert torch.equal(network.decoder(skips), want)
    skips[0] = torch.randn_like(skips[0])  # the finest has no gate
    assert not torch.equal(network.decoder(skips), want)


@pytest.mark.parametrize("dim", [2, 3])
def test_maps_are_those_that_the_forward_pass_uses(dim: int) -> None:
    strides = [[1] * dim] + [[2] * dim] * 3
    network = UMambaAttentionUNet(**keywords(dim, **FOUR, strides=strides)).eval()
    x = torch.randn(2, 2, *(16, 16, 16)[:dim])
    seen = []
    for gate in network.decoder.gates:
        gate.register_forward_hook(lambda *call: seen.append(call[2]))
    maps = network.attention_maps(x)
    assert maps.shape == (2, 2, *x.shape[2:])
    assert 0 < maps.min() < maps.max() < 1
    middle, fine = seen  # the deepest is computed first
    assert fine.shape[2:] == tuple(n // 2 for n in x.shape[2:])
    assert middle.shape[2:] == tuple(n // 4 for n in x.shape[2:])
    half, quarter = (slice(None, None, 2),) * dim, (slice(None, None, 4),) * dim
    assert torch.equal(maps[(slice(None), slice(0, 1), *half)], fine)
    assert torch.equal(maps[(slice(None), slice(1, 2), *quarter)], middle)


def test_the_signal_comes_from_the_next_coarser_decoder_level() -> None:
    strides = [[1] * 2] + [[2] * 2] * 3
    network = UMambaAttentionUNet(**keywords(2, **FOUR, strides=strides)).eval()
    signals, outputs = [], []
    for gate in network.decoder.gates:
        gate.register_forward_hook(lambda *call: signals.append(call[1][1]))
    for stage in network.decoder.stages:
        stage[-1].register_forward_hook(lambda *call: outputs.append(call[2]))
    x = torch.randn(1, 2, 16, 16)
    network(x)
    assert torch.equal(signals[0], network.encoder(x)[-1])
    assert torch.equal(signals[1], outputs[0])


def test_what_cannot_be_is_refused() -> None:
    two = {"n_stages": 2, "features_per_stage": 4, "kernel_sizes": 3, "strides": [1, 2]}
    counts = {"n_conv_per_stage": 2, "n_conv_per_stage_decoder": 2}
    with pytest.raises(PlansError, match="needs at least 3 stages"):
        UMambaAttentionUNet(**keywords(2, **two, **counts))
    with pytest.raises(
        PlansError, match="not for UMambaAttentionUNet; choose none or norms or blocks"
    ):
        UMambaAttentionUNet(**keywords(2, activation_checkpointing="mamba"))
