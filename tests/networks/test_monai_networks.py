"""MONAI's networks are MONAI's, with nnU-Net's keywords and all of nnU-Net's loss."""

import itertools
import sys
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import nn

from umamba import registry
from umamba.errors import PlansError
from umamba.networks import UMambaSegResNet, UMambaSwinUNETR

CLASSES = {"segresnet": UMambaSegResNet, "swinunetr": UMambaSwinUNETR}
WIDTHS = {"segresnet": 8, "swinunetr": 12}


def build(name: str, dim: int, **changes: Any) -> nn.Module:
    strides = registry.find_architecture(name).topology.strides
    plan: dict[str, Any] = {
        "input_channels": 2,
        "num_classes": 3,
        "conv_op": (nn.Conv2d, nn.Conv3d)[dim - 2],
        "features_per_stage": [WIDTHS[name]],
        "strides": [[stride] * dim for stride in strides],
    }
    return CLASSES[name](**plan | changes)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("dim", [2, 3])
def test_monais_own_module_gives_the_same_from_the_same_weights(name: str, dim: int) -> None:
    nets = pytest.importorskip("monai.networks.nets")
    options: dict[str, Any] = {"spatial_dims": dim, "in_channels": 2, "out_channels": 3}
    theirs = {
        "segresnet": lambda: nets.SegResNet(
            **options, init_filters=8, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1)
        ),
        "swinunetr": lambda: nets.SwinUNETR(
            **options, feature_size=12, depths=(2, 2, 2, 2), num_heads=(3, 6, 12, 24)
        ),
    }[name]().eval()
    network = build(name, dim).eval()
    network.network.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 2, *(32, 64, 32)[:dim])
    with torch.no_grad():
        assert torch.equal(network(x), theirs(x))


def test_networks_have_as_many_parameters_as_published() -> None:
    pytest.importorskip("monai")
    with torch.device("meta"):
        plan = {"input_channels": 1, "num_classes": 14}
        swin = build("swinunetr", 3, features_per_stage=[48], **plan)
        seg = build("segresnet", 3, features_per_stage=[32], **plan)
    # 62.19 M in comparisons on the data of the paper (BTCV); the paper itself rounds to 61.98 M.
    assert sum(p.numel() for p in swin.parameters()) == 62_187_296
    assert sum(p.numel() for p in seg.parameters()) == _segresnet_parameters(32, 1, 14)


def _segresnet_parameters(width: int, channels: int, classes: int) -> int:
    """Count what figure 1 and table 1 of the paper have, without biases of 3x3x3 convolutions."""

    def block(c: int) -> int:
        return 2 * (27 * c * c + 2 * c)

    widths = [width, 2 * width, 4 * width, 8 * width]
    total = 27 * channels * width
    total += sum(n * block(c) for n, c in zip((1, 2, 2, 4), widths, strict=True))
    total += sum(27 * a * b for a, b in itertools.pairwise(widths))
    total += sum(a * b + block(a) for a, b in itertools.pairwise(widths))
    return total + 2 * width + width * classes + classes


@pytest.mark.parametrize("name", CLASSES)
def test_stock_weighs_the_one_output_in_full(name: str) -> None:
    pytest.importorskip("monai")
    strides = np.array([[s] * 2 for s in registry.find_architecture(name).topology.strides])
    sizes = [tuple(np.array([64, 64]) // r) for r in np.cumprod(strides, axis=0)[:-1]]
    weights = np.array([0.5**i for i in range(len(sizes))])  # as nnU-Net's trainer has them
    weights[-1] = 0
    outputs = build(name, 2, deep_supervision=True)(torch.randn(2, 2, 64, 64))
    targets = [torch.randint(0, 3, (2, 1, *size)).float() for size in sizes]
    loss = DC_and_CE_loss({"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}, {})
    whole = DeepSupervisionWrapper(loss, weights / weights.sum())(outputs, targets)
    assert len(outputs) == 1
    assert torch.equal(whole, loss(outputs[0], targets[0]))


def test_swin_blocks_are_computed_again_for_less_memory() -> None:
    pytest.importorskip("monai")
    from umamba.profiling import saved_bytes

    x = torch.randn(1, 2, 64, 64)
    networks = [build("swinunetr", 2, activation_checkpointing=how) for how in ("none", "blocks")]
    networks[1].load_state_dict(networks[0].state_dict())
    kept = [saved_bytes(lambda n=n: n(x), n.parameters()) for n in networks]
    for network in networks:
        network(x).square().mean().backward()
    assert kept[1] < kept[0]
    for (key, one), other in zip(
        networks[0].named_parameters(), networks[1].parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad, msg=key)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("segresnet", {"features_per_stage": [12]}, "begins with 12.*of 8: .* --features 16"),
        ("swinunetr", {"features_per_stage": 16}, "begins with 16.*of 12: .* --features 12"),
        ("swinunetr", {"features_per_stage": []}, "begins with 0.* multiple of 12"),
        ("segresnet", {"strides": [[1, 1], [2, 4]]}, r"by 8, but its strides multiply to \[2, 4\]"),
        ("segresnet", {"activation_checkpointing": "blocks"}, "choose none"),
        ("swinunetr", {"activation_checkpointing": "mamba"}, "choose none or blocks"),
        ("segresnet", {"dropuot": 1}, "has no keyword dropuot"),
        ("segresnet", {"conv_op": nn.Conv1d, "strides": [1, 2, 4]}, "2 or 3 axes"),
    ],
)
def test_keywords_that_do_not_fit_are_named(
    name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PlansError, match=message):
        build(name, 2, **changes)


def test_patches_that_do_not_fit_are_named() -> None:
    pytest.importorskip("monai")
    with pytest.raises(PlansError, match=r"\[32, 40\] is not divisible.* fits is \[32, 64\]"):
        build("swinunetr", 2)(torch.randn(1, 2, 32, 40))
    with pytest.raises(PlansError, match=r"\[32, 32\] leaves one voxel.* fits is \[32, 64\]"):
        build("swinunetr", 2)(torch.randn(1, 2, 32, 32))
    assert build("segresnet", 2)(torch.randn(1, 2, 8, 8)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("name", CLASSES)
def test_a_missing_monai_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    with pytest.raises(PlansError, match=r"run `pip install 'umamba\[monai\]'`"):
        build(name, 3)
