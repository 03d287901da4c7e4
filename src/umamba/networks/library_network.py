"""The base of networks that other packages have, with nnU-Net's keywords and training contract.

Their topology is their own, whatever a plan says of kernels, stages and blocks.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from umamba.errors import PlansError
from umamba.layers.activation_checkpointing import check_activation_checkpointing
from umamba.networks.contract import PlannedNetwork, Topology, check_counts
from umamba.networks.paired_parts import Supervision
from umamba.patches import total_stride

__all__ = ["LibraryNetwork"]

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


class LibraryNetwork(PlannedNetwork):
    """Base of networks from other packages: `network` is theirs, and its weights load into it.

    A subclass checks its width and sets `network` once the other keywords are checked. There
    are logits at full resolution only; with deep supervision they come as a list of one.

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

    Attributes:
        width: Channels at full resolution, or what else `features_per_stage` begins with.
        checkpointed: Whether blocks are computed again.

    Raises:
        PlansError: If the keywords do not fit.
    """

    reduction: ClassVar[int]  # of the deepest feature map, on every axis
    can_checkpoint: ClassVar[bool]
    dims: ClassVar[tuple[int, ...]] = (2, 3)
    traced_for_one_patch: ClassVar[bool] = False  # as torch cannot trace it for any
    network: nn.Module

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
        check_activation_checkpointing(activation_checkpointing, self, choices=choices)
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
        widths = features_per_stage
        self.width = widths if isinstance(widths, int) else next(iter(widths), 0)
        self.checkpointed = activation_checkpointing == "blocks"
        self.decoder = Supervision(deep_supervision=deep_supervision)

    def _check_topology(self) -> None:
        if self.topology.dim not in self.dims:
            axes = " or ".join(map(str, self.dims))
            operators = " or ".join(f"Conv{dim}d" for dim in self.dims)
            msg = f"{type(self).__name__} is for images with {axes} axes; use {operators}"
            raise PlansError(msg)
        given = total_stride(self.topology.strides)
        if set(given) != {self.reduction}:
            msg = (
                f"{type(self).__name__} reduces every axis by {self.reduction}, but its strides "
                f"multiply to {list(given)}; `umamba plan` writes strides that fit"
            )
            raise PlansError(msg)

    def _check_width(self, step: int) -> None:
        """Check that the channels are a multiple of a number."""
        if self.width < 1 or self.width % step:
            msg = (
                f"features_per_stage of {type(self).__name__} begins with {self.width}, but must "
                f"begin with a multiple of {step}: plan it with --features "
                f"{max(1, round(self.width / step)) * step}"
            )
            raise PlansError(msg)

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Leave a module as its package initialised it."""

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
