"""The sizes of the authors' released U-Mamba: block counts, and the widths of Mamba layers.

Source: bowang-lab/U-Mamba at 28459e3.
"""

import math
from collections.abc import Callable, Sequence

from torch import nn

from umamba.errors import PlansError
from umamba.layers.mixer_layer import MixerLayer
from umamba.networks.contract import Topology

__all__ = ["feature_map_sizes", "official_block_counts", "official_mamba_layers"]


def official_block_counts(
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


def feature_map_sizes(
    topology: Topology, input_size: Sequence[int] | None
) -> list[tuple[int, ...]]:
    """Return the spatial shape after every stage."""
    if input_size is None:
        msg = (
            "variant 'official' of UMambaEnc needs input_size, the patch size, as its "
            "deep Mamba layers are as wide as their feature maps; `umamba plan` writes "
            "it into plans; otherwise give input_size=(64, 64, 64)"
        )
        raise PlansError(msg)
    topology.check_patch(input_size)
    sizes = []
    size = tuple(input_size)
    for stride in topology.strides:
        size = tuple(axis // step for axis, step in zip(size, stride, strict=True))
        sizes.append(size)
    return sizes


def official_mamba_layers(
    topology: Topology, sizes: list[tuple[int, ...]], build: Callable[..., MixerLayer]
) -> list[nn.Module]:
    """Build the Mamba layers of the authors' encoder, with identities where there are none."""
    layers: list[nn.Module] = []
    last = topology.n_stages - 1
    for s, (features, size) in enumerate(zip(topology.features, sizes, strict=True)):
        voxels = math.prod(size)
        if topology.dim == 2 and (last - s) % 2:
            layers.append(nn.Identity())
        elif voxels <= features:
            layers.append(build(voxels, channel_tokens=True))
        else:
            layers.append(build(features))
    return layers
