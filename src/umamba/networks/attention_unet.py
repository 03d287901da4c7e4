"""Attention U-Net: a U-Net whose skips pass attention gates.

Source: Oktay et al. 2018, arXiv:1804.03999.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from umamba.errors import PlansError
from umamba.layers.activation_checkpointing import apply_blocks
from umamba.layers.attention_gate import AttentionGate
from umamba.layers.conv_blocks import ConvStyle, concatenate, plain_stage
from umamba.layers.recomputation import derive
from umamba.networks.contract import Topology
from umamba.networks.plain_unet import PlainUNet

__all__ = ["GatedDecoder", "UMambaAttentionUNet"]


class GatedDecoder(nn.Module):
    """nnU-Net's plain decoder with gates on all skips but the finest; index 0 is the deepest.

    Args:
        topology: Features, kernels, strides.
        style: What the convolutions are made of.
        num_classes: Channels of the logits.
        deep_supervision: Whether logits of all levels are returned.
        checkpointed: For every resolution, whether the backward computes the convolutions again.
    """

    def __init__(
        self,
        topology: Topology,
        style: ConvStyle,
        num_classes: int,
        *,
        deep_supervision: bool,
        checkpointed: Sequence[bool],
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.checkpointed = tuple(checkpointed[-2::-1])
        gates, upsample_layers, stages, seg_layers = [], [], [], []
        for level in reversed(range(topology.n_stages - 1)):
            below, features = topology.features[level + 1], topology.features[level]
            stride = topology.strides[level + 1]
            if level > 0:
                gates.append(AttentionGate(style, features, below, stride))
            upsample_layers.append(style.upsampling(below, features, stride))
            stages.append(
                plain_stage(
                    style,
                    topology.n_conv_decoder[topology.n_stages - 2 - level],
                    2 * features,
                    features,
                    topology.kernel_sizes[level],
                )
            )
            seg_layers.append(style.pointwise(features, num_classes))
        self.gates = nn.ModuleList(gates)
        self.upsample_layers = nn.ModuleList(upsample_layers)
        self.stages = nn.ModuleList(stages)
        self.seg_layers = nn.ModuleList(seg_layers)

    def forward(self, skips: list[Tensor]) -> list[Tensor] | Tensor:
        """Return logits at full resolution, or with deep supervision a list of all levels."""
        return self.decode(skips)[0]

    def decode(self, skips: list[Tensor]) -> tuple[list[Tensor] | Tensor, list[Tensor]]:
        """Return what `forward` does, and the gates' coefficients, finest first."""
        x = skips[-1]
        last = len(self.stages) - 1
        logits, coefficients = [], []
        for s, (upsample, stage) in enumerate(zip(self.upsample_layers, self.stages, strict=True)):
            skip = skips[-(s + 2)]
            if s < last:
                coefficients.append(self.gates[s](skip, x))
                skip = derive(torch.mul, skip, coefficients[-1])
            x = concatenate(upsample(x), skip)
            x = apply_blocks(stage.children(), x, checkpointed=self.checkpointed[s])
            if self.deep_supervision or s == last:
                logits.append(self.seg_layers[s](x))
        return logits[::-1] if self.deep_supervision else logits[-1], coefficients[::-1]


class UMambaAttentionUNet(PlainUNet):
    """Attention U-Net on nnU-Net's plain U-Net, for 2D and 3D.

    The signal that gates a skip is the decoder's feature map of the next coarser level, the
    bottleneck for the deepest. As in the paper the finest skip, which is of low-level features,
    has no gate; so there must be three stages at least.

    Args:
        **plan: Keywords of plans (`PLAN_KEYWORDS`), as in `PlainUNet`.

    Raises:
        PlansError: If the keywords do not fit together.

    Source:
        Oktay et al. 2018, arXiv:1804.03999, section 2 and figures 1 and 2.
    """

    decoder: GatedDecoder

    def __init__(self, **plan: Any) -> None:
        super().__init__(**plan)
        if self.topology.n_stages < 3:
            msg = (
                "UMambaAttentionUNet needs at least 3 stages: the finest skip has no gate, and a "
                f"network of {self.topology.n_stages} has no other"
            )
            raise PlansError(msg)

    def _build_decoder(
        self,
        style: ConvStyle,
        num_classes: int,
        deep_supervision: bool,  # noqa: FBT001 - as in the base
        checkpointed: list[bool],
    ) -> GatedDecoder:
        return GatedDecoder(
            self.topology,
            style,
            num_classes,
            deep_supervision=deep_supervision,
            checkpointed=checkpointed,
        )

    def attention_maps(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> Float[Tensor, "batch gates *spatial"]:
        """Return how far each gate is open: 0 is shut, 1 passes the skip as it is.

        Args:
            x: Images, as for `forward`.

        Returns:
            One channel per gate, finest level first, each upsampled to the image.

        Raises:
            PlansError: If the patch does not fit.
        """
        self._check_input(x)
        coefficients = self.decoder.decode(self.encoder(x))[1]
        size = x.shape[2:]
        return torch.cat([F.interpolate(a, size=size, mode="nearest") for a in coefficients], dim=1)
