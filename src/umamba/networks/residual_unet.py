"""The two halves of U-Mamba's residual U-Net, for both variants and any number of axes."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from umamba.layers.activation_checkpointing import apply_blocks
from umamba.layers.conv_blocks import ConvStyle, concatenate, residual_stage
from umamba.layers.recomputation import derive, keep
from umamba.networks.contract import Topology

__all__ = ["ResidualDecoder", "ResidualEncoder"]


class _NearestUpsample(nn.Module):
    """Nearest-neighbour interpolation, then a 1x1 convolution."""

    def __init__(
        self, style: ConvStyle, input_channels: int, output_channels: int, stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.stride = tuple(float(s) for s in stride)
        self.conv = style.pointwise(input_channels, output_channels)

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        upsampled: Tensor = self.conv(derive(self._interpolate, x))
        return upsampled

    def _interpolate(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.stride, mode="nearest")


class ResidualEncoder(nn.Module):
    """Residual stages, each followed by its Mamba layer, or its replacement, where it has one."""

    def __init__(
        self,
        topology: Topology,
        style: ConvStyle,
        input_channels: int,
        n_blocks: tuple[int, ...],
        mamba_layers: Sequence[nn.Module] | None,
        *,
        official: bool,
        activation_checkpointing: str,
    ) -> None:
        super().__init__()
        self.checkpoint_blocks = topology.checkpointed_levels(activation_checkpointing)
        self.checkpoint_mamba = activation_checkpointing != "none"
        # The authors' blocks with a projection have a bias whatever the plan says.
        conv_bias = True if official else None
        channels = input_channels
        self.stem: nn.Sequential | None = None
        if official:
            self.stem = residual_stage(
                style,
                n_blocks[0],
                channels,
                topology.features[0],
                topology.kernel_sizes[0],
                conv_bias=conv_bias,
            )
            channels = topology.features[0]
        stages: list[nn.Sequential] = []
        for features, kernel, stride, n in zip(
            topology.features, topology.kernel_sizes, topology.strides, n_blocks, strict=True
        ):
            stages.append(
                residual_stage(style, n, channels, features, kernel, stride, conv_bias=conv_bias)
            )
            channels = features
        self.stages = nn.ModuleList(stages)
        self.mamba_layers = None if mamba_layers is None else nn.ModuleList(mamba_layers)

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> list[Tensor]:
        """Return the output of every stage, full resolution first."""
        if self.stem is not None:
            x = apply_blocks(self.stem, x, checkpointed=self.checkpoint_blocks[0])
        skips = []
        for s, stage in enumerate(self.stages):
            x = apply_blocks(stage.children(), x, checkpointed=self.checkpoint_blocks[s])
            if self.mamba_layers is not None:
                x = apply_blocks([self.mamba_layers[s]], x, checkpointed=self.checkpoint_mamba)
            skips.append(keep(x) if s < len(self.stages) - 1 else x)
        return skips


class ResidualDecoder(nn.Module):
    """Upsampling, skip connections and residual stages; index 0 is the deepest."""

    def __init__(
        self,
        topology: Topology,
        style: ConvStyle,
        num_classes: int,
        n_blocks: tuple[int, ...],
        *,
        official: bool,
        deep_supervision: bool,
        activation_checkpointing: str,
    ) -> None:
        super().__init__()
        levels = topology.checkpointed_levels(activation_checkpointing)
        self.checkpoint_blocks = levels[-2::-1]
        self.deep_supervision = deep_supervision
        # In the authors' 2D code the last decoder stage has no skip.
        self.uses_top_skip = not (official and topology.dim == 2)
        stages: list[nn.Module] = []
        upsample_layers: list[nn.Module] = []
        seg_layers: list[nn.Module] = []
        for s, n in enumerate(n_blocks):
            level = topology.n_stages - 2 - s
            below, features = topology.features[level + 1], topology.features[level]
            stride = topology.strides[level + 1]
            upsample_layers.append(
                _NearestUpsample(style, below, features, stride)
                if official
                else style.upsampling(below, features, stride)
            )
            concatenated = 2 * features if level > 0 or self.uses_top_skip else features
            stages.append(
                residual_stage(
                    style,
                    n,
                    concatenated,
                    features,
                    topology.kernel_sizes[level],
                    conv_bias=True if official else None,
                )
            )
            seg_layers.append(style.pointwise(features, num_classes))
        self.stages = nn.ModuleList(stages)
        self.upsample_layers = nn.ModuleList(upsample_layers)
        self.seg_layers = nn.ModuleList(seg_layers)

    def forward(self, skips: list[Tensor]) -> list[Tensor] | Tensor:
        """Return logits at full resolution, or with deep supervision a list of all levels."""
        x = skips[-1]
        last = len(self.stages) - 1
        outputs = []
        for s, (upsample, stage) in enumerate(zip(self.upsample_layers, self.stages, strict=True)):
            x = upsample(x)
            if s < last or self.uses_top_skip:
                x = concatenate(x, skips[-(s + 2)])
            # The backward begins with the last stage, while everything else is still kept; what
            # leads to its blocks' inputs would come on top.
            x = apply_blocks(
                stage.children(), x, checkpointed=self.checkpoint_blocks[s], keeps=s == last
            )
            if self.deep_supervision or s == last:
                outputs.append(self.seg_layers[s](x))
        return outputs[::-1] if self.deep_supervision else outputs[-1]
