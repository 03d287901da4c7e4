"""Segmentation networks, one file per paper; these class paths are written into plans."""

from umamba.networks.attention_unet import UMambaAttentionUNet
from umamba.networks.mednext import UMambaMedNeXt
from umamba.networks.monai_networks import UMambaSegResNet, UMambaSwinUNETR
from umamba.networks.primus import UMambaPrimus
from umamba.networks.umamba import UMambaBot, UMambaEnc
from umamba.networks.unet_plus_plus import UMambaUNetPlusPlus
from umamba.networks.unetr_plus_plus import UMambaUNETRPlusPlus

__all__ = [
    "UMambaAttentionUNet",
    "UMambaBot",
    "UMambaEnc",
    "UMambaMedNeXt",
    "UMambaPrimus",
    "UMambaSegResNet",
    "UMambaSwinUNETR",
    "UMambaUNETRPlusPlus",
    "UMambaUNetPlusPlus",
]
