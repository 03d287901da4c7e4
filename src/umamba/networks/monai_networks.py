"""SegResNet and SwinUNETR as MONAI has them, with nnU-Net's keywords and training contract.

nnU-Net's recipe trains them with SGD and mixed precision; the U-Mamba paper's comparison trained
SegResNet with Adam and SwinUNETR with AdamW, without.
"""

from typing import Any

import torch
from torch import nn

from umamba.errors import PlansError
from umamba.networks.library_network import LibraryNetwork

__all__ = ["UMambaSegResNet", "UMambaSwinUNETR"]


class UMambaSegResNet(LibraryNetwork):
    """MONAI's SegResNet: residual blocks, an encoder that is deeper than its decoder.

    Blocks, normalisation and upsampling are MONAI's defaults, as in the U-Mamba paper's
    comparison, which has 32 channels at full resolution. The paper's variational branch, which
    only its training has, is left out, and so is its dropout.

    Args:
        **plan: Keywords of nnU-Net's plans, as in `LibraryNetwork`; channels in multiples of 8,
            doubled at every further resolution.

    Source:
        Myronenko 2018, arXiv:1810.11654; Ma, Li and Wang 2024, arXiv:2401.04722.
    """

    reduction = 8
    can_checkpoint = False

    def __init__(self, *, input_channels: int, num_classes: int, **plan: Any) -> None:
        super().__init__(input_channels=input_channels, num_classes=num_classes, **plan)
        self._check_width(8)
        self.network = _monai().SegResNet(
            in_channels=input_channels,
            out_channels=num_classes,
            spatial_dims=self.topology.dim,
            init_filters=self.width,
        )


class UMambaSwinUNETR(LibraryNetwork):
    """MONAI's SwinUNETR: a Swin transformer as encoder, a convolutional decoder.

    Depths, heads, windows and normalisation are MONAI's defaults, version 1 of the network. Any
    patch of multiples of 32 fits the weights.

    Args:
        **plan: Keywords of nnU-Net's plans, as in `LibraryNetwork`; channels (the size of the
            embedding, 48 in the paper) in multiples of 12. `activation_checkpointing: blocks`
            computes the transformer blocks again.

    Source:
        Hatamizadeh et al. 2022, arXiv:2201.01266.
    """

    reduction = 32
    can_checkpoint = True
    normalises_instances = True
    # Its windows are padded: the terms of sizes that torch would prove equal grow without end.
    traced_for_one_patch = True

    def __init__(self, *, input_channels: int, num_classes: int, **plan: Any) -> None:
        super().__init__(input_channels=input_channels, num_classes=num_classes, **plan)
        self._check_width(12)
        device = torch.get_default_device()
        with torch.device("cpu"):  # it reads numbers from tensors, which meta tensors do not hold
            network: nn.Module = _monai().SwinUNETR(
                in_channels=input_channels,
                out_channels=num_classes,
                spatial_dims=self.topology.dim,
                feature_size=self.width,
                use_checkpoint=self.checkpointed,
            )
        self.network = network.to(device)


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
