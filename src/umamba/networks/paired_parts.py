"""The parts of UNETR++, for any number of axes and levels; keys are those of the authors' code."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umamba.layers.activation_checkpointing import apply_blocks
from umamba.layers.conv_blocks import INSTANCE_NORM, ConvStyle
from umamba.layers.paired_block import PairedAttentionBlock, SlimResidualBlock, wrapped
from umamba.layers.recomputation import derive
from umamba.networks.contract import Topology

__all__ = ["PairedEncoder", "PairedParts", "PairedUpBlock", "Supervision"]

_BATCH_NORM: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}


@dataclass(frozen=True)
class PairedParts:
    """A builder of the network's parts; level 0 is full resolution, the others have tokens."""

    topology: Topology
    style: ConvStyle
    patch_size: tuple[int, ...]
    num_heads: int
    attention_dropout: float
    channel_dropout: float
    scrambles_tokens: bool

    def n_tokens(self, level: int) -> int:
        """Return the number of voxels of the feature map at a level."""
        strides = self.topology.strides[: level + 1]
        return math.prod(self.patch_size) // math.prod(math.prod(stride) for stride in strides)

    def attention_blocks(self, level: int, n_blocks: int, projection_size: int) -> nn.Sequential:
        """Build the transformer blocks of a level, with the authors' BatchNorm by default."""
        blocks = [
            PairedAttentionBlock(
                self._style_with(_BATCH_NORM),
                self.topology.features[level],
                self.n_tokens(level),
                self.topology.kernel_sizes[level],
                projection_size=projection_size,
                num_heads=self.num_heads,
                attention_dropout=self.attention_dropout,
                channel_dropout=self.channel_dropout,
                scrambles_tokens=self.scrambles_tokens,
            )
            for _ in range(n_blocks)
        ]
        return nn.Sequential(*blocks)

    def convolutions(self, n_blocks: int, input_channels: int) -> list[nn.Module]:
        """Build the residual blocks at full resolution, by default with plain InstanceNorm."""
        style = self._style_with(INSTANCE_NORM)
        features = self.topology.features[0]
        channels = [input_channels] + [features] * (n_blocks - 1)
        kernel = self.topology.kernel_sizes[0]
        return [SlimResidualBlock(style, before, features, kernel) for before in channels]

    def downsampling(self, level: int, input_channels: int) -> nn.Sequential:
        """Build the patch embedding or merging into a level, by default with GroupNorm."""
        features, stride = self.topology.features[level], self.topology.strides[level]
        style = self.style
        conv = style.conv_op(input_channels, features, stride, stride, bias=style.conv_bias)
        if style.norm_op is not None:
            return nn.Sequential(wrapped(conv), style.norm(features))
        # The authors' number of groups is that of the input channels, where that is possible.
        return nn.Sequential(
            wrapped(conv), nn.GroupNorm(math.gcd(input_channels, features), features)
        )

    def _style_with(self, norms: dict[type[nn.Module], type[nn.Module]]) -> ConvStyle:
        # Neither needs keywords: torch's instance normalisation is not affine by default.
        if self.style.norm_op is not None:
            return self.style
        return replace(self.style, norm_op=norms[self.style.conv_op])


class PairedEncoder(nn.Module):
    """Patch embedding or merging, then transformer blocks, at every level but full resolution."""

    def __init__(
        self,
        parts: PairedParts,
        input_channels: int,
        projection_sizes: Sequence[int],
        *,
        checkpointed: bool,
    ) -> None:
        super().__init__()
        topology = parts.topology
        channels = (input_channels, *topology.features[1:])
        levels = range(1, topology.n_stages)
        self.checkpointed = checkpointed
        self.downsample_layers = nn.ModuleList(
            parts.downsampling(level, channels[level - 1]) for level in levels
        )
        self.stages = nn.ModuleList(
            parts.attention_blocks(level, topology.n_conv[level], projection_sizes[level - 1])
            for level in levels
        )

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> list[Tensor]:
        """Return the output of every level, finest first."""
        outputs = []
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = apply_blocks(stage.children(), downsample(x), checkpointed=self.checkpointed)
            outputs.append(x)
        return outputs


class PairedUpBlock(nn.Module):
    """Transposed convolution, addition of the skip, then blocks."""

    def __init__(
        self, upsampling: nn.Module, blocks: nn.Sequential, *, nested: bool, checkpointed: bool
    ) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.nested = nested  # as the authors' keys of transformer blocks are
        self.transp_conv = wrapped(upsampling)
        self.decoder_block = nn.Sequential(blocks) if nested else blocks

    def forward(
        self, x: Float[Tensor, "batch _ *_"], skip: Float[Tensor, "batch _ *_"]
    ) -> Float[Tensor, "batch _ *_"]:
        """Return the finer map."""
        blocks = self.decoder_block[0] if self.nested else self.decoder_block
        return apply_blocks(
            blocks.children(),
            derive(torch.add, self.transp_conv(x), skip),
            checkpointed=self.checkpointed,
        )


class Supervision(nn.Module):
    """The switch that nnU-Net sets: whether there are logits at every supervised level."""

    def __init__(self, *, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
