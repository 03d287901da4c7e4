"""UNet++ against a functional reference of the paper's equation 1, and its pruning."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reference_cases import keywords, patch, relative_l2
from umamba.errors import PlansError
from umamba.networks import UMambaUNetPlusPlus
from umamba.profiling import saved_bytes


def plan(dim: int, **changes: Any) -> dict[str, Any]:
    """A network of four stages, so that there are nodes of every kind."""
    four = {
        "n_stages": 4,
        "features_per_stage": [2, 3, 4, 5],
        "kernel_sizes": [[1] + [3] * (dim - 1), [3] * dim, [3] * dim, [3] * dim],
        "strides": [[1] * dim, [1] + [2] * (dim - 1), [2] * dim, [1, 2, 1][:dim]],
        "n_conv_per_stage": [1, 2, 3, 2],
        "n_conv_per_stage_decoder": [3, 2, 1],
        "norm_op_kwargs": {"eps": 1e-3, "affine": True},
    }
    return keywords(dim, **four) | changes


def image(dim: int) -> Tensor:
    return torch.randn(1, 2, *(4, 16, 8)[:dim], dtype=torch.float64)


def reference(network: nn.Module, x: Tensor, dim: int) -> dict[tuple[int, int], Tensor]:
    """All nodes, by recursion on the paper's equation, from the weights alone."""
    weights = network.state_dict()
    conv = (torch.conv2d, torch.conv3d)[dim - 2]
    transposed = (torch.conv_transpose2d, torch.conv_transpose3d)[dim - 2]
    strides = plan(dim)["strides"]
    n_encoder, n_decoder = plan(dim)["n_conv_per_stage"], plan(dim)["n_conv_per_stage_decoder"]

    def convolutions(y: Tensor, prefix: str, n: int, stride: list[int]) -> Tensor:
        for k in range(n):
            own = {key: weights[f"{prefix}.{k}.{key}"] for key in ("conv.weight", "conv.bias")}
            kernel = own["conv.weight"]
            padding = [size // 2 for size in kernel.shape[2:]]
            y = conv(y, kernel, own["conv.bias"], stride if k == 0 else 1, padding)
            axes = tuple(range(2, y.ndim))
            y = (y - y.mean(axes, True)) / (y.var(axes, correction=0, keepdim=True) + 1e-3).sqrt()
            shape = (1, -1) + (1,) * dim
            y = y * weights[f"{prefix}.{k}.norm.weight"].view(shape)
            y = y + weights[f"{prefix}.{k}.norm.bias"].view(shape)
            y = torch.where(y > 0, y, 0.01 * y)
        return y

    def node(i: int, j: int) -> Tensor:
        if j == 0:
            finer = x if i == 0 else node(i - 1, 0)
            return convolutions(finer, f"encoder.stages.{i}", n_encoder[i], strides[i])
        up = f"decoder.upsample_layers.{i}_{j}"
        below = transposed(
            node(i + 1, j - 1), weights[f"{up}.weight"], weights[f"{up}.bias"], strides[i + 1]
        )
        inputs = torch.cat([*(node(i, k) for k in range(j)), below], dim=1)
        return convolutions(inputs, f"decoder.nodes.{i}_{j}", n_decoder[2 - i], [1] * dim)

    return {(i, j): node(i, j) for i in range(4) for j in range(4 - i)}


def head(network: nn.Module, features: Tensor, i: int, j: int) -> Tensor:
    weights = network.state_dict()
    kernel = weights[f"decoder.seg_layers.{i}_{j}.weight"].flatten(1)
    bias = weights[f"decoder.seg_layers.{i}_{j}.bias"]
    return torch.einsum("kc,bc...->bk...", kernel, features) + bias.view(
        -1, *(1,) * (features.ndim - 2)
    )


def test_it_has_the_papers_number_of_parameters() -> None:
    """Zhou et al. 2018, arXiv:1807.10165, table 3: 9.04 M, without norms."""
    network = UMambaUNetPlusPlus(
        input_channels=3,
        num_classes=1,
        n_stages=5,
        features_per_stage=[32, 64, 128, 256, 512],
        conv_op=nn.Conv2d,
        kernel_sizes=3,
        strides=[1, 2, 2, 2, 2],
        n_conv_per_stage=2,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        nested_supervision=True,
        deep_supervision=True,
    )
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    found = sum(p.numel() for m in convolutions for p in m.parameters())
    # By hand: encoder 4,712,224, transposed 918,336, nodes 3,411,584, heads 132.
    assert found == 9_042_276


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("dim", [2, 3])
def test_nodes_are_wired_as_in_the_paper(dim: int, nested: bool) -> None:
    network = UMambaUNetPlusPlus(**plan(dim), nested_supervision=nested).double()
    for parameter in network.parameters():  # affine weights of ones would hide a mistake
        nn.init.normal_(parameter, std=0.5)
    x = image(dim)
    nodes = reference(network, x, dim)
    heads = [(0, 3), (0, 2), (0, 1)] if nested else [(0, 3), (1, 2), (2, 1)]
    outputs = network(x)
    assert len(outputs) == 3
    for got, (i, j) in zip(outputs, heads, strict=True):
        assert relative_l2(got, head(network, nodes[i, j], i, j)) < 1e-10
    network.decoder.deep_supervision = False
    assert torch.equal(network(x), outputs[0])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_pruned_network_gives_what_that_head_gave(depth: int) -> None:
    network = UMambaUNetPlusPlus(**plan(3), nested_supervision=True).double().eval()
    x = image(3)
    whole = network(x)
    size = x.shape[2:]
    cost = network.compute_conv_feature_map_size(size)
    network.prune(depth)
    for got, want in zip(network(x), whole[3 - depth :], strict=True):
        assert torch.equal(got, want)
    network.decoder.deep_supervision = False
    assert torch.equal(network(x), whole[3 - depth])
    if depth < 3:
        assert network.compute_conv_feature_map_size(size) < 0.9 * cost
    network.prune(3)
    assert torch.equal(network(x), whole[0])


def test_plans_can_prune_and_the_weights_still_load() -> None:
    whole = UMambaUNetPlusPlus(**plan(2, deep_supervision=True), nested_supervision=True).double()
    pruned = UMambaUNetPlusPlus(
        **plan(2, deep_supervision=False), nested_supervision=True, prune_to=1
    ).double()
    pruned.load_state_dict(whole.state_dict())
    x = image(2)
    assert torch.equal(pruned(x), whole(x)[-1])


def test_what_a_pruned_network_skips_is_not_computed() -> None:
    network = UMambaUNetPlusPlus(**plan(2), nested_supervision=True, prune_to=1)
    sum(y.square().mean() for y in network(image(2).float())).backward()
    reached = {key.rsplit(".", 1)[0] for key, p in network.named_parameters() if p.grad is not None}
    stages = {".".join(key.split(".")[:3]) for key in reached}
    assert stages == {
        "encoder.stages.0",
        "encoder.stages.1",
        "decoder.nodes.0_1",
        "decoder.upsample_layers.0_1",
        "decoder.seg_layers.0_1",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune_to": 1}, "pruning to depth 1 needs a network with nested_supervision"),
        ({"prune_to": 0, "nested_supervision": True}, "must be from 1 to 3, .* got 0"),
        ({"prune_to": 4, "nested_supervision": True}, "must be from 1 to 3, .* got 4"),
        ({"activation_checkpointing": "mamba"}, "not for UMambaUNetPlusPlus; choose none or"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlansError, match=message):
        UMambaUNetPlusPlus(**plan(2), **changes)


def test_checkpointed_blocks_give_the_same_numbers_from_less_memory() -> None:
    x = torch.randn(2, 2, *patch(3))
    results, kept = [], []
    for setting in ("none", "blocks"):
        torch.manual_seed(0)
        network = UMambaUNetPlusPlus(**keywords(3), activation_checkpointing=setting)
        outputs = network(x)
        sum(y.square().mean() for y in outputs).backward()
        results.append([*outputs, *(p.grad for p in network.parameters())])
        kept.append(saved_bytes(lambda net=network: net(x), network.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert kept[1] < 0.7 * kept[0]
