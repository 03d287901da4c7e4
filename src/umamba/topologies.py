"""Rules that turn a network planned by nnU-Net into the topology of another; free of torch."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from umamba.errors import PlansError

__all__ = [
    "EmbeddedPatches",
    "MedNeXtBlocks",
    "OwnTopology",
    "PlainConvolutions",
    "PlannedUNet",
    "ResidualBlocks",
    "ResidualEncoderBlocks",
    "TopologyRule",
]

_Keywords = dict[str, Any]
_STAGES = ("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides")
_STYLE = (
    "conv_bias",
    "norm_op",
    "norm_op_kwargs",
    "dropout_op",
    "dropout_op_kwargs",
    "nonlin",
    "nonlin_kwargs",
)
# With fewer, fewer than three levels would be left to supervise.
_STAGES_WITH_EMBEDDING = 5
# nnU-Net's residual blocks per encoder stage; further stages have as many as the last.
_RESENC_BLOCKS = (1, 3, 4, 6)
_MEDNEXT_WIDTHS = (32, 64, 128, 256, 512)


class PlannedUNet(NamedTuple):
    """nnU-Net's network for a configuration: its `arch_kwargs`, and whether it is a plain U-Net.

    If it is not, it is the residual encoder.
    """

    keywords: Mapping[str, Any]
    is_plain: bool


@runtime_checkable
class TopologyRule(Protocol):
    """A rule for the stages, strides, widths and blocks of a network.

    Attributes:
        follows_plan: Whether stages and strides are those that nnU-Net planned.
    """

    follows_plan: ClassVar[bool]

    @property
    def patch_multiple(self) -> int | None:
        """Return the number that patches are rounded up to multiples of; `None` if they are not."""

    def keywords(
        self, planned: PlannedUNet, features: tuple[int, ...] | None, model: str
    ) -> _Keywords:
        """Return the network's keywords.

        Args:
            planned: The network that nnU-Net planned. Not changed.
            features: Channels per stage; `None` keeps those of the plan, or of the network.
            model: The network's name, for messages.

        Raises:
            PlansError: If the network cannot have such features.
        """


class _PlannedStages:
    """The stages that nnU-Net planned; a subclass says how many blocks each one has."""

    follows_plan: ClassVar[bool] = True
    patch_multiple: ClassVar[int | None] = None

    def keywords(
        self,
        planned: PlannedUNet,
        features: tuple[int, ...] | None,
        model: str,  # noqa: ARG002 - any features fit
    ) -> _Keywords:
        planned = self.stages(planned)
        given = planned.keywords
        n_stages = given["n_stages"]
        keywords: _Keywords = {key: deepcopy(given[key]) for key in _STAGES}
        if features is not None:
            keywords["features_per_stage"] = _per_stage(features, n_stages)
        keywords |= self.blocks(planned, n_stages)
        return keywords | {key: deepcopy(given[key]) for key in _STYLE if key in given}

    def stages(self, planned: PlannedUNet) -> PlannedUNet:
        """Return the plan with the stages of this network, which are the same."""
        return planned

    def blocks(self, planned: PlannedUNet, n_stages: int) -> _Keywords:
        """Return the numbers of blocks, or convolutions, of the stages."""
        raise NotImplementedError


@dataclass(frozen=True)
class PlainConvolutions(_PlannedStages):
    """Stages with as many plain convolutions as nnU-Net's plain U-Net has.

    A plan with residual blocks does not say how many, so there are two, as is usual in nnU-Net.
    """

    def blocks(self, planned: PlannedUNet, n_stages: int) -> _Keywords:
        """Return the convolutions per stage."""
        if not planned.is_plain:
            return _block_counts(n_stages, (2,), 2)
        keys = ("n_conv_per_stage", "n_conv_per_stage_decoder")
        return {key: deepcopy(planned.keywords[key]) for key in keys}


@dataclass(frozen=True)
class ResidualBlocks(_PlannedStages):
    """Residual blocks in the stages of the encoder, and as many in all of the decoder.

    Args:
        encoder: Blocks of the encoder's stages; the last number is also for further ones.
        decoder: Blocks of each of the decoder's stages.
    """

    encoder: tuple[int, ...] = (2,)
    decoder: int = 2

    def blocks(self, planned: PlannedUNet, n_stages: int) -> _Keywords:  # noqa: ARG002
        """Return the blocks per stage."""
        return _block_counts(n_stages, self.encoder, self.decoder)


@dataclass(frozen=True)
class EmbeddedPatches(ResidualBlocks):
    """Blocks as in `ResidualBlocks` except in the first stage, and an embedding of patches.

    In plans with five stages or more, the first two downsamplings become one, the embedding.

    Args:
        full_resolution: Blocks of the first stage, in encoder and decoder.
    """

    full_resolution: int = 1

    def stages(self, planned: PlannedUNet) -> PlannedUNet:
        """Leave out the second resolution: a single stride, the embedding, leads to the third."""
        given = planned.keywords
        if given["n_stages"] < _STAGES_WITH_EMBEDDING:
            return planned
        first, second, third, *rest = given["strides"]
        embedding = [a * b for a, b in zip(second, third, strict=True)]
        kernel, _, *kernels = given["kernel_sizes"]
        changed = {
            "n_stages": given["n_stages"] - 1,
            "strides": [first, embedding, *rest],
            "kernel_sizes": [kernel, *kernels],
            "features_per_stage": given["features_per_stage"][:-1],
        }
        return planned._replace(keywords={**given, **changed})

    def blocks(self, planned: PlannedUNet, n_stages: int) -> _Keywords:
        """Return the blocks per stage."""
        counts = super().blocks(planned, n_stages)
        counts["n_conv_per_stage"][0] = self.full_resolution
        counts["n_conv_per_stage_decoder"][-1] = self.full_resolution
        return counts


@dataclass(frozen=True)
class ResidualEncoderBlocks(_PlannedStages):
    """Stages with as many residual blocks as nnU-Net's planners give `ResidualEncoderUNet`."""

    def blocks(self, planned: PlannedUNet, n_stages: int) -> _Keywords:
        """Return the blocks per stage of the encoder, and convolutions of the decoder."""
        if not planned.is_plain:
            keys = ("n_blocks_per_stage", "n_conv_per_stage_decoder")
            return {key: deepcopy(planned.keywords[key]) for key in keys}
        return {
            "n_blocks_per_stage": _per_stage(_RESENC_BLOCKS, n_stages),
            "n_conv_per_stage_decoder": [1] * (n_stages - 1),
        }


@dataclass(frozen=True)
class MedNeXtBlocks(_PlannedStages):
    """MedNeXt's blocks, for any number of stages; for five they are the authors'.

    The channels double from stage to stage, as the authors' do, from 32 up to their most, 512. The
    kernel has one size, except that axes where the plan's kernel is 1 keep that.

    Args:
        blocks_per_stage: Blocks of encoder and decoder; the last number is also for further stages.
        expansion: Ratio of the channels inside a block to those outside, in the same way.
        kernel: Size of the kernels.
    """

    blocks_per_stage: tuple[int, ...]
    expansion: tuple[int, ...]
    kernel: int = 3

    def keywords(
        self, planned: PlannedUNet, features: tuple[int, ...] | None, model: str
    ) -> _Keywords:
        """Return the network's keywords; norms and activations are its own."""
        keywords = super().keywords(planned, features or _MEDNEXT_WIDTHS, model)
        kernels = keywords["kernel_sizes"]
        keywords["kernel_sizes"] = [
            [size if size == 1 else self.kernel for size in axes] for axes in kernels
        ]
        keywords["expansion"] = _per_stage(self.expansion, keywords["n_stages"])
        return {key: value for key, value in keywords.items() if key not in _STYLE}

    def blocks(self, planned: PlannedUNet, n_stages: int) -> _Keywords:  # noqa: ARG002
        """Return the blocks per stage."""
        blocks = _per_stage(self.blocks_per_stage, n_stages)
        return {"n_conv_per_stage": blocks, "n_conv_per_stage_decoder": blocks[-2::-1]}


@dataclass(frozen=True)
class OwnTopology:
    """The stages of a network that keeps its own topology, whatever nnU-Net planned.

    Args:
        width: Channels at full resolution; those of the other resolutions follow.
        strides: The strides that plans state, the same on every axis.
    """

    width: int
    strides: tuple[int, ...]
    follows_plan: ClassVar[bool] = False

    @property
    def patch_multiple(self) -> int:
        """Return the product of the strides."""
        return math.prod(self.strides)

    def keywords(
        self, planned: PlannedUNet, features: tuple[int, ...] | None, model: str
    ) -> _Keywords:
        """Return the width, the kind of convolution, and the strides."""
        widths = features or (self.width,)
        if len(widths) > 1:
            msg = (
                f"--features takes one number for {model}, the channels at full resolution; those "
                f"of the other resolutions follow. Got {len(widths)}."
            )
            raise PlansError(msg)
        given = planned.keywords
        dim = len(given["strides"][0])
        return {
            "features_per_stage": list(widths),
            "conv_op": given["conv_op"],
            "strides": [[stride] * dim for stride in self.strides],
        }


def _per_stage(numbers: tuple[int, ...], n_stages: int) -> list[int]:
    """Return a number for every stage; the last is also for further stages."""
    return list((numbers + numbers[-1:] * n_stages)[:n_stages])


def _block_counts(n_stages: int, encoder: tuple[int, ...], decoder: int) -> _Keywords:
    return {
        "n_conv_per_stage": _per_stage(encoder, n_stages),
        "n_conv_per_stage_decoder": [decoder] * (n_stages - 1),
    }
