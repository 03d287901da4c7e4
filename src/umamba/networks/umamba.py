"""U-Mamba: a residual U-Net with Mamba in the bottleneck or in every encoder stage.

Source: Ma, Li and Wang 2024, arXiv:2401.04722.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from umamba.errors import PlansError
from umamba.layers.conv_blocks import ConvStyle, residual_stage
from umamba.layers.mamba_layer import MambaLayer
from umamba.networks.contract import PlannedNetwork, Topology

__all__ = ["UMambaBot", "UMambaEnc"]

VARIANTS = ("official", "paper")


class _NearestUpsample(nn.Module):
    """Nearest-neighbour interpolation, then a 1x1 convolution."""

    def __init__(
        self, style: ConvStyle, input_channels: int, output_channels: int, stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.stride = tuple(float(s) for s in stride)
        self.conv = style.pointwise(input_channels, output_channels)

    def forward(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        upsampled: Tensor = self.conv(F.interpolate(x, scale_factor=self.stride, mode="nearest"))
        return upsampled


class _Encoder(nn.Module):
    """Residual stages, each followed by its Mamba layer where it has one."""

    def __init__(
        self,
        topology: Topology,
        style: ConvStyle,
        input_channels: int,
        n_blocks: tuple[int, ...],
        mamba_layers: Sequence[nn.Module] | None,
        *,
        official: bool,
    ) -> None:
        super().__init__()
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
        stages = []
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
            x = self.stem(x)
        skips = []
        for s, stage in enumerate(self.stages):
            x = stage(x)
            if self.mamba_layers is not None:
                x = self.mamba_layers[s](x)
            skips.append(x)
        return skips


class _Decoder(nn.Module):
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
    ) -> None:
        super().__init__()
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
                x = torch.cat((x, skips[-(s + 2)]), dim=1)
            x = stage(x)
            if self.deep_supervision or s == last:
                outputs.append(self.seg_layers[s](x))
        return outputs[::-1] if self.deep_supervision else outputs[-1]


class _UMamba(PlannedNetwork):
    """What `UMambaBot` and `UMambaEnc` share: everything but where Mamba stands."""

    def __init__(
        self,
        topology: Topology,
        style: ConvStyle,
        input_channels: int,
        num_classes: int,
        *,
        variant: str,
        deep_supervision: bool,
        mamba_layers: Sequence[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            msg = f"variant {variant!r} does not exist; choose one of {', '.join(VARIANTS)}"
            raise PlansError(msg)
        official = variant == "official"
        n_blocks, n_blocks_decoder = topology.n_conv, topology.n_conv_decoder
        if official:
            n_blocks, n_blocks_decoder = _official_block_counts(n_blocks, n_blocks_decoder)
        self.topology = topology
        self.input_channels = input_channels
        self.variant = variant
        self.encoder = _Encoder(
            topology, style, input_channels, n_blocks, mamba_layers, official=official
        )
        self.decoder = _Decoder(
            topology,
            style,
            num_classes,
            n_blocks_decoder,
            official=official,
            deep_supervision=deep_supervision,
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # The authors' files hold many weights twice: the encoder again below the decoder, and
        # every convolution again as part of a sequential. Those copies are dropped.
        for key in list(state_dict):
            own = key.removeprefix(prefix)
            if own.startswith("decoder.encoder.") or ".all_modules." in own:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class UMambaBot(_UMamba):
    """U-Mamba with one Mamba layer in the bottleneck, for 2D and 3D.

    Keywords are those of nnU-Net's plans. Two variants:

    - `official` is the authors' released code, number for number, so that their checkpoints
      load: full resolution is processed by a stem and a stage, deep stages and the upper
      decoder have one block, upsampling is nearest plus a 1x1 convolution, the 2D decoder does
      not use the top skip, nothing is added around Mamba.
    - `paper` is the network of the paper's text and figure 1 inside nnU-Net's plan: one stage
      per resolution, transposed convolutions, all skips. Where the paper is silent: the number
      of blocks is the plan's (`umamba plan` writes two per encoder stage, as in figure 1b, and
      as many convolutions per decoder stage as nnU-Net); the first block of a stage carries its
      stride, as in nnU-Net; and the tokens are added to what Mamba makes of them, as Gu and Dao
      do around every Mamba block, so that a layer which has learnt nothing changes nothing and
      gradients reach the convolutions unhindered.

    Args:
        input_channels: Channels of the image.
        num_classes: Segmentation heads: classes with background, or regions.
        n_stages: Number of resolutions.
        features_per_stage: Channels at every resolution.
        conv_op: `torch.nn.Conv2d` or `Conv3d`; decides the number of image axes.
        kernel_sizes: Kernel size per stage and axis.
        strides: Stride per stage and axis; the product must divide the patch.
        n_conv_per_stage: Residual blocks per encoder stage.
        n_conv_per_stage_decoder: Residual blocks per decoder stage, deepest first.
        conv_bias: Whether convolutions have a bias.
        norm_op: Normalisation; `None` is affine instance normalisation.
        norm_op_kwargs: Its keywords.
        dropout_op: Dropout after the first convolution of a block; `None` is no dropout.
        dropout_op_kwargs: Its keywords.
        nonlin: Nonlinearity; `None` is a leaky ReLU of slope 0.01.
        nonlin_kwargs: Its keywords.
        deep_supervision: Whether `forward` returns logits at every decoder level.
        variant: `paper` or `official`.
        backend: Backend of `umamba.selective_scan`.

    Raises:
        PlansError: If the keywords do not fit together.

    Source:
        Ma et al. 2024, arXiv:2401.04722, section 2 and figure 1; `official` after
        bowang-lab/U-Mamba at 28459e3.
    """

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
        n_conv_per_stage_decoder: int | Sequence[int] = 1,
        conv_bias: bool = True,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict[str, Any] | None = None,
        dropout_op: type[nn.Module] | None = None,
        dropout_op_kwargs: dict[str, Any] | None = None,
        nonlin: type[nn.Module] | None = None,
        nonlin_kwargs: dict[str, Any] | None = None,
        deep_supervision: bool = False,
        variant: str = "paper",
        backend: str | None = None,
    ) -> None:
        topology = Topology.from_plan(
            n_stages=n_stages,
            features_per_stage=features_per_stage,
            conv_op=conv_op,
            kernel_sizes=kernel_sizes,
            strides=strides,
            n_conv_per_stage=n_conv_per_stage,
            n_conv_per_stage_decoder=n_conv_per_stage_decoder,
        )
        style = ConvStyle(
            conv_op,
            conv_bias,
            norm_op,
            dict(norm_op_kwargs or {}),
            dropout_op,
            dict(dropout_op_kwargs or {}),
            nonlin,
            dict(nonlin_kwargs or {}),
        )
        super().__init__(
            topology,
            style,
            input_channels,
            num_classes,
            variant=variant,
            deep_supervision=deep_supervision,
        )
        self.mamba_layer = MambaLayer(
            topology.features[-1], residual=variant == "paper", backend=backend
        )

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> list[Float[Tensor, "batch classes *_"]] | Float[Tensor, "batch classes *spatial"]:
        """Segment a batch of patches.

        Args:
            x: Images; the spatial shape must be divisible by the total stride.

        Returns:
            Logits; with deep supervision a list of them, full resolution first.

        Raises:
            PlansError: If the strides do not divide the patch.
        """
        self._check_input(x)
        skips = self.encoder(x)
        skips[-1] = self.mamba_layer(skips[-1])
        logits: list[Tensor] | Tensor = self.decoder(skips)
        return logits


class UMambaEnc(_UMamba):
    """U-Mamba with a Mamba layer after every encoder stage, for 2D and 3D.

    Variants, keywords and decisions are those of `UMambaBot`; every Mamba output is both skip
    and input of the next stage. In `official`, besides:

    - the 2D network has Mamba in every second stage only, the deepest being one of them;
    - where a feature map has at most as many voxels as channels, the tokens are the channels.
      Those weights fit one patch size, so `input_size` must be given.

    Args:
        input_channels: Channels of the image.
        num_classes: Segmentation heads: classes with background, or regions.
        n_stages: Number of resolutions.
        features_per_stage: Channels at every resolution.
        conv_op: `torch.nn.Conv2d` or `Conv3d`; decides the number of image axes.
        kernel_sizes: Kernel size per stage and axis.
        strides: Stride per stage and axis; the product must divide the patch.
        n_conv_per_stage: Residual blocks per encoder stage.
        n_conv_per_stage_decoder: Residual blocks per decoder stage, deepest first.
        input_size: Patch size; `official` needs it, `paper` takes none.
        conv_bias: Whether convolutions have a bias.
        norm_op: Normalisation; `None` is affine instance normalisation.
        norm_op_kwargs: Its keywords.
        dropout_op: Dropout after the first convolution of a block; `None` is no dropout.
        dropout_op_kwargs: Its keywords.
        nonlin: Nonlinearity; `None` is a leaky ReLU of slope 0.01.
        nonlin_kwargs: Its keywords.
        deep_supervision: Whether `forward` returns logits at every decoder level.
        variant: `paper` or `official`.
        backend: Backend of `umamba.selective_scan`.

    Raises:
        PlansError: If the keywords do not fit together.

    Source:
        Ma et al. 2024, arXiv:2401.04722, section 2 and figure 1; `official` after
        bowang-lab/U-Mamba at 28459e3.
    """

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
        n_conv_per_stage_decoder: int | Sequence[int] = 1,
        input_size: Sequence[int] | None = None,
        conv_bias: bool = True,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict[str, Any] | None = None,
        dropout_op: type[nn.Module] | None = None,
        dropout_op_kwargs: dict[str, Any] | None = None,
        nonlin: type[nn.Module] | None = None,
        nonlin_kwargs: dict[str, Any] | None = None,
        deep_supervision: bool = False,
        variant: str = "paper",
        backend: str | None = None,
    ) -> None:
        topology = Topology.from_plan(
            n_stages=n_stages,
            features_per_stage=features_per_stage,
            conv_op=conv_op,
            kernel_sizes=kernel_sizes,
            strides=strides,
            n_conv_per_stage=n_conv_per_stage,
            n_conv_per_stage_decoder=n_conv_per_stage_decoder,
        )
        style = ConvStyle(
            conv_op,
            conv_bias,
            norm_op,
            dict(norm_op_kwargs or {}),
            dropout_op,
            dict(dropout_op_kwargs or {}),
            nonlin,
            dict(nonlin_kwargs or {}),
        )
        if variant == "official":
            sizes = _feature_map_sizes(topology, input_size)
            layers = _official_mamba_layers(topology, sizes, backend)
        else:
            if input_size is not None:
                msg = (
                    "input_size is for variant 'official' only: the weights of 'paper' do not "
                    "depend on the patch. Leave it out."
                )
                raise PlansError(msg)
            layers = [MambaLayer(f, residual=True, backend=backend) for f in topology.features]
        super().__init__(
            topology,
            style,
            input_channels,
            num_classes,
            variant=variant,
            deep_supervision=deep_supervision,
            mamba_layers=layers,
        )
        tied = any(isinstance(layer, MambaLayer) and layer.channel_tokens for layer in layers)
        self.fixed_patch = tuple(input_size) if tied and input_size is not None else None

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> list[Float[Tensor, "batch classes *_"]] | Float[Tensor, "batch classes *spatial"]:
        """Segment a batch of patches.

        Args:
            x: Images; the spatial shape must be divisible by the total stride, and be
                `input_size` where the weights depend on it.

        Returns:
            Logits; with deep supervision a list of them, full resolution first.

        Raises:
            PlansError: If the patch does not fit.
        """
        self._check_input(x)
        if self.fixed_patch is not None and tuple(x.shape[2:]) != self.fixed_patch:
            msg = (
                f"the weights of this network fit patch_size {list(self.fixed_patch)} only "
                f"(channel tokens of variant 'official'); got a patch of {list(x.shape[2:])}. "
                "Use that patch_size, or variant 'paper'."
            )
            raise PlansError(msg)
        logits: list[Tensor] | Tensor = self.decoder(self.encoder(x))
        return logits


def _official_block_counts(
    encoder: tuple[int, ...], decoder: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Reduce the deep half of the encoder and the upper part of the decoder to one block."""
    n = len(encoder)
    from_stage = math.ceil(n / 2)
    from_index = math.ceil((n - 1) / 2 + 0.5)
    return (
        encoder[:from_stage] + (1,) * (n - from_stage),
        decoder[:from_index] + (1,) * (n - 1 - from_index),
    )


def _feature_map_sizes(
    topology: Topology, input_size: Sequence[int] | None
) -> list[tuple[int, ...]]:
    """Return the spatial shape after every stage."""
    if input_size is None:
        msg = (
            "variant 'official' of UMambaEnc needs input_size, the patch size: its deep Mamba "
            "layers are as wide as their feature maps. `umamba plan` writes it into the plans."
        )
        raise PlansError(msg)
    topology.check_patch(input_size)
    sizes = []
    size = tuple(input_size)
    for stride in topology.strides:
        size = tuple(axis // step for axis, step in zip(size, stride, strict=True))
        sizes.append(size)
    return sizes


def _official_mamba_layers(
    topology: Topology, sizes: list[tuple[int, ...]], backend: str | None
) -> list[nn.Module]:
    """Build the Mamba layers of the authors' encoder, with identities where there are none."""
    layers: list[nn.Module] = []
    last = topology.n_stages - 1
    for s, (features, size) in enumerate(zip(topology.features, sizes, strict=True)):
        voxels = math.prod(size)
        if topology.dim == 2 and (last - s) % 2:
            layers.append(nn.Identity())
        elif voxels <= features:
            layers.append(MambaLayer(voxels, channel_tokens=True, backend=backend))
        else:
            layers.append(MambaLayer(features, backend=backend))
    return layers
