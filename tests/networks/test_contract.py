"""What nnU-Net and PyTorch ask of a network, for every one of them, in 2D and 3D."""

import copy
import importlib.util
import io
import itertools
import json
import os
import pydoc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from reference_cases import keywords, patch, relative_l2
from umamba import registry
from umamba.networks.contract import PlannedNetwork
from umamba.nnunet.training.trainers import NestedSupervisionLoss
from umamba.patches import fitting_patch
from umamba.topologies import MedNeXtBlocks, OwnTopology

LEAN = registry.find_architecture("umamba_bot_lean").topology
_ALL = [registry.find_architecture(name) for name in registry.names()]
# nnU-Net's own classes are nnU-Net's to test; `_matched` is `_nomamba` with other features; lean
# forms have other numbers of blocks, and one of them a stage without its mixer. Of MedNeXt's sizes
# and kernels one is enough, and of Primus, whose versions differ in the library's own embedding.
SIZES = ("mednext_b", "primus_v2_s")
# Mixers and orders are tested one by one, Mamba-2 at the bottleneck.
COMBINED = ("_lti_bidirectional", "_lti_axes", "enc_mamba2")
OURS = [
    architecture
    for architecture in _ALL
    if architecture.class_path.startswith("umamba.")
    and architecture.parameters_of is None
    and (architecture.topology != LEAN or architecture.name == "umamba_enc_lean")
    and (architecture.family not in ("mednext", "primus") or architecture.name in SIZES)
    and not architecture.name.endswith(COMBINED)
]
EVERY = [
    pytest.param(
        architecture.name,
        dim,
        marks=pytest.mark.skipif(
            bool(architecture.extra and not importlib.util.find_spec(architecture.extra)),
            reason=f"{architecture.extra} is not installed",
        ),
    )
    for architecture, dim in itertools.product(OURS, [2, 3])
    if dim in architecture.dims
]


def slow(case: Any) -> Any:
    return pytest.param(*case.values, marks=[*case.marks, pytest.mark.slow])


# SwinUNETR's smallest patch is 32x32x64, which takes half a minute to compile or in half precision.
QUICK = [slow(case) if case.values == ("swinunetr", 3) else case for case in EVERY]
# Networks that keep their own topology, by their channels here.
WIDTHS = {"segresnet": 8, "swinunetr": 12, "primus_v2_s": 36}
# Networks with graph breaks. MONAI's SwinUNETR checks the size of its input with numpy.
BREAKS = {"swinunetr"}
# oneDNN leaves garbage in their gradients some of the time (torch 2.14.1), torch's kernels do not.
GARBAGE_IN_BFLOAT16 = {"segresnet", "primus_v2_s"}
# Compilers take long: of networks of one kind one is compiled, the others in the slow tier.
QUICKLY_COMPILED = {("umamba_bot", 3), ("unetpp", 2), ("attention_unet", 2), ("mednext_b", 2)}
COMPILED = [case if case.values in QUICKLY_COMPILED else slow(case) for case in EVERY]
# Keywords of plans that MedNeXt does not take: its norms and activations are its own.
STYLE = {"conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs"}
STYLE |= {"nonlin", "nonlin_kwargs"}
IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]
# What the trainer's loss gives no gradient to: nnU-Net's weight of the coarsest target is 0.
DEEPEST_HEAD = {"decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias"}
UNREACHED = {
    "unetpp": {"decoder.seg_layers.1_1.weight", "decoder.seg_layers.1_1.bias"},
    "unetpp_nested": set(),
    "unetrpp": {"out2.conv.conv.weight", "out2.conv.conv.bias"},
    "segresnet": set(),
    "swinunetr": set(),
    "primus_v2_s": set(),
}


def arch_kwargs(name: str, dim: int) -> dict[str, Any]:
    """`arch_kwargs` as plans.json holds them."""
    architecture = registry.find_architecture(name)
    plan = keywords(dim) | architecture.keywords
    if isinstance(architecture.topology, OwnTopology):
        plan["features_per_stage"] = WIDTHS[name]
        plan["strides"] = [[stride] * dim for stride in architecture.topology.strides]
    for key in ("input_channels", "num_classes", "deep_supervision"):
        del plan[key]
    if isinstance(architecture.topology, MedNeXtBlocks):
        plan = {key: plan[key] for key in plan if key not in STYLE}
        plan["expansion"] = [2, 3, 4]
    for key in {"conv_op", "norm_op", "nonlin"} & plan.keys():
        plan[key] = f"{plan[key].__module__}.{plan[key].__qualname__}"
    if architecture.needs_input_size:
        plan["input_size"] = list(patch_of(name, dim))
    return json.loads(json.dumps(plan))


def from_plan(name: str, plan: dict[str, Any], deep_supervision: bool = True) -> nn.Module:
    path = registry.find_architecture(name).class_path
    imported = [key for key in IMPORTED if key in plan]
    return get_network_from_plans(path, plan, imported, 2, 3, True, deep_supervision)


def build(name: str, dim: int, deep_supervision: bool = True) -> nn.Module:
    return from_plan(name, arch_kwargs(name, dim), deep_supervision)


def patch_of(name: str, dim: int) -> tuple[int, ...]:
    if name == "primus_v2_s":  # of 8x16x8 two voxels are left to be normalised: too few for halves
        return (16, 16, 16)
    total = [registry.find_architecture(name).topology.patch_multiple or 1] * dim
    return tuple(fitting_patch(patch(dim), total, normalises_instances=True))


def image(name: str, dim: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 2, *patch_of(name, dim))


def target_sizes(plan: dict[str, Any], size: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Sizes of stock nnU-Net's targets; of our trainer's for the paper's UNet++."""
    reductions = np.cumprod(np.vstack(plan["strides"]), axis=0)[:-1]
    if plan.get("nested_supervision"):
        reductions = np.ones_like(reductions)
    return [tuple(int(n) for n in np.array(size) // reduction) for reduction in reductions]


def trainers_loss(plan: dict[str, Any]) -> nn.Module:
    """The loss that nnU-Net's trainer builds, or ours for the paper's UNet++."""
    options = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    loss = DC_and_CE_loss(options, {})
    if plan.get("nested_supervision"):
        return NestedSupervisionLoss(loss)
    weights = np.array([2.0**-i for i in range(len(plan["strides"]) - 2)] + [0])
    return DeepSupervisionWrapper(loss, weights / weights.sum())


@pytest.mark.parametrize(("name", "dim"), [case for case in EVERY if case.values[0] not in WIDTHS])
def test_an_odd_axis_that_is_never_pooled(name: str, dim: int) -> None:
    strides = [[1] * dim, [1] + [2] * (dim - 1), [1] + [4] * (dim - 1)]
    size = (5, 16, 8)[:dim]
    plan = arch_kwargs(name, dim) | {"strides": strides}
    if "input_size" in plan:
        plan["input_size"] = list(size)
    network = from_plan(name, plan)
    outputs = network(torch.randn(1, 2, *size))
    assert [y.shape[2:] for y in outputs] == target_sizes(plan, size)
    assert all(y.isfinite().all() for y in outputs)


@pytest.mark.parametrize(("name", "dim"), EVERY)
def test_stock_nnunet_builds_and_trains_it(name: str, dim: int) -> None:
    plan = arch_kwargs(name, dim)
    untouched = copy.deepcopy(plan)
    path = registry.find_architecture(name).class_path
    network = from_plan(name, plan)
    assert plan == untouched
    assert pydoc.locate(path) is type(network)
    outputs = network(image(name, dim))
    sizes = target_sizes(plan, patch_of(name, dim))
    n_outputs = 1 if name in WIDTHS else len(sizes)
    assert [y.shape[2:] for y in outputs] == sizes[:n_outputs]
    sum(y.square().mean() for y in outputs).backward(retain_graph=True)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    network.zero_grad()
    the_loss_reaches_every_parameter_but_those_listed(name, plan, network, outputs)


def the_loss_reaches_every_parameter_but_those_listed(
    name: str, plan: dict[str, Any], network: nn.Module, outputs: list[torch.Tensor]
) -> None:
    targets = [torch.randint(0, 3, (2, 1, *y.shape[2:])).float() for y in outputs]
    trainers_loss(plan)(outputs, targets).backward()
    named = dict(network.named_parameters())
    assert {key for key, p in named.items() if p.grad is None} == UNREACHED.get(name, DEEPEST_HEAD)
    assert all(p.grad.isfinite().all() for p in named.values() if p.grad is not None)


@pytest.mark.parametrize(("name", "dim"), EVERY)
def test_deep_supervision_is_switched_from_outside(name: str, dim: int) -> None:
    network = build(name, dim).eval()
    x = image(name, dim)
    full = network(x)[0]
    network.decoder.deep_supervision = False
    assert torch.equal(network(x), full)


@pytest.mark.parametrize(("name", "dim"), QUICK)
def test_copies_and_files_give_the_same_network(name: str, dim: int) -> None:
    network = build(name, dim, deep_supervision=False).eval()
    x = image(name, dim)
    want = network(x)
    assert torch.equal(copy.deepcopy(network)(x), want)
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    buffer.seek(0)
    torch.manual_seed(1)
    other = build(name, dim, deep_supervision=False).eval()
    assert not torch.equal(other(x), want)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(x), want)


@pytest.mark.parametrize(("name", "dim"), COMPILED)
def test_compiles_without_a_graph_break(name: str, dim: int, unchecked: None) -> None:
    torch._dynamo.reset()
    network = build(name, dim).eval()  # without the chance of dropout
    compiled = torch.compile(network, backend="aot_eager", fullgraph=name not in BREAKS)
    x = image(name, dim)
    for got, want in zip(compiled(x), network(x), strict=True):
        assert relative_l2(got, want) < 1e-5
    sum(y.square().mean() for y in compiled(x)).backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.slow  # needs a C++ compiler
@pytest.mark.parametrize("name", ["umamba_bot", "umamba_enc", "unetpp", "attention_unet"])
@pytest.mark.parametrize("dim", [2, 3])
def test_inductor_compiles_a_training_step(name: str, dim: int, unchecked: None) -> None:
    torch._dynamo.reset()
    network = build(name, dim)
    x = image(name, dim)
    want = network(x)
    sum(y.square().mean() for y in want).backward()
    grads = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    # Channels-last layouts crash oneDNN's backward of strided 1x1 convolutions (torch 2.14.1).
    options = {"layout_optimization": False}
    got = torch.compile(network, fullgraph=True, options=options)(x)
    sum(y.square().mean() for y in got).backward()
    assert all(relative_l2(g, w) < 1e-4 for g, w in zip(got, want, strict=True))
    # Biases in front of instance normalisation have no gradient but noise.
    scale = max(float(g.norm()) for g in grads)
    pairs = zip((p.grad for p in network.parameters()), grads, strict=True)
    assert all(float((g - w).norm()) < 1e-3 * scale for g, w in pairs)


@pytest.mark.parametrize("name", ["umamba_bot", "umamba_enc"])
def test_exports_with_the_scan_as_one_operator(name: str, unchecked: None) -> None:
    network = build(name, 2, deep_supervision=False).eval()
    x = image(name, 2)
    exported = torch.export.export(network, (x,))
    code = [getattr(module, "code", "") for module in exported.graph_module.modules()]
    assert sum(part.count("torch.ops.umamba.selective_scan.default") for part in code) >= 1
    assert relative_l2(exported.module()(x), network(x)) < 1e-5


@pytest.mark.parametrize(("name", "dim"), QUICK)
def test_autocast_is_close_and_finite(name: str, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(name, dim, deep_supervision=False).eval()  # without the chance of dropout
    x = image(name, dim)
    want = network(x)
    for dtype, tolerance in ((torch.float16, 0.05), (torch.bfloat16, 0.4)):
        if dtype == torch.bfloat16 and name in GARBAGE_IN_BFLOAT16:
            monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
        network.zero_grad()
        with torch.autocast("cpu", dtype=dtype):
            got = network(x)
        got.float().square().mean().backward()
        assert relative_l2(got, want) < tolerance, dtype
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


class _Counter(TorchDispatchMode):
    """Count what torch's convolutions and matrix products put out, below the module level."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func.__name__.split(".")[0] in ("convolution", "mm", "addmm", "bmm", "baddbmm"):
            self.elements += output.numel()
        return output


@pytest.mark.parametrize(("name", "dim"), EVERY)
def test_feature_maps_are_counted(name: str, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(name, dim)
    got = network.compute_conv_feature_map_size(patch_of(name, dim))
    monkeypatch.setenv("UMAMBA_SCAN_BACKEND", "torch")  # composed of torch's own operations
    with torch.no_grad(), _Counter() as counter:
        network(image(name, dim, batch=1))
    assert got == counter.elements > 0
    assert next(network.parameters()).device.type == "cpu"


@pytest.mark.parametrize("dim", [2, 3])
def test_mambas_share_of_the_feature_maps_is_what_its_shapes_say(dim: int) -> None:
    network = build("umamba_bot", dim)
    total = [
        int(np.prod(axis)) for axis in zip(*arch_kwargs("umamba_bot", dim)["strides"], strict=True)
    ]
    length = int(np.prod([size // t for size, t in zip(patch(dim), total, strict=True)]))
    d_inner, dt_rank, d_state, d_model, overhang = 16, 1, 16, 8, 3
    mamba = 2 * d_inner * length  # in_proj
    mamba += d_inner * (length + overhang)  # conv1d, before it is cut to the past
    mamba += (dt_rank + 2 * d_state) * length + d_inner * length  # x_proj, dt_proj
    mamba += d_model * length  # out_proj
    whole = network.compute_conv_feature_map_size(patch(dim))
    network.mamba_layer = nn.Identity()
    assert whole - network.compute_conv_feature_map_size(patch(dim)) == mamba


@pytest.mark.parametrize("dim", [2, 3])
def test_feature_maps_are_counted_as_nnunet_does(dim: int) -> None:
    stock = PlainConvUNet(**keywords(dim))
    stock.input_channels = 2
    want = stock.compute_conv_feature_map_size(patch(dim))
    assert PlannedNetwork.compute_conv_feature_map_size(stock, patch(dim)) == want


def _train_one_step(rank: int, folder: str, names: Sequence[str]) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    for name in names:
        torch.manual_seed(0)
        network = nn.parallel.DistributedDataParallel(build(name, 2))
        whole = torch.randn(2, 2, *patch(2))
        sum(y.square().mean() for y in network(whole[rank : rank + 1])).backward()
        grads = {n: p.grad for n, p in network.module.named_parameters()}
        torch.save(grads, f"{folder}/{name}_{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_agree_on_gradients(tmp_path: Path) -> None:
    names = ["umamba_bot", "umamba_enc_official", "unetpp_nested"]
    start = torch.multiprocessing.start_processes
    start(_train_one_step, args=(str(tmp_path), names), nprocs=2, start_method="forkserver")
    for name in names:
        first, second = (torch.load(tmp_path / f"{name}_{rank}.pt") for rank in (0, 1))
        torch.manual_seed(0)
        alone = build(name, 2)
        whole = torch.randn(2, 2, *patch(2))
        sum(y.square().mean() for y in alone(whole)).backward()
        for key, parameter in alone.named_parameters():
            assert torch.equal(first[key], second[key])
            # the gradient of a bias before an InstanceNorm is zero up to rounding
            error = relative_l2(first[key], parameter.grad)
            assert error < 1e-3 or parameter.grad.norm() < 1e-4, (name, key)
