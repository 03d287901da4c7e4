"""The base of networks that build on nnU-Net's plain U-Net: its keywords and its encoder."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from umamba.layers.activation_checkpointing import apply_blocks, check_activation_checkpointing
from umamba.layers.conv_blocks import ConvStyle, plain_stage
from umamba.layers.recomputation import recomputing
from umamba.networks.contract import (
    PlannedNetwork,
    Topology,
    check_counts,
    check_module_classes,
)

__all__ = ["PlainEncoder", "PlainUNet"]


class PlainEncoder(nn.Module):
    """Stacks of convolutions; the first of each carries the stride.

    Args:
        topology: Stages, features, kernels, strides.
        style: What the convolutions are made of.
        input_channels: Channels of the image.
        checkpointed: For every stage, whether the backward computes its blocks again.

    Source:
        Isensee et al. 2021, doi:10.1038/s41592-020-01008-z.
    """

    def __init__(
        self,
        topology: Topology,
        style: ConvStyle,
        input_channels: int,
        checkpointed: Sequence[bool],
    ) -> None:
        super().__init__()
        self.checkpointed = tuple(checkpointed)
        stages: list[nn.Sequential] = []
        channels = input_channels
        for features, kernel, stride, n in zip(
            topology.features,
            topology.kernel_sizes,
            topology.strides,
            topology.n_conv,
            strict=True,
        ):
            stages.append(plain_stage(style, n, channels, features, kernel, stride))
            channels = features
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Float[Tensor, "batch _ *_"], n_stages: int | None = None) -> list[Tensor]:
        """Return the outputs of the first `n_stages` stages (default: all), finest first."""
        skips = []
        for stage, checkpointed in list(zip(self.stages, self.checkpointed, strict=True))[
            :n_stages
        ]:
            x = apply_blocks(stage.children(), x, checkpointed=checkpointed)
            skips.append(x)
        return skips


class PlainUNet(PlannedNetwork):
    """Base of networks that change the decoder or the skips of nnU-Net's plain U-Net.

    A subclass builds its decoder, a module that maps the encoder's outputs to logits, in
    `_build_decoder`.

    Arguments that are not here are documented in `PLAN_KEYWORDS`.

    Args:
        n_conv_per_stage: Convolutions per encoder stage.
        n_conv_per_stage_decoder: Convolutions per decoder stage, deepest first.
        dropout_op: Dropout after every convolution; `None` means no dropout.
        activation_checkpointing: `none`, `norms`, or `blocks`, which are the convolutions of a
            stage.

    Raises:
        PlansError: If the keywords do not fit together.
    """

    decoder: nn.Module

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
        conv_bias: bool = True,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict[str, Any] | None = None,
        dropout_op: type[nn.Module] | None = None,
        dropout_op_kwargs: dict[str, Any] | None = None,
        nonlin: type[nn.Module] | None = None,
        nonlin_kwargs: dict[str, Any] | None = None,
        deep_supervision: bool = False,
        activation_checkpointing: str = "none",
    ) -> None:
        super().__init__()
        check_counts(input_channels=input_channels, num_classes=num_classes)
        check_module_classes(norm_op=norm_op, dropout_op=dropout_op, nonlin=nonlin)
        check_activation_checkpointing(
            activation_checkpointing, self, norm_op, norm_op_kwargs, nonlin
        )
        self.topology = Topology.from_plan(
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
        self.input_channels = input_channels
        self.normalises_instances = isinstance(style.norm(1), _InstanceNorm)
        self.recomputes_norms = activation_checkpointing == "norms"
        checkpointed = self.topology.checkpointed_levels(activation_checkpointing)
        self.encoder = PlainEncoder(self.topology, style, input_channels, checkpointed)
        self.decoder = self._build_decoder(style, num_classes, deep_supervision, checkpointed)

    def _build_decoder(
        self,
        style: ConvStyle,
        num_classes: int,
        deep_supervision: bool,  # noqa: FBT001 - internal, always from the constructor
        checkpointed: list[bool],
    ) -> nn.Module:
        """Return the module that maps the encoder's outputs, finest first, to logits."""
        raise NotImplementedError

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
