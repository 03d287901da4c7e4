"""The contract between nnU-Net and a network, and the shape that every network gets from a plan."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from umamba.errors import PlansError
from umamba.patches import describe_misfit

__all__ = ["PlannedNetwork", "Topology", "check_counts", "check_module_classes", "per_stage"]

_Sizes = int | Sequence[int] | Sequence[Sequence[int]]
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_COUNTED = {
    F.linear,
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
    torch.bmm,
    torch.matmul,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
}
_DIMENSIONS = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}


@dataclass(frozen=True)
class Topology:
    """The shape of a U-Net as a plan gives it, checked and copied to tuples.

    `kernel_sizes` and `strides` have one entry per stage and image axis.
    """

    dim: int
    features: tuple[int, ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    n_conv: tuple[int, ...]
    n_conv_decoder: tuple[int, ...]

    @property
    def n_stages(self) -> int:
        """Return the number of resolutions."""
        return len(self.features)

    @classmethod
    def from_plan(
        cls,
        *,
        n_stages: int,
        features_per_stage: int | Sequence[int],
        conv_op: type[nn.Module],
        kernel_sizes: _Sizes,
        strides: _Sizes,
        n_conv_per_stage: int | Sequence[int],
        n_conv_per_stage_decoder: int | Sequence[int],
    ) -> "Topology":
        """Check the keywords of a plan; a single number stands for every stage or axis.

        Raises:
            PlansError: If a keyword has the wrong length or an impossible value.
        """
        if conv_op not in _DIMENSIONS:
            msg = f"conv_op must be Conv1d, Conv2d or Conv3d of torch.nn; got {conv_op!r}"
            raise PlansError(msg)
        if n_stages < 2:
            msg = f"n_stages must be at least 2; got {n_stages}"
            raise PlansError(msg)
        dim = _DIMENSIONS[conv_op]
        decoder = ("n_conv_per_stage_decoder", n_conv_per_stage_decoder, n_stages - 1)
        topology = cls(
            dim=dim,
            features=per_stage("features_per_stage", features_per_stage, n_stages),
            kernel_sizes=_per_stage_and_axis("kernel_sizes", kernel_sizes, n_stages, dim),
            strides=_per_stage_and_axis("strides", strides, n_stages, dim),
            n_conv=per_stage("n_conv_per_stage", n_conv_per_stage, n_stages),
            n_conv_decoder=per_stage(*decoder),
        )
        if any(k % 2 == 0 for kernel in topology.kernel_sizes for k in kernel):
            msg = f"kernel_sizes must be odd, so that image sizes stay the same; got {kernel_sizes}"
            raise PlansError(msg)
        return topology

    def relative_size(self, level: int) -> float:
        """Return the elements of a stage's feature maps as a fraction of the first stage's."""
        reduction = math.prod(math.prod(stride) for stride in self.strides[: level + 1])
        reduction //= math.prod(self.strides[0])
        return self.features[level] / self.features[0] / reduction

    def checkpointed_levels(self, activation_checkpointing: str) -> list[bool]:
        """Return, for every stage, whether its blocks are computed again in the backward.

        The stages that are left out hold little, yet cost as much time as others.
        """
        worthwhile = [self.relative_size(level) >= 1 / 8 for level in range(self.n_stages)]
        return [activation_checkpointing == "blocks" and worth for worth in worthwhile]

    def check_patch(
        self, spatial_shape: Sequence[int], *, normalises_instances: bool = False
    ) -> None:
        """Check that skips and upsampled maps will have the same size.

        Args:
            spatial_shape: The size of an image.
            normalises_instances: Whether the network has instance normalisation.

        Raises:
            PlansError: If it does not fit; it names sizes that do.
        """
        if len(spatial_shape) != self.dim:
            msg = (
                f"this network takes images with {self.dim} axes, as (batch, channels, *axes); "
                f"got an image of shape {list(spatial_shape)} after batch and channels"
            )
            raise PlansError(msg)
        misfit = describe_misfit(
            spatial_shape, self.strides, normalises_instances=normalises_instances, noun="size"
        )
        if misfit:
            msg = (
                f"an image of size {list(spatial_shape)} {misfit}. Pad or crop images to such a "
                f"size, or build the network with other `strides`; these are "
                f"{[list(stride) for stride in self.strides]}."
            )
            raise PlansError(msg)


class PlannedNetwork(nn.Module):
    """Base of every network: initialisation, size checks and feature-map counting.

    A subclass sets `self.topology` and has a `decoder` with the attribute `deep_supervision`,
    which nnU-Net switches from outside.
    """

    topology: Topology
    input_channels: int
    normalises_instances = False

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Initialise a convolution as nnU-Net does; leave every other module as it is.

        Source:
            He et al. 2015, arXiv:1502.01852, for a leaky ReLU of slope 0.01.
        """
        if isinstance(module, _CONVOLUTIONS):
            nn.init.kaiming_normal_(module.weight, a=1e-2)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Count the feature-map elements that one image makes, as nnU-Net's planner asks.

        The outputs of all convolutions, linear projections and matrix products (of attention) are
        counted in a forward pass of a copy on the meta device, so nothing is computed.

        Args:
            input_size: Spatial shape of the input.

        Returns:
            The number of elements, without the batch.
        """
        network = copy.deepcopy(self).to("meta")
        dtype = next(network.parameters()).dtype
        image = torch.empty(1, self.input_channels, *input_size, device="meta", dtype=dtype)
        counted = _CountedOutputs()
        with torch.no_grad(), counted:
            network(image)
        return counted.elements

    def _check_input(self, x: Float[Tensor, "batch channels *spatial"]) -> None:
        self.topology.check_patch(x.shape[2:], normalises_instances=self.normalises_instances)
        if x.shape[1] != self.input_channels:
            msg = (
                f"this network takes {self.input_channels} input channels; "
                f"got an image with {x.shape[1]}"
            )
            raise PlansError(msg)


class _CountedOutputs(TorchFunctionMode):
    """Count the elements in the outputs of convolutions and matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: int = 0

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        if function in _COUNTED:
            self.elements += output.numel()
        return output


def check_counts(**counts: int) -> None:
    """Check numbers of channels or classes, given by the name of the keyword.

    Raises:
        PlansError: If one is below 1.
    """
    for name, count in counts.items():
        if count < 1:
            msg = f"{name} must be at least 1; got {count}"
            raise PlansError(msg)


def check_module_classes(**classes: object) -> None:
    """Check optional classes of modules, given by the name of the keyword.

    Raises:
        PlansError: If one is neither `None` nor a class of modules.
    """
    for name, given in classes.items():
        if given is not None and not (isinstance(given, type) and issubclass(given, nn.Module)):
            msg = f"{name} must be a class of torch.nn, or None; got {given!r}"
            raise PlansError(msg)


def per_stage(name: str, value: int | Sequence[int], n_stages: int) -> tuple[int, ...]:
    """Return a keyword's positive numbers, one for each stage; one alone stands for all.

    Raises:
        PlansError: If there are more or fewer.
    """
    values = (value,) * n_stages if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != n_stages or any(v < 1 for v in values):
        msg = f"{name} needs {n_stages} positive numbers; got {value}"
        raise PlansError(msg)
    return values


def _per_stage_and_axis(
    name: str, value: _Sizes, n_stages: int, dim: int
) -> tuple[tuple[int, ...], ...]:
    entries: tuple[int | Sequence[int], ...]
    entries = (value,) * n_stages if isinstance(value, int) else tuple(value)
    if len(entries) != n_stages:
        msg = f"{name} needs one entry for each of the {n_stages} stages; got {value}"
        raise PlansError(msg)
    return tuple(per_stage(f"{name}[{i}]", entry, dim) for i, entry in enumerate(entries))
