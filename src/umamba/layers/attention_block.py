"""Multi-head self-attention as a sequence mixer, with Mamba's signature."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["SelfAttention"]

_WIDEST_HEAD = 64


class SelfAttention(nn.Module):
    """Let every token see every other one, at quadratic cost.

    A control for Mamba. There is no positional encoding: as in U-Mamba, the convolutions around
    the mixer tell the tokens where they are, and the weights fit every patch size. There is no
    gate and no feed-forward layer.

    The heads are at most 64 wide and together as wide as a token, rounded up so that each head's
    width is a multiple of 8: what torch's fused kernels need, whose memory is linear in the length.

    Args:
        d_model: Width of a token.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.2.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.num_heads, head_width = _heads(d_model)
        d_inner = self.num_heads * head_width
        self.in_proj = nn.Linear(d_model, 3 * d_inner, bias=False)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch length d_model"],
        *,
        norm: nn.LayerNorm | None = None,
        residual: bool = False,
    ) -> Float[Tensor, "batch length d_model"]:
        """Mix the tokens; every token sees all.

        Args:
            hidden_states: The tokens.
            norm: The norm that is applied to them first.
            residual: Whether they are added to the result, as they were before `norm`.
        """
        tokens = hidden_states if norm is None else norm(hidden_states)
        per_head = self.in_proj(tokens).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = per_head.permute(2, 0, 3, 1, 4).unbind(0)  # (batch, heads, length, width)
        y = _attend(q, k, v).transpose(1, 2).flatten(2)
        mixed: Tensor = self.out_proj(y)
        return hidden_states + mixed if residual else mixed


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return `softmax(q k^T / sqrt(width)) v`."""
    if q.is_meta:
        # Where networks are measured, torch would take the kernel that keeps the attention map.
        fused = torch.ops.aten._scaled_dot_product_efficient_attention
        y: Tensor = fused(q, k, v, attn_bias=None, compute_log_sumexp=True)[0]
        return y
    return F.scaled_dot_product_attention(q, k, v)


def _heads(d_model: int) -> tuple[int, int]:
    """Return the number of heads and the width of each."""
    num_heads = -(-d_model // _WIDEST_HEAD)
    return num_heads, -(-d_model // (8 * num_heads)) * 8
