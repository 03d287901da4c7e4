"""Activation checkpointing: the same numbers from less memory."""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from reference_cases import keywords, patch, relative_l2
from umamba.errors import PlansError
from umamba.layers.mednext_block import MedNeXtBlock
from umamba.layers.recomputation import recomputing
from umamba.networks import (
    UMambaAttentionUNet,
    UMambaBot,
    UMambaEnc,
    UMambaUNetPlusPlus,
    UMambaUNETRPlusPlus,
)
from umamba.networks.contract import Topology
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.example import EXAMPLE_DATASET, example_plans
from umamba.nnunet.plans.networks import build_network
from umamba.profiling import saved_bytes
from umamba.registry import find_architecture


def build(
    network: type[nn.Module], setting: str, variant: str | None = "paper", **changes: Any
) -> nn.Module:
    torch.manual_seed(0)
    if (network is UMambaEnc and variant == "official") or network is UMambaUNETRPlusPlus:
        changes["input_size"] = patch(3)
    if variant is not None:
        changes["variant"] = variant
    return network(**keywords(3, activation_checkpointing=setting, **changes))


def numbers(network: nn.Module, x: Tensor) -> list[Tensor]:
    outputs = network(x)
    sum(y.square().mean() for y in outputs).backward()
    return [*outputs, *(p.grad for p in network.parameters())]


@pytest.mark.parametrize("network", [UMambaBot, UMambaEnc])
@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("setting", ["norms", "mamba", "blocks"])
def test_numbers_stay_the_same(network: type[nn.Module], variant: str, setting: str) -> None:
    x = torch.randn(2, 2, *patch(3))
    want = numbers(build(network, "none", variant), x)
    got = numbers(build(network, setting, variant), x)
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


@pytest.mark.parametrize(
    "network", [UMambaUNetPlusPlus, UMambaAttentionUNet, UMambaUNETRPlusPlus, UMambaBot]
)
@pytest.mark.parametrize(
    "parts",
    [
        {"norm_op": nn.InstanceNorm3d, "norm_op_kwargs": {"affine": True}},
        {"nonlin": nn.GELU, "nonlin_kwargs": {}, "conv_bias": False},
        {"norm_op": nn.Identity, "nonlin": nn.LeakyReLU, "nonlin_kwargs": {"inplace": True}},
    ],
)
def test_norms_are_recomputed_in_every_network(
    network: type[nn.Module], parts: dict[str, Any]
) -> None:
    x = torch.randn(2, 2, *patch(3))
    variant = "paper" if network in (UMambaBot, UMambaUNETRPlusPlus) else None
    found = {}
    for setting in ("none", "norms"):
        built = build(network, setting, variant, **parts)
        torch.manual_seed(1)  # for dropout
        found[setting] = numbers(built, x)
    got, want = found["norms"], found["none"]
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


@pytest.mark.parametrize("model", ["mednext_s", "umamba_enc_lean", "umamba_bot_mamba2"])
def test_norms_are_recomputed_in_planned_networks(model: str) -> None:
    found, kept = {}, {}
    for setting in ("none", "norms"):
        options = PlanOptions(
            activation_checkpointing=setting, features=(4,), patch_size=(128, 256), batch_size=1
        )
        source = example_plans()
        source["configurations"] = {"2d": source["configurations"]["2d"]}
        plans = derive_plans(source, find_architecture(model), options, EXAMPLE_DATASET)
        torch.manual_seed(0)
        network, channels, patch_size, _ = build_network(plans, EXAMPLE_DATASET, "2d", "cpu")
        torch.manual_seed(1)
        x = torch.randn(1, channels, *patch_size)
        found[setting] = numbers(network, x)
        kept[setting] = saved_bytes(lambda: network(x), network.parameters())  # noqa: B023
    pairs = zip(found["norms"], found["none"], strict=True)
    assert all(g is w is None or torch.equal(g, w) for g, w in pairs)
    assert kept["norms"] < 0.7 * kept["none"]


@pytest.mark.parametrize("setting", ["norms", "blocks"])
def test_recomputation_follows_autocast_and_double_precision(setting: str) -> None:
    x = torch.randn(2, 2, *patch(3))
    with torch.autocast("cpu", torch.bfloat16):
        want, got = (build(UMambaBot, name)(x) for name in ("none", setting))
    gradients = [[y.float().square().mean() for y in outputs] for outputs in (want, got)]
    for losses in gradients:
        sum(losses).backward()
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))
    want, got = (numbers(build(UMambaBot, name).double(), x.double()) for name in ("none", setting))
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


def test_second_derivatives_are_those_of_the_network() -> None:
    x = torch.randn(1, 2, *patch(3), dtype=torch.double, requires_grad=True)
    found = []
    for setting in ("none", "norms"):
        network = build(UMambaBot, setting, mixer="none").double()
        loss = sum(y.square().mean() for y in network(x))
        (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), list(network.parameters())))
    assert all(relative_l2(g, w) < 1e-9 for g, w in zip(*found, strict=True))


def test_memory_shrinks() -> None:
    x = torch.randn(2, 2, *patch(3))
    kept = {}
    for setting in ("none", "norms", "mamba", "blocks"):
        network = build(UMambaEnc, setting)
        kept[setting] = saved_bytes(lambda net=network: net(x), network.parameters())
    assert kept["blocks"] < 0.6 * kept["none"]
    assert kept["blocks"] < kept["mamba"] < kept["none"]
    assert kept["norms"] < 0.75 * kept["none"]


def test_what_would_give_other_numbers_is_refused() -> None:
    for changes, message in (
        ({"norm_op": nn.BatchNorm3d}, "statistics of BatchNorm3d twice"),
        (
            {"norm_op": nn.InstanceNorm3d, "norm_op_kwargs": {"track_running_stats": True}},
            "statistics of InstanceNorm3d twice",
        ),
        ({"nonlin": nn.RReLU, "nonlin_kwargs": {}}, "other random numbers for RReLU"),
    ):
        with pytest.raises(PlansError, match=message):
            build(UMambaBot, "norms", **changes)


def test_changes_after_the_forward_are_noticed() -> None:
    x = torch.randn(1, 2, *patch(3))
    network = build(UMambaBot, "norms")
    loss = sum(y.square().mean() for y in network(x))
    x.zero_()
    with pytest.raises(RuntimeError, match="was changed in place after the forward"):
        loss.backward()
    loss = sum(y.square().mean() for y in network(x))
    with torch.no_grad():
        network.encoder.stages[0][0].conv2.weight.add_(1)
    with pytest.raises(RuntimeError, match="was changed in place after the forward"):
        loss.backward()


@pytest.mark.parametrize("setting", ["norms", "blocks"])
def test_other_weights_in_the_backward_are_noticed(setting: str) -> None:
    x = torch.randn(1, 2, *patch(3))
    network = build(UMambaBot, setting)
    others = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    loss = functional_call(network, others, (x,))[0].mean()
    with pytest.raises(RuntimeError, match="had other weights in the forward"):
        loss.backward()
    loss = network(x)[0].mean()
    network.load_state_dict(others, assign=True)
    with pytest.raises(RuntimeError, match="had other weights in the forward"):
        loss.backward()


def test_mednext_recomputes_the_casts_around_its_norms() -> None:
    """On a CPU autocast leaves the norm in bfloat16; CUDA's has it in float32, as ours here."""
    x, found, kept = torch.randn(1, 4, 8, 8), {}, {}
    for enabled in (False, True):
        torch.manual_seed(0)
        block = MedNeXtBlock(nn.Conv2d, 4, 2, (3, 3))

        def run(block: nn.Module = block, *, enabled: bool = enabled) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16), recomputing(block, enabled=enabled):
                return block(x)

        kept[enabled] = saved_bytes(run, block.parameters())
        out = run()
        out.float().square().mean().backward()
        found[enabled] = [out, *(p.grad for p in block.parameters())]
    assert all(torch.equal(g, w) for g, w in zip(found[True], found[False], strict=True))
    weights = sum(p.numel() for name, p in block.named_parameters() if "norm" not in name)
    # The input and its cast, what is normalised, twice as much of the wide map, and the sum's part.
    assert kept[True] <= (4 + 2 + 2 + 2 * 2 + 2) * x.numel() + 2 * weights


def test_a_backward_inside_autocast_recomputes_as_the_forward_was() -> None:
    x = torch.randn(2, 2, *patch(3))
    want = numbers(build(UMambaBot, "none"), x)
    network = build(UMambaBot, "norms")
    outputs = network(x)
    loss = sum(y.square().mean() for y in outputs)
    with torch.autocast("cpu", torch.bfloat16):
        loss.backward()
    got = [*outputs, *(p.grad for p in network.parameters())]
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


def recipes() -> int:
    gc.collect()
    return sum(type(o).__name__ in ("_Kept", "_Raw", "_Recipe") for o in gc.get_objects())


def test_nothing_is_kept_for_longer_than_without() -> None:
    x, before = torch.randn(2, 2, *patch(3)), recipes()
    outputs = build(UMambaBot, "norms")(x)
    assert recipes() > before
    gc.disable()  # a graph ends without the collector
    try:
        held = weakref.ref(outputs[0])
        sum(y.mean() for y in outputs).backward()
        del outputs
        assert held() is None
    finally:
        gc.enable()
    assert recipes() == before


@pytest.mark.parametrize("setting", ["norms", pytest.param("blocks", marks=pytest.mark.slow)])
def test_compiles_to_one_graph(setting: str, unchecked: None) -> None:
    torch._dynamo.reset()
    network = build(UMambaEnc, setting)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 2, *patch(3))
    for got, want in zip(compiled(x), network(x), strict=True):
        assert relative_l2(got, want) < 1e-5


@pytest.mark.slow
def test_a_compiled_network_keeps_less_with_the_same_gradients(unchecked: None) -> None:
    """The backend divides forward and backward as the one for GPUs does, and compiles nothing."""
    x = torch.randn(2, 2, *patch(3))
    found, kept = {}, {}
    for setting in ("none", "norms"):
        torch._dynamo.reset()
        network = build(UMambaBot, setting, mixer="none")
        compiled = torch.compile(network, backend="aot_eager_decomp_partition", fullgraph=True)
        kept[setting] = saved_bytes(lambda net=compiled: net(x), network.parameters())
        outputs = compiled(x)
        sum(y.square().mean() for y in outputs).backward()
        found[setting] = [*outputs, *(p.grad for p in network.parameters())]
    for got, want in zip(found["norms"], found["none"], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    assert kept["norms"] < 0.85 * kept["none"]


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(PlansError, match="'all' does not exist; choose one of none, norms, mamba"):
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
