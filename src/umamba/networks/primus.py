"""Primus, a transformer of small patches, as nnU-Net's own package has it."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from umamba.errors import PlansError, unknown_name
from umamba.networks.contract import check_counts
from umamba.networks.library_network import LibraryNetwork

__all__ = ["UMambaPrimus"]

_CLASSES = {"v2": "PrimusV2", "v3": "PrimusV3"}
_MIXERS = ("attention", "none")
_PATCH = 8  # voxels along each axis that one token stands for
# Rotary positions take two thirds of a head's channels, in multiples of four.
_CHANNELS_OF_HEAD = 6


class UMambaPrimus(LibraryNetwork):
    """Primus: tokens of 8x8x8 voxels, embedded by convolutions, and a light decoder; 3D only.

    The network, its initialisation and its regularisation (drop path 0.2, layer scale 0.1) are
    those of nnU-Net's own trainers. Weights belong to `input_size`: positions are embedded.

    Args:
        input_size: Patch size.
        version: `v2`, or `v3`, whose embedding is wider and passes every resolution to the tokens.
        n_blocks: Transformer blocks.
        num_heads: Attention heads; 6 times as many must divide the channels.
        mixer: `attention`, or `none`: every transformer block is the identity, the control of the
            paper's argument that networks may not need theirs. Embedding and decoder stay.
        **plan: Keywords of nnU-Net's plans, as in `LibraryNetwork`; channels are those of a token.

    Raises:
        PlansError: If the keywords do not fit, or the installed package lacks this version.

    Source:
        Wald et al. 2025, arXiv:2503.01835; dynamic_network_architectures 0.4.4.
    """

    reduction = _PATCH
    dims = (3,)
    can_checkpoint = False
    normalises_instances = True

    def __init__(
        self,
        *,
        input_channels: int,
        num_classes: int,
        input_size: Sequence[int],
        version: str = "v2",
        n_blocks: int = 12,
        num_heads: int = 6,
        mixer: str = "attention",
        **plan: Any,
    ) -> None:
        super().__init__(input_channels=input_channels, num_classes=num_classes, **plan)
        for key, value, known in (("version", version, _CLASSES), ("mixer", mixer, _MIXERS)):
            if value not in known:
                raise PlansError(unknown_name(key, value, known))
        check_counts(n_blocks=n_blocks, num_heads=num_heads)
        self._check_width(_CHANNELS_OF_HEAD * num_heads)
        self.patch_size = tuple(input_size)
        self.topology.check_patch(self.patch_size, normalises_instances=True)
        self.network = _class_of(version)(
            input_channels=input_channels,
            embed_dim=self.width,
            patch_embed_size=(_PATCH,) * 3,
            num_classes=num_classes,
            eva_depth=n_blocks if mixer == "attention" else 0,
            eva_numheads=num_heads,
            input_shape=self.patch_size,
            drop_path_rate=0.2,
            scale_attn_inner=True,
            init_values=0.1,
        )

    def _check_input(self, x: Float[Tensor, "batch channels *spatial"]) -> None:
        super()._check_input(x)
        if tuple(x.shape[2:]) != self.patch_size:
            msg = (
                f"the weights of this network belong to patches of {list(self.patch_size)}; got "
                f"{list(x.shape[2:])}. Cut images into such patches, as nnU-Net does"
            )
            raise PlansError(msg)


def _class_of(version: str) -> Any:
    """Return the network's class in nnU-Net's package, imported only where one is built."""
    name = _CLASSES[version]
    try:
        from dynamic_network_architectures.architectures import primus

        return getattr(primus, name)
    except (ImportError, AttributeError) as error:
        msg = (
            f"the installed dynamic_network_architectures lacks {name} ({error}); run "
            "`pip install -U nnunetv2`"
        )
        raise PlansError(msg) from error
