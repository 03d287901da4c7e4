"""Three layers of the same width that let the tokens of a sequence see each other."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from umamba.layers.mamba_block import Mamba

__all__ = ["MIXERS", "Mixer", "ProjectedAttention", "SequenceConvolution"]


class ProjectedAttention(nn.Module):
    """Mix a sequence by multi-head self-attention, with projections before and after.

    Args:
        d_model: Width of a token, a multiple of `n_heads`.
        n_heads: Number of heads.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.2; computed by torch's
        `scaled_dot_product_attention`, which picks the fastest kernel that it has.
    """

    def __init__(self, d_model: int, n_heads: int = 4) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv_proj = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(
        self, x: Float[Tensor, "batch length d_model"]
    ) -> Float[Tensor, "batch length d_model"]:
        """Mix the tokens; every token sees all of them."""
        batch, length, d_model = x.shape
        heads = self.qkv_proj(x).view(batch, length, 3, self.n_heads, d_model // self.n_heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, width)
        mixed = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, length, d_model))
        return projected


class SequenceConvolution(nn.Module):
    """Mix each token with its two neighbours, as the convolutions of a U-Net do.

    Args:
        d_model: Width of a token.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.conv1d = nn.Conv1d(d_model, d_model, kernel_size=3, padding=1)

    def forward(
        self, x: Float[Tensor, "batch length d_model"]
    ) -> Float[Tensor, "batch length d_model"]:
        """Mix the tokens."""
        mixed: Tensor = self.conv1d(x.transpose(1, 2)).transpose(1, 2)
        return mixed


@dataclass(frozen=True)
class Mixer:
    """One of the layers that are compared.

    Args:
        name: Name in files.
        title: Name for people.
        build: Makes the layer from its width.
        exponent: Expected exponent of its cost in the length, to predict the next measurement.
    """

    name: str
    title: str
    build: Callable[[int], nn.Module]
    exponent: int


MIXERS = (
    Mixer("mamba", "Mamba", Mamba, 1),
    Mixer("attention", "self-attention", ProjectedAttention, 2),
    Mixer("convolution", "convolution", SequenceConvolution, 1),
)
