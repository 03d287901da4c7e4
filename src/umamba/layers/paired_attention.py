"""Efficient paired attention: attention over channels and over tokens, at linear cost.

Source: Shaker et al. 2024, arXiv:2212.04497, section 3.2.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["EfficientPairedAttention"]


class EfficientPairedAttention(nn.Module):
    """Attend over channels and over tokens with the same queries and keys.

    Per head, with queries and keys normalised over the tokens (hats) and all matrices of shape
    `(tokens, channels of the head)`:

        channels:  v_channel softmax(temperature * q_hat^T k_hat)^T
        tokens:    softmax(temperature2 * q_hat E(k)) F(v_spatial)

    `E` and `F` project the tokens to `projection_size` many, so the cost is linear in the number
    of tokens, and the weights fit that number only. As in the authors' code they are one and the
    same projection, stored under both names, and `E` takes the keys before normalisation.

    Args:
        channels: Width of a token.
        n_tokens: Length of the sequence.
        projection_size: How many tokens the keys and values of the second branch are reduced to.
        num_heads: Heads; where they do not divide the channels, the greatest common divisor.
        dropout: Dropout rate of both attention maps.
        scrambles_tokens: Whether the output of the token branch is laid out as in the authors'
            code, which mixes up tokens and channels; their weights need it.

    Source:
        Shaker et al. 2024, arXiv:2212.04497, section 3.2 and figure 2; parameter names after
        Amshaker/unetr_plus_plus.
    """

    def __init__(
        self,
        channels: int,
        n_tokens: int,
        *,
        projection_size: int = 64,
        num_heads: int = 4,
        dropout: float = 0.0,
        scrambles_tokens: bool = False,
    ) -> None:
        super().__init__()
        self.num_heads = math.gcd(num_heads, channels)
        self.scrambles_tokens = scrambles_tokens
        self.temperature = nn.Parameter(torch.ones(self.num_heads, 1, 1))
        self.temperature2 = nn.Parameter(torch.ones(self.num_heads, 1, 1))
        self.qkvv = nn.Linear(channels, 4 * channels, bias=False)
        self.E = self.F = nn.Linear(n_tokens, projection_size)
        self.attn_drop = nn.Dropout(dropout)
        self.out_proj = nn.Linear(channels, channels // 2)
        self.out_proj2 = nn.Linear(channels, channels - channels // 2)
        for linear in (self.qkvv, self.E, self.out_proj, self.out_proj2):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(
        self, x: Float[Tensor, "batch n_tokens channels"]
    ) -> Float[Tensor, "batch n_tokens channels"]:
        """Attend in both branches and join their halves."""
        per_head = self.qkvv(x).unflatten(-1, (4, self.num_heads, -1))
        # Each (batch, heads, channels of the head, tokens).
        q, k, v_channel, v_spatial = per_head.permute(2, 0, 3, 4, 1).unbind(0)
        q_hat, k_hat = _normalise(q), _normalise(k)
        over_channels = self._attention(torch.matmul(q_hat, k_hat.mT) * self.temperature)
        x_channel = torch.matmul(over_channels, v_channel)
        over_tokens = self._attention(torch.matmul(q_hat.mT, self.E(k)) * self.temperature2)
        x_spatial = torch.matmul(over_tokens, self.F(v_spatial).mT)
        layout = (0, 3, 1, 2) if self.scrambles_tokens else (0, 2, 1, 3)
        spatial_half = self.out_proj(x_spatial.permute(layout).reshape(x.shape))
        channel_half = self.out_proj2(x_channel.permute(0, 3, 1, 2).reshape(x.shape))
        return torch.cat((spatial_half, channel_half), dim=-1)

    def _attention(self, scores: Float[Tensor, "batch heads rows columns"]) -> Tensor:
        dropped: Tensor = self.attn_drop(scores.softmax(dim=-1))
        return dropped


def _normalise(x: Float[Tensor, "*_ n_tokens"]) -> Float[Tensor, "*_ n_tokens"]:
    # In float16 the squares of many tokens overflow, and the guard against zero is zero.
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1).to(x.dtype)
