"""From voxels to tokens and back: a sequence mixer as a layer of a convolutional network."""

from jaxtyping import Float
from torch import Tensor, nn

from umamba.errors import PlansError
from umamba.layers.mamba_block import Mamba
from umamba.ops.precision import full_precision

__all__ = ["MambaLayer"]


class MambaLayer(nn.Module):
    """Let every voxel see all earlier voxels through one Mamba block.

    The layer computes in float32 outside autocast: in float16 the recurrence of U-Mamba
    overflows in training (state-spaces/mamba issue 72, by U-Mamba's author).

    Args:
        d_model: Token width: the channels, or with `channel_tokens` the voxels of the map.
        channel_tokens: Whether the tokens are the channels, each as wide as the feature map. The
            weights then fit one spatial size only.
        residual: Whether the input is added to the mixed tokens.
        backend: Backend of `umamba.selective_scan`.

    Source:
        Ma et al. 2024, arXiv:2401.04722, figure 1b. In the authors' code there is no residual
        connection around the mixer, and deep stages use channel tokens.
    """

    def __init__(
        self,
        d_model: int,
        *,
        channel_tokens: bool = False,
        residual: bool = False,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.channel_tokens = channel_tokens
        self.residual = residual
        self.norm = nn.LayerNorm(d_model)
        self.mamba = Mamba(d_model, backend=backend)

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> Float[Tensor, "batch channels *spatial"]:
        """Flatten row-major, normalise, mix, restore."""
        with full_precision(x.device.type):
            voxels = x.to(self.norm.weight.dtype).flatten(start_dim=2)
            tokens = voxels if self.channel_tokens else voxels.transpose(1, 2)
            if tokens.shape[-1] != self.mamba.d_model:
                msg = (
                    f"this Mamba layer mixes tokens of width {self.mamba.d_model}, but a feature "
                    f"map of shape {list(x.shape)} gives tokens of width {tokens.shape[-1]}; give "
                    "the network the patch_size that its weights were made for"
                )
                raise PlansError(msg)
            mixed = self.mamba(tokens, norm=self.norm, residual=self.residual)
            mixed = mixed if self.channel_tokens else mixed.transpose(1, 2)
            # Transposed tokens look like channels-last maps to the next convolution: slower beside
            # contiguous skips, and oneDNN of torch 2.14.1 corrupts the heap there on AVX-512.
            restored: Tensor = mixed.reshape(x.shape)
            return restored.contiguous()
