"""MedNeXt: a U-Net of depthwise convolutions and wide pointwise layers.

Source: Roy et al. 2023, arXiv:2303.09975.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from umamba.layers.activation_checkpointing import apply_blocks, check_activation_checkpointing
from umamba.layers.conv_blocks import LINEAR
from umamba.layers.mednext_block import MedNeXtBlock, MedNeXtDownBlock, MedNeXtUpBlock
from umamba.layers.recomputation import derive, recomputing
from umamba.networks.contract import PlannedNetwork, Topology, check_counts, per_stage

__all__ = ["MedNeXtDecoder", "MedNeXtEncoder", "UMambaMedNeXt"]

_AUTHORS_NAME = re.compile(r"([a-z_]+?)(?:_(\d+))?\.(.+)")


@dataclass(frozen=True)
class _Parts:
    """Parts of encoder and decoder, by level; 0 is full resolution."""

    topology: Topology
    conv_op: type[nn.Module]
    expansion: tuple[int, ...]
    checkpointed: tuple[bool, ...]

    def stage(self, level: int, n_blocks: int) -> nn.Sequential:
        """Build the blocks of a level."""
        features, kernel = self.topology.features[level], self.topology.kernel_sizes[level]
        given = self.conv_op, features, self.expansion[level], kernel
        return nn.Sequential(*(MedNeXtBlock(*given) for _ in range(n_blocks)))

    def down(self, level: int) -> MedNeXtDownBlock:
        """Build the block that leads from the level above to this one."""
        above, features = self.topology.features[level - 1 : level + 1]
        kernel, stride = self.topology.kernel_sizes[level], self.topology.strides[level]
        return MedNeXtDownBlock(
            self.conv_op, above, features, self.expansion[level], kernel, stride
        )

    def up(self, level: int) -> MedNeXtUpBlock:
        """Build the block that leads from the level below to this one, the way `down` came."""
        features, below = self.topology.features[level : level + 2]
        kernel, stride = self.topology.kernel_sizes[level + 1], self.topology.strides[level + 1]
        return MedNeXtUpBlock(self.conv_op, below, features, self.expansion[level], kernel, stride)


class MedNeXtEncoder(nn.Module):
    """A pointwise stem, and stages with downsampling blocks between them.

    Args:
        parts: What it is made of.
        input_channels: Channels of the image.
    """

    def __init__(self, parts: _Parts, input_channels: int) -> None:
        super().__init__()
        topology = parts.topology
        self.checkpointed = parts.checkpointed
        self.stem = parts.conv_op(input_channels, topology.features[0], 1, topology.strides[0])
        self.stages = nn.ModuleList(parts.stage(i, n) for i, n in enumerate(topology.n_conv))
        self.downsample_layers = nn.ModuleList(map(parts.down, range(1, topology.n_stages)))

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> list[Tensor]:
        """Return the output of every stage, full resolution first."""
        x = self.stem(x)
        skips: list[Tensor] = []
        for level, (stage, checkpointed) in enumerate(
            zip(self.stages, self.checkpointed, strict=True)
        ):
            leading = [self.downsample_layers[level - 1]] if level > 0 else []
            x = apply_blocks([*leading, *stage.children()], x, checkpointed=checkpointed)
            skips.append(x)
        return skips


class MedNeXtDecoder(nn.Module):
    """Upsampling blocks, whose results are added to the skips, and stages; index 0 is the deepest.

    Args:
        parts: What it is made of.
        num_classes: Channels of the logits.
        deep_supervision: Whether logits of all levels are returned.
    """

    def __init__(self, parts: _Parts, num_classes: int, *, deep_supervision: bool) -> None:
        super().__init__()
        topology = parts.topology
        self.deep_supervision = deep_supervision
        levels = range(topology.n_stages - 2, -1, -1)
        self.checkpointed = [parts.checkpointed[level] for level in levels]
        self.upsample_layers = nn.ModuleList(map(parts.up, levels))
        self.stages = nn.ModuleList(map(parts.stage, levels, topology.n_conv_decoder))
        heads = [parts.conv_op(topology.features[level], num_classes, 1) for level in levels]
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, skips: list[Tensor]) -> list[Tensor] | Tensor:
        """Return logits at full resolution, or with deep supervision a list of all levels."""
        x = skips[-1]
        last = len(self.stages) - 1
        logits: list[Tensor] = []
        for s, (upsample, stage) in enumerate(zip(self.upsample_layers, self.stages, strict=True)):
            checkpointed = self.checkpointed[s]
            x = apply_blocks([upsample], x, checkpointed=checkpointed)
            x = derive(torch.add, x, skips[-(s + 2)])
            x = apply_blocks(stage.children(), x, checkpointed=checkpointed)
            if self.deep_supervision or s == last:
                logits.append(self.seg_layers[s](x))
        return logits[::-1] if self.deep_supervision else logits[-1]


class UMambaMedNeXt(PlannedNetwork):
    """MedNeXt with the stages and strides that nnU-Net planned, for 2D and 3D.

    Where a plan has five stages and a stride of two along every axis, it is the authors' network,
    and their weights load. Norms and activations are its own, so that it takes no keywords for
    them. The kernel of a stage is also that of the blocks that lead to it and back from it. There
    is no head on the deepest stage, for which nnU-Net has no target; the authors' is dropped.

    Arguments that are not here are documented in `PLAN_KEYWORDS`.

    Args:
        n_conv_per_stage: Blocks per encoder stage, besides the downsampling one.
        n_conv_per_stage_decoder: Blocks per decoder stage, deepest first, besides the upsampling.
        expansion: Ratio of the channels inside a block to those outside, per stage.
        activation_checkpointing: `none`, `norms`, or `blocks`, as the authors have it for M and L.

    Raises:
        PlansError: If the keywords do not fit together.

    Source:
        Roy et al. 2023, arXiv:2303.09975; details after MIC-DKFZ/MedNeXt at 02583e3.
    """

    normalises_instances = True

    def __init__(
        self,
        *,
        input_channels: int,
        num_classes: int,
        n_stages: int,
        features_per_stage: int | Sequence[int],
        conv_op: type[nn.Module],
        kernel_sizes: int | Sequence[int] | Sequence[Sequence[int]],
        strides: int | Sequence[int] | Sequence[Sequence[int]],
        n_conv_per_stage: int | Sequence[int] = 2,
        n_conv_per_stage_decoder: int | Sequence[int] = 2,
        expansion: int | Sequence[int] = 2,
        deep_supervision: bool = False,
        activation_checkpointing: str = "none",
    ) -> None:
        super().__init__()
        check_activation_checkpointing(activation_checkpointing, self)
        self.recomputes_norms = activation_checkpointing == "norms"
        check_counts(input_channels=input_channels, num_classes=num_classes)
        self.topology = Topology.from_plan(
            n_stages=n_stages,
            features_per_stage=features_per_stage,
            conv_op=conv_op,
            kernel_sizes=kernel_sizes,
            strides=strides,
            n_conv_per_stage=n_conv_per_stage,
            n_conv_per_stage_decoder=n_conv_per_stage_decoder,
        )
        self.input_channels = input_channels
        parts = _Parts(
            self.topology,
            conv_op,
            per_stage("expansion", expansion, n_stages),
            tuple(self.topology.checkpointed_levels(activation_checkpointing)),
        )
        self.encoder = MedNeXtEncoder(parts, input_channels)
        self.decoder = MedNeXtDecoder(parts, num_classes, deep_supervision=deep_supervision)

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Leave torch's initialisation, as the authors do."""

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> list[Float[Tensor, "batch classes *_"]] | Float[Tensor, "batch classes *spatial"]:
        """Segment a batch of patches.

        Args:
            x: Images; the spatial shape must be divisible by the total stride.

        Returns:
            Logits; with deep supervision a list of them, full resolution first.

        Raises:
            PlansError: If the patch does not fit.
        """
        self._check_input(x)
        with recomputing(self, enabled=self.recomputes_norms):
            logits: list[Tensor] | Tensor = self.decoder(self.encoder(x))
        return logits

    def with_resampled_kernels(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights of this network with depthwise kernels of another size resampled to ours.

        Training with large kernels begins well from weights with small ones.

        Args:
            weights: The weights by name; not changed.

        Source:
            Roy et al. 2023, arXiv:2303.09975, section 2.3 (UpKern).
        """
        own = self.state_dict()
        resampled = dict(weights)
        mode = LINEAR[self.topology.dim]
        for name in own.keys() & weights.keys():
            theirs, size = weights[name], own[name].shape
            if name.endswith("conv1.weight") and theirs.shape[:2] == size[:2]:
                resampled[name] = F.interpolate(theirs, size[2:], mode=mode)
        return resampled

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        if f"{prefix}stem.weight" in state_dict:  # only the authors' files have it here
            theirs = [key for key in state_dict if key.startswith(prefix)]
            for key in theirs:
                weight = state_dict.pop(key)
                own = _own_name(key.removeprefix(prefix), self.topology.n_stages)
                if own is not None:
                    # Their heads are transposed convolutions.
                    is_head = ".seg_layers." in own and own.endswith("weight")
                    state_dict[prefix + own] = weight.transpose(0, 1) if is_head else weight
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _own_name(theirs: str, n_stages: int) -> str | None:
    """Return our name of a weight of the authors; `None` if we have none such."""
    matched = _AUTHORS_NAME.fullmatch(theirs)
    if matched is None:  # a parameter for torch's checkpointing
        return None
    kind, number, rest = matched[1], int(matched[2] or 0), matched[3]
    from_deepest = n_stages - 2 - number
    if kind == "out" and from_deepest < 0:
        return None
    return {
        "stem": f"encoder.stem.{rest}",
        "enc_block": f"encoder.stages.{number}.{rest}",
        "bottleneck": f"encoder.stages.{n_stages - 1}.{rest}",
        "down": f"encoder.downsample_layers.{number}.{rest}",
        "up": f"decoder.upsample_layers.{from_deepest}.{rest}",
        "dec_block": f"decoder.stages.{from_deepest}.{rest}",
        "out": f"decoder.seg_layers.{from_deepest}.{rest.removeprefix('conv_out.')}",
    }.get(kind, theirs)
