"""SegResNet and SwinUNETR as MONAI has them, with nnU-Net's keywords and training contract.

Their topology is MONAI's, whatever a plan says of kernels, stages and blocks.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umamba.errors import PlansError
from umamba.layers.activation_checkpointing import check_activation_checkpointing
from umamba.networks.contract import PlannedNetwork, Topology, check_counts
from umamba.networks.paired_parts import Supervision
from umamba.patches import total_stride

__all__ = ["UMambaSegResNet", "UMambaSwinUNETR"]

# Keywords of nnU-Net's plans that describe only its own U-Net.
_WITHOUT_EFFECT = {
    "n_stages",
    "kernel_sizes",
    "n_conv_per_stage",
    "n_conv_per_stage_decoder",
    "conv_bias",
    "norm_op",
    "norm_op_kwargs",
    "dropout_op",
    "dropout_op_kwargs",
    "nonlin",
    "nonlin_kwargs",
}


class MonaiNetwork(PlannedNetwork):
    """Base of MONAI's networks: `network` is MONAI's module, and its weights load into it.

    There are logits at full resolution only; with deep supervision they come as a list of one.
    nnU-Net trains them with SGD and mixed precision; the U-Mamba paper's comparison trained
    SegResNet with Adam and SwinUNETR with AdamW, without.

    Arguments that are not here are documented in `PLAN_KEYWORDS`.

    Args:
        features_per_stage: Channels at full resolution, or a sequence that begins with them; those
            of the other resolutions follow from them.
        strides: Stride per entry and axis, whose product is `reduction` on every axis. nnU-Net
            makes its targets by them, and weighs the loss at full resolution in full where there
            are three.
        deep_supervision: Whether `forward` returns a list.
        activation_checkpointing: Whether blocks are computed again in the backward, `none` or
            `blocks`, where the network can.
        **without_effect: Further keywords of nnU-Net's plans, which describe its own U-Net.

    Raises:
        PlansError: If the keywords do not fit, or MONAI is not installed.
    """

    reduction: ClassVar[int]  # of the deepest feature map, on every axis
    width_step: ClassVar[int]  # the channels at full resolution are a multiple of it
    can_checkpoint: ClassVar[bool]

    def __init__(
        self,
        *,
        input_channels: int,
        num_classes: int,
        conv_op: type[nn.Module],
        features_per_stage: int | Sequence[int],
        strides: Sequence[int] | Sequence[Sequence[int]],
        deep_supervision: bool = False,
        activation_checkpointing: str = "none",
        **without_effect: Any,
    ) -> None:
        super().__init__()
        choices = ("none", "blocks") if self.can_checkpoint else ("none",)
        check_activation_checkpointing(activation_checkpointing, self, choices)
        unknown = sorted(set(without_effect) - _WITHOUT_EFFECT)
        if unknown:
            msg = f"{type(self).__name__} has no keyword {', '.join(unknown)}; leave it out"
            raise PlansError(msg)
        check_counts(input_channels=input_channels, num_classes=num_classes)
        self.input_channels = input_channels
        # Only its checks of axes, strides and patches matter here.
        self.topology = Topology.from_plan(
            n_stages=len(strides),
            features_per_stage=1,
            conv_op=conv_op,
            kernel_sizes=3,
            strides=strides,
            n_conv_per_stage=1,
            n_conv_per_stage_decoder=1,
        )
        self._check_topology()
        self.network = self._build(
            in_channels=input_channels,
            out_channels=num_classes,
            spatial_dims=self.topology.dim,
            width=self._checked_width(features_per_stage),
            checkpointed=activation_checkpointing == "blocks",
        )
        self.decoder = Supervision(deep_supervision=deep_supervision)

    def _build(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_dims: int,
        width: int,
        checkpointed: bool,
    ) -> nn.Module:
        """Return MONAI's module."""
        raise NotImplementedError

    def _check_topology(self) -> None:
        if self.topology.dim not in (2, 3):
            msg = f"{type(self).__name__} is for images with 2 or 3 axes; use Conv2d or Conv3d"
            raise PlansError(msg)
        given = total_stride(self.topology.strides)
        if set(given) != {self.reduction}:
            msg = (
                f"{type(self).__name__} reduces every axis by {self.reduction}, but its strides "
                f"multiply to {list(given)}; `umamba plan` writes strides that fit"
            )
            raise PlansError(msg)

    def _checked_width(self, features: int | Sequence[int]) -> int:
        width = features if isinstance(features, int) else next(iter(features), 0)
        if width < 1 or width % self.width_step:
            msg = (
                f"features_per_stage of {type(self).__name__} begins with {width}, but must begin "
                f"with a multiple of {self.width_step}: plan it with --features "
                f"{max(1, round(width / self.width_step)) * self.width_step}"
            )
            raise PlansError(msg)
        return width

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Leave a module as MONAI initialised it."""

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> list[Float[Tensor, "batch classes *spatial"]] | Float[Tensor, "batch classes *spatial"]:
        """Segment a batch of patches.

        Args:
            x: Images; `reduction` must divide every axis.

        Returns:
            Logits; with deep supervision a list of one.

        Raises:
            PlansError: If the patch does not fit.
        """
        self._check_input(x)
        logits: Tensor = self.network(x)
        return [logits] if self.decoder.deep_supervision else logits


class UMambaSegResNet(MonaiNetwork):
    """MONAI's SegResNet: residual blocks, an encoder that is deeper than its decoder.

    Blocks, normalisation and upsampling are MONAI's defaults, as in the U-Mamba paper's
    comparison, which has 32 channels at full resolution. The paper's variational branch, which
    only its training has, is left out, and so is its dropout.

    Args:
        **plan: Keywords of nnU-Net's plans, as in `MonaiNetwork`; channels in multiples of 8,
            doubled at every further resolution.

    Source:
        Myronenko 2018, arXiv:1810.11654; Ma, Li and Wang 2024, arXiv:2401.04722.
    """

    reduction = 8
    width_step = 8
    can_checkpoint = False

    def _build(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_dims: int,
        width: int,
        checkpointed: bool,  # noqa: ARG002 - refused before
    ) -> nn.Module:
        network: nn.Module = _monai().SegResNet(
            in_channels=in_channels,
            out_channels=out_channels,
            spatial_dims=spatial_dims,
            init_filters=width,
        )
        return network


class UMambaSwinUNETR(MonaiNetwork):
    """MONAI's SwinUNETR: a Swin transformer as encoder, a convolutional decoder.

    Depths, heads, windows and normalisation are MONAI's defaults, version 1 of the network. Any
    patch of multiples of 32 fits the weights.

    Args:
        **plan: Keywords of nnU-Net's plans, as in `MonaiNetwork`; channels (the size of the
            embedding, 48 in the paper) in multiples of 12. `activation_checkpointing: blocks`
            computes the transformer blocks again.

    Source:
        Hatamizadeh et al. 2022, arXiv:2201.01266.
    """

    reduction = 32
    width_step = 12
    can_checkpoint = True
    normalises_instances = True

    def _build(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_dims: int,
        width: int,
        checkpointed: bool,
    ) -> nn.Module:
        device = torch.get_default_device()
        with torch.device("cpu"):  # it reads numbers from tensors, which meta tensors do not hold
            network: nn.Module = _monai().SwinUNETR(
                in_channels=in_channels,
                out_channels=out_channels,
                spatial_dims=spatial_dims,
                feature_size=width,
                use_checkpoint=checkpointed,
            )
        return network.to(device)


def _monai() -> Any:
    """Return MONAI's networks, imported only where one is built."""
    try:
        from monai.networks import nets
    except ImportError as error:
        msg = (
            f"this network is MONAI's, which cannot be imported ({error}); run "
            "`pip install 'umamba[monai]'`"
        )
        raise PlansError(msg) from error
    return nets
