"""UNet++: a U-Net whose skips are nested and dense.

Source: Zhou et al. 2019, arXiv:1912.05074.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from umamba.errors import PlansError
from umamba.layers.activation_checkpointing import apply_blocks
from umamba.layers.conv_blocks import ConvStyle, concatenate, plain_stage
from umamba.layers.recomputation import recomputing
from umamba.networks.contract import Topology
from umamba.networks.plain_unet import PlainUNet

__all__ = ["NestedDecoder", "UMambaUNetPlusPlus"]


class NestedDecoder(nn.Module):
    """The nodes X(i, j) with j > 0 of UNet++, and the heads on some of them.

    X(i, j), at resolution i, convolves X(i, 0), ..., X(i, j - 1) and the upsampled X(i + 1, j - 1).

    Args:
        topology: Features, kernels, strides; X(i, 0) are the encoder's outputs.
        style: What the convolutions are made of.
        num_classes: Channels of the logits.
        deep_supervision: Whether the logits of all heads are returned, or of the first only.
        nested_supervision: Whether the heads are on X(0, J), ..., X(0, 1), all at full
            resolution, or on X(0, J), X(1, J - 1), ..., X(J - 1, 1).
        checkpointed: For every resolution, whether the backward computes the nodes again.
    """

    def __init__(
        self,
        topology: Topology,
        style: ConvStyle,
        num_classes: int,
        *,
        deep_supervision: bool,
        nested_supervision: bool,
        checkpointed: Sequence[bool],
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.nested_supervision = nested_supervision
        self.checkpointed = tuple(checkpointed)
        self.depth = self.full_depth = topology.n_stages - 1
        self.nodes = nn.ModuleDict()
        self.upsample_layers = nn.ModuleDict()
        self.seg_layers = nn.ModuleDict()
        for level, column in self._order():
            features = topology.features[level]
            self.upsample_layers[_name(level, column)] = style.upsampling(
                topology.features[level + 1], features, topology.strides[level + 1]
            )
            self.nodes[_name(level, column)] = plain_stage(
                style,
                topology.n_conv_decoder[self.full_depth - 1 - level],
                (column + 1) * features,
                features,
                topology.kernel_sizes[level],
            )
        for level, column in self._heads():
            features = topology.features[level]
            self.seg_layers[_name(level, column)] = style.pointwise(features, num_classes)

    def _order(self) -> list[tuple[int, int]]:
        """Return the nodes that the present depth needs, each after its inputs."""
        return [
            (level, diagonal - level)
            for diagonal in range(1, self.depth + 1)
            for level in reversed(range(diagonal))
        ]

    def _heads(self) -> list[tuple[int, int]]:
        """Return the nodes that have heads within the present depth, best first."""
        columns = range(self.depth, 0, -1)
        return [(0 if self.nested_supervision else self.depth - j, j) for j in columns]

    def forward(self, skips: list[Tensor]) -> list[Tensor] | Tensor:
        """Return the logits of the best head, or with deep supervision of all."""
        computed = {(level, 0): skip for level, skip in enumerate(skips)}
        for level, column in self._order():
            name = _name(level, column)
            below = self.upsample_layers[name](computed[level + 1, column - 1])
            inputs = [computed[level, earlier] for earlier in range(column)]
            computed[level, column] = apply_blocks(
                self.nodes[name].children(),
                concatenate(*inputs, below),
                checkpointed=self.checkpointed[level],
            )
        heads = self._heads() if self.deep_supervision else self._heads()[:1]
        logits: list[Tensor] = [self.seg_layers[_name(*node)](computed[node]) for node in heads]
        return logits if self.deep_supervision else logits[0]


class UMambaUNetPlusPlus(PlainUNet):
    """UNet++ on nnU-Net's plain encoder, for 2D and 3D.

    Every node has the plan's convolutions of its resolution; transposed convolutions upsample, one
    before each node.

    Two supervisions:

    - By default, deep supervision is nnU-Net's: heads on X(0, J), J being the number of
      poolings, and on the deepest node of each lower resolution. Stock nnU-Net trains it.
    - With `nested_supervision` it is the paper's: heads on X(0, J), ..., X(0, 1), all at full
      resolution. `nnUNetTrainerUMamba` trains it by the mean of the heads' losses; stock
      nnU-Net's loss cannot. Such a network can be pruned to any depth for inference.

    Args:
        nested_supervision: Whether the heads are the paper's; see above.
        prune_to: Depth of the network that is computed; see `prune`.
        **plan: Keywords of plans (`PLAN_KEYWORDS`), as in `PlainUNet`.

    Raises:
        PlansError: If the keywords do not fit together.

    Source:
        Zhou et al. 2019, arXiv:1912.05074, section III.
    """

    decoder: NestedDecoder

    def __init__(
        self, *, nested_supervision: bool = False, prune_to: int | None = None, **plan: Any
    ) -> None:
        self._nested_supervision = nested_supervision  # which the decoder is built with
        super().__init__(**plan)
        if prune_to is not None:
            self.prune(prune_to)

    def _build_decoder(
        self,
        style: ConvStyle,
        num_classes: int,
        deep_supervision: bool,  # noqa: FBT001 - as in the base
        checkpointed: list[bool],
    ) -> NestedDecoder:
        return NestedDecoder(
            self.topology,
            style,
            num_classes,
            deep_supervision=deep_supervision,
            nested_supervision=self._nested_supervision,
            checkpointed=checkpointed,
        )

    def prune(self, depth: int) -> None:
        """Compute only what X(0, depth) needs, from now on.

        Weights stay, so that checkpoints load and the network can grow again.

        Args:
            depth: Number of poolings, from 1 to that of the whole network.

        Raises:
            PlansError: If the depth is out of range, or has no head to end at.
        """
        whole = self.decoder.full_depth
        if not 1 <= depth <= whole:
            msg = (
                f"the depth to prune to must be from 1 to {whole}, the number of poolings; "
                f"got {depth}"
            )
            raise PlansError(msg)
        if depth < whole and not self.decoder.nested_supervision:
            msg = (
                f"pruning to depth {depth} needs a network with nested_supervision: this one has "
                f"a single head at full resolution, that of depth {whole}"
            )
            raise PlansError(msg)
        self.decoder.depth = depth

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> list[Float[Tensor, "batch classes *_"]] | Float[Tensor, "batch classes *spatial"]:
        """Segment a batch of patches, as in `PlainUNet`; a pruned network skips deep stages."""
        self._check_input(x)
        with recomputing(self, enabled=self.recomputes_norms):
            logits: list[Tensor] | Tensor = self.decoder(self.encoder(x, self.decoder.depth + 1))
        return logits


def _name(level: int, column: int) -> str:
    return f"{level}_{column}"
