"""MedNeXt against its equations under the names of its authors' weights, and their sizes."""

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plans_factory import architecture
from reference_cases import relative_l2
from umamba import registry
from umamba.errors import PlansError
from umamba.networks import UMambaMedNeXt
from umamba.topologies import PlannedUNet

FEATURES, EXPANSION, BLOCKS = (4, 6, 8), (2, 3, 4), (2, 1, 2)
STRIDES = {
    "of two": ((1, 1, 1), (2, 2, 2), (2, 2, 2)),
    "of each axis": ((1, 1, 1), (1, 2, 4), (2, 2, 1)),
}


def build(strides: Any = STRIDES["of two"], kernel: int = 3, **changes: Any) -> UMambaMedNeXt:
    plan: dict[str, Any] = {
        "input_channels": 2,
        "num_classes": 3,
        "n_stages": 3,
        "features_per_stage": FEATURES,
        "conv_op": nn.Conv3d,
        "kernel_sizes": kernel,
        "strides": strides,
        "n_conv_per_stage": BLOCKS,
        "n_conv_per_stage_decoder": BLOCKS[-2::-1],
        "expansion": EXPANSION,
        "deep_supervision": True,
    }
    return UMambaMedNeXt(**plan | changes)


class Authors:
    """Weights by the authors' names, and the equations of section 2 as functions of them."""

    def __init__(self, strides: Any) -> None:
        self.strides = strides
        self.weights: dict[str, Tensor] = {"dummy_tensor": torch.ones(1)}
        self._convolution("stem", FEATURES[0], 2, 1)
        n = len(FEATURES)
        for i, (channels, count) in enumerate(zip(FEATURES, BLOCKS, strict=True)):
            stages = ["bottleneck"] if i == n - 1 else [f"enc_block_{i}", f"dec_block_{i}"]
            for block in (f"{stage}.{j}" for stage in stages for j in range(count)):
                self._block(block, channels, channels, EXPANSION[i])
            self._convolution(f"out_{i}.conv_out", channels, 3, 1)  # transposed
            self.weights[f"out_{i}.conv_out.bias"] = torch.randn(3)
        for i, (above, below) in enumerate(pairwise(FEATURES)):
            self._block(f"down_{i}", above, below, EXPANSION[i + 1])
            self._block(f"up_{i}", below, above, EXPANSION[i])
            self._convolution(f"down_{i}.res_conv", below, above, 1)
            self._convolution(f"up_{i}.res_conv", below, above, 1)  # transposed
            self.weights[f"up_{i}.res_conv.bias"] = torch.randn(above)

    def _convolution(self, name: str, outputs: int, inputs: int, size: int) -> None:
        self.weights[f"{name}.weight"] = torch.randn(outputs, inputs, size, size, size) / 3
        self.weights[f"{name}.bias"] = torch.randn(outputs)

    def _block(self, name: str, inputs: int, outputs: int, ratio: int) -> None:
        self._convolution(f"{name}.conv1", inputs, 1, 3)
        for kind in ("weight", "bias"):
            self.weights[f"{name}.norm.{kind}"] = torch.randn(inputs)
        self._convolution(f"{name}.conv2", ratio * inputs, inputs, 1)
        self._convolution(f"{name}.conv3", outputs, ratio * inputs, 1)

    def of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def widen(self, name: str, y: Tensor) -> Tensor:
        y = F.instance_norm(y, None, None, *self.of(f"{name}.norm"))
        return F.conv3d(F.gelu(F.conv3d(y, *self.of(f"{name}.conv2"))), *self.of(f"{name}.conv3"))

    def stage(self, name: str, count: int, x: Tensor) -> Tensor:
        for block in (f"{name}.{j}" for j in range(count)):
            y = F.conv3d(x, *self.of(f"{block}.conv1"), padding=1, groups=x.shape[1])
            x = x + self.widen(block, y)
        return x

    def down(self, i: int, x: Tensor) -> Tensor:
        name, stride = f"down_{i}", self.strides[i + 1]
        y = F.conv3d(x, *self.of(f"{name}.conv1"), stride, padding=1, groups=x.shape[1])
        return self.widen(name, y) + F.conv3d(x, *self.of(f"{name}.res_conv"), stride)

    def up(self, i: int, x: Tensor) -> Tensor:
        name, stride = f"up_{i}", self.strides[i + 1]
        groups = x.shape[1]
        y = F.conv_transpose3d(x, *self.of(f"{name}.conv1"), stride, padding=1, groups=groups)
        y = self.widen(name, y) + F.conv_transpose3d(x, *self.of(f"{name}.res_conv"), stride)
        size = (n * step for n, step in zip(x.shape[2:], stride, strict=True))
        whole = y.new_zeros(*y.shape[:2], *size)
        a, b, c = (step - 1 for step in stride)
        whole[..., a:, b:, c:] = y
        return whole

    def __call__(self, x: Tensor) -> list[Tensor]:
        last = len(FEATURES) - 1
        x = F.conv3d(x, *self.of("stem"))
        skips = []
        for i in range(last):
            skips.append(self.stage(f"enc_block_{i}", BLOCKS[i], x))
            x = self.down(i, skips[-1])
        x = self.stage("bottleneck", BLOCKS[-1], x)
        logits = []
        for i in reversed(range(last)):
            x = self.stage(f"dec_block_{i}", BLOCKS[i], skips[i] + self.up(i, x))
            logits.append(F.conv_transpose3d(x, *self.of(f"out_{i}.conv_out")))
        return logits[::-1]


@pytest.mark.parametrize("strides", STRIDES.values(), ids=STRIDES)
def test_the_authors_weights_load_and_give_their_outputs(strides: Any) -> None:
    theirs, ours = Authors(strides), build(strides)
    untouched = dict(theirs.weights)
    ours.load_state_dict(theirs.weights)
    assert theirs.weights == untouched
    x = torch.randn(2, 2, 8, 8, 8)
    for got, want in zip(ours(x), theirs(x), strict=True):
        assert got.shape == want.shape
        assert relative_l2(got, want) < 1e-5
    again = build(strides)
    again.load_state_dict(ours.state_dict())
    assert torch.equal(again(x)[0], ours(x)[0])


def parameters(
    blocks: tuple[int, ...], expansion: tuple[int, ...], kernel: int, classes: int
) -> int:
    """Weights of the authors' network without deep supervision, but for torch's checkpointing."""
    widths = [32 * 2**i for i in range(5)]

    def block(inputs: int, outputs: int, ratio: int) -> int:
        wide = ratio * inputs
        return inputs * (kernel**3 + 1) + 2 * inputs + (inputs + 1) * wide + (wide + 1) * outputs

    total = 2 * widths[0] + (widths[0] + 1) * classes  # stem and head
    for i, width in enumerate(widths):
        total += (1 if i == 4 else 2) * blocks[i] * block(width, width, expansion[i])
        if i < 4:
            below = widths[i + 1]
            total += block(width, below, expansion[i + 1]) + (width + 1) * below
            total += block(below, width, expansion[i]) + (below + 1) * width
    return total


@pytest.mark.parametrize(
    ("size", "blocks", "expansion", "millions"),
    [
        ("s", (2,) * 5, (2,) * 5, 5.6),
        ("b", (2,) * 5, (2, 3, 4, 4, 4), 10.5),
        ("m", (3, 4, 4, 4, 4), (2, 3, 4, 4, 4), 17.6),
        ("l", (3, 4, 8, 8, 8), (3, 4, 8, 8, 8), 61.8),
    ],
)
def test_presets_have_as_many_parameters_as_the_paper_says(
    size: str, blocks: tuple[int, ...], expansion: tuple[int, ...], millions: float
) -> None:
    plan = PlannedUNet(architecture(3, 5)["arch_kwargs"], is_plain=True)
    for suffix, kernel in (("", 3), ("_k5", 5)):
        preset = registry.find_architecture(f"mednext_{size}{suffix}")
        keywords = preset.topology.keywords(plan, None, preset.name) | {"conv_op": nn.Conv3d}
        with torch.device("meta"):
            network = UMambaMedNeXt(input_channels=1, num_classes=3, **keywords)
        auxiliary = sum(p.numel() for p in network.decoder.seg_layers[:-1].parameters())
        counted = sum(p.numel() for p in network.parameters()) - auxiliary
        assert counted == parameters(blocks, expansion, kernel, 3)
        # The paper counts the heads of its data sets, too: up to 0.02 million more.
        assert kernel == 5 or 0 <= millions - counted / 1e6 + 0.05 < 0.12


def test_kernels_are_resampled_from_weights_of_smaller_ones() -> None:
    small, large = build(kernel=3), build(kernel=5)
    depthwise = {name for name in small.state_dict() if name.endswith("conv1.weight")}
    given = small.state_dict()
    made = large.with_resampled_kernels(given)
    assert depthwise
    for name, weight in given.items():
        if name not in depthwise:
            assert made[name] is weight
            continue
        # The middle and the corners stay, and in between it is linear along every axis.
        assert torch.allclose(made[name][..., 2, 2, 2], weight[..., 1, 1, 1])
        assert torch.allclose(made[name][..., ::4, ::4, ::4], weight[..., ::2, ::2, ::2])
        wanted = 0.6 * weight[..., 0, 1, 1] + 0.4 * weight[..., 1, 1, 1]
        assert torch.allclose(made[name][..., 1, 2, 2], wanted, atol=1e-6)
    large.load_state_dict(made)


def test_activation_checkpointing_gives_the_same_numbers() -> None:
    x, numbers = torch.randn(1, 2, 8, 8, 8), []
    for setting in ("none", "blocks"):
        torch.manual_seed(0)
        network = build(activation_checkpointing=setting)
        outputs = network(x)
        sum(y.square().mean() for y in outputs).backward()
        numbers.append([*outputs, *(p.grad for p in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*numbers, strict=True))


def test_expansions_that_do_not_fit_the_stages_are_named() -> None:
    with pytest.raises(PlansError, match=r"expansion needs 3 positive numbers; got \(2, 3\)"):
        build(expansion=(2, 3))
