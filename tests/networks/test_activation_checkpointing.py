"""Activation checkpointing: the same numbers from less memory."""

import pytest
import torch
from torch import Tensor, nn

from reference_cases import keywords, patch, relative_l2
from umamba.errors import PlansError
from umamba.networks import UMambaBot, UMambaEnc
from umamba.networks.contract import Topology
from umamba.profiling import saved_bytes


def build(network: type[nn.Module], setting: str, variant: str = "paper") -> nn.Module:
    torch.manual_seed(0)
    official_enc = network is UMambaEnc and variant == "official"
    changes = {"input_size": patch(3)} if official_enc else {}
    plan = keywords(3, variant=variant, activation_checkpointing=setting, **changes)
    return network(**plan)


def numbers(network: nn.Module, x: Tensor) -> list[Tensor]:
    outputs = network(x)
    sum(y.square().mean() for y in outputs).backward()
    return [*outputs, *(p.grad for p in network.parameters())]


@pytest.mark.parametrize("network", [UMambaBot, UMambaEnc])
@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("setting", ["mamba", "blocks"])
def test_numbers_stay_the_same(network: type[nn.Module], variant: str, setting: str) -> None:
    x = torch.randn(2, 2, *patch(3))
    want = numbers(build(network, "none", variant), x)
    got = numbers(build(network, setting, variant), x)
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


def test_memory_shrinks() -> None:
    x = torch.randn(2, 2, *patch(3))
    kept = {}
    for setting in ("none", "mamba", "blocks"):
        network = build(UMambaEnc, setting)
        kept[setting] = saved_bytes(lambda net=network: net(x), network.parameters())
    assert kept["blocks"] < 0.6 * kept["none"]
    assert kept["blocks"] < kept["mamba"] < kept["none"]


def test_compiles_to_one_graph(unchecked: None) -> None:
    torch._dynamo.reset()
    network = build(UMambaEnc, "blocks")
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 2, *patch(3))
    for got, want in zip(compiled(x), network(x), strict=True):
        assert relative_l2(got, want) < 1e-5


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(PlansError, match="'all' does not exist; choose one of none, mamba, blocks"):
        build(UMambaBot, "all")


def test_only_stages_that_hold_much_are_computed_again() -> None:
    topology = Topology.from_plan(
        n_stages=4,
        features_per_stage=(32, 64, 128, 256),
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2)),
        n_conv_per_stage=2,
        n_conv_per_stage_decoder=2,
    )
    assert [topology.relative_size(level) for level in range(4)] == [1, 1 / 2, 1 / 8, 1 / 32]
