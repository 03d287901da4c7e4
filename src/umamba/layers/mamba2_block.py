"""The Mamba-2 block: a gated selective state-space mixer by matrix products."""

import math
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from umamba.errors import PlansError
from umamba.layers.undecayed import UndecayedParameters
from umamba.ops.causal_conv import conv_silu
from umamba.ops.counted_device import device_type_of
from umamba.ops.exported import exported_duality
from umamba.ops.state_space_duality import CHUNK, state_space_duality

__all__ = ["CPU_NUMBERS", "GPU_NUMBERS", "Mamba2"]

_WIDEST_HEAD = 64  # as in the paper
_FEWEST_HEADS = 4
# Numbers in the widest intermediate result of a piece of the sequence. On a CPU it should stay near
# the cache; a GPU wants fewer, larger launches.
CPU_NUMBERS = 1 << 20
GPU_NUMBERS = 1 << 26


class GatedRMSNorm(nn.Module):
    """Normalise gated tokens to a mean square of one, and scale.

    Args:
        width: Width of a token.
        eps: Added to the mean square.

    Source:
        Zhang and Sennrich 2019, arXiv:1910.07467; the gate in front as in `mamba_ssm.Mamba2`.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(
        self, y: Float[Tensor, "batch length width"], z: Float[Tensor, "batch length width"]
    ) -> Float[Tensor, "batch length width"]:
        """Return the normalised `y silu(z)`."""
        return F.rms_norm(y * F.silu(z), self.weight.shape, self.weight, self.eps)


class Mamba2(UndecayedParameters):
    """Mix a sequence in linear time with the state-space model of Mamba-2.

    Parameter names, shapes, initialisation and meaning are those of `mamba_ssm.Mamba2` with one
    group, so its weights load unchanged; `A_log`, `D` and `dt_bias` carry its mark
    `_no_weight_decay`. Unlike Mamba, it has one decay per head of `headdim` channels and a larger
    state, and makes step sizes, `B` and `C` beside the input, by one projection.

    Training keeps the tokens, and the state and the last steps of the convolution between pieces of
    the sequence, and computes the rest again in the backward.

    Args:
        d_model: Width of a token.
        d_state: State size per inner channel.
        d_conv: Length of the causal depthwise convolution.
        expand: `d_inner = expand * d_model`.
        headdim: Channels per head, a divisor of `d_inner`; `None` means the divisor whose ratio to
            64, or to a quarter of `d_inner` if that is less, is nearest to one: the paper's 64,
            but of few channels not a single head.
        dt_min: Smallest step size at initialisation.
        dt_max: Largest step size at initialisation.
        dt_init_floor: Step sizes are clamped to at least this at initialisation.

    Raises:
        PlansError: If `headdim` does not divide `d_inner`.

    Source:
        Dao and Gu 2024, arXiv:2405.21060, section 7 and figure 6.
    """

    undecayed = ("A_log", "D", "dt_bias")

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        d_conv: int = 4,
        expand: int = 2,
        *,
        headdim: int | None = None,
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.d_state = d_state
        self.d_conv = d_conv
        self.d_inner = expand * d_model
        self.headdim = _head_width(self.d_inner) if headdim is None else headdim
        if self.d_inner % self.headdim:
            msg = f"headdim {headdim} of a Mamba-2 block must divide d_inner, {self.d_inner}"
            raise PlansError(msg)
        self.nheads = self.d_inner // self.headdim

        conv_width = self.d_inner + 2 * d_state
        self.in_proj = nn.Linear(d_model, self.d_inner + conv_width + self.nheads, bias=False)
        self.conv1d = nn.Conv1d(
            conv_width, conv_width, d_conv, groups=conv_width, padding=d_conv - 1
        )
        self.dt_bias = nn.Parameter(torch.empty(self.nheads))
        self.A_log = nn.Parameter(torch.empty(self.nheads))
        self.D = nn.Parameter(torch.ones(self.nheads))
        self.norm = GatedRMSNorm(self.d_inner)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)
        self._reset_state_space(dt_min, dt_max, dt_init_floor)
        self.mark_undecayed()

    @torch.no_grad()
    def _reset_state_space(self, dt_min: float, dt_max: float, floor: float) -> None:
        """Initialise A uniformly between 1 and 16, and the step size log-uniformly."""
        self.A_log.uniform_(1, 16).log_()
        dt = self.dt_bias.uniform_(math.log(dt_min), math.log(dt_max)).exp_().clamp_(min=floor)
        dt.add_(torch.log(-torch.expm1(-dt)))  # the inverse of softplus

    def forward(
        self,
        hidden_states: Float[Tensor, "batch length d_model"],
        *,
        norm: nn.LayerNorm | None = None,
        residual: bool = False,
        products: torch.dtype | None = None,
    ) -> Float[Tensor, "batch length d_model"]:
        """Mix the tokens; every token sees itself and all earlier ones.

        Args:
            hidden_states: The tokens.
            norm: The norm that is applied to them first.
            residual: Whether they are added to the result, as they were before `norm`.
            products: Type of the matrix products, for callers that switched autocast off; those
                within chunks are not in float16, whose range their results may exceed. The result
                has the type of the tokens.
        """
        batch = hidden_states.shape[0]
        shape = batch, self.d_state, self.nheads, self.headdim
        state = hidden_states.new_zeros(shape)
        lookback = hidden_states.new_zeros(batch, self.d_conv - 1, self.conv1d.in_channels)
        if torch.compiler.is_exporting():  # whose sequence may have any length
            return self._mix(hidden_states, state, lookback, norm, residual, products)[0]

        mixed = []
        for tokens in torch.split(hidden_states, self._piece_length(hidden_states), 1):
            piece, state, lookback = _recomputed(
                self._mix, tokens, state, lookback, norm, residual, products
            )
            mixed.append(piece)
        return torch.cat(mixed, 1)

    def _mix(
        self,
        hidden_states: Float[Tensor, "batch length d_model"],
        state: Float[Tensor, "batch d_state nheads headdim"],
        lookback: Float[Tensor, "batch earlier channels"],
        norm: nn.LayerNorm | None,
        residual: bool,  # noqa: FBT001 - torch's checkpoint passes it on by its place
        products: torch.dtype | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mix one piece; return it, the state after it, and its last inputs of the convolution."""
        tokens = hidden_states if norm is None else norm(hidden_states)
        sizes = [self.d_inner, self.conv1d.in_channels, self.nheads]
        z, xBC, dt = torch.split(_project(tokens, self.in_proj, products), sizes, -1)
        steps = torch.cat([lookback, xBC], 1)
        convolved = conv_silu(steps.mT, self.conv1d.weight[:, 0], self.conv1d.bias).mT
        inputs = [self.d_inner, self.d_state, self.d_state]
        x, B, C = torch.split(convolved[:, lookback.shape[1] :], inputs, -1)
        x = x.reshape(*x.shape[:2], self.nheads, self.headdim)
        dt = F.softplus(dt + self.dt_bias)
        A = -torch.exp(self.A_log)
        if torch.compiler.is_exporting():
            y = exported_duality(x, dt, A, B, C)
        else:
            in_chunks = None if products == torch.float16 else products
            y, state = state_space_duality(x, dt, A, B, C, state, products=in_chunks)
        y = (y + self.D[:, None] * x).flatten(2)
        mixed = _project(self.norm(y, z), self.out_proj, products)
        last = steps[:, steps.shape[1] - lookback.shape[1] :].clone()  # without the other steps
        return hidden_states + mixed if residual else mixed, state, last

    def _piece_length(self, tokens: Tensor) -> int:
        """Return how many tokens are mixed together: whole chunks."""
        budget = CPU_NUMBERS if device_type_of(tokens) == "cpu" else GPU_NUMBERS
        widest = max(self.in_proj.out_features, self.nheads * CHUNK)
        return max(1, budget // (tokens.shape[0] * widest * CHUNK)) * CHUNK


def _project(x: Tensor, layer: nn.Linear, dtype: torch.dtype | None) -> Tensor:
    """Apply a layer without bias in a type; the result has that of `x`."""
    if dtype is None:
        return cast("Tensor", layer(x))
    return F.linear(x.to(dtype), layer.weight.to(dtype)).to(x.dtype)


def _recomputed(mix: Callable[..., object], *inputs: object) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the inputs only, and compute the rest again in the backward."""
    if torch.compiler.is_compiling():  # which decides for itself what to keep
        found = mix(*inputs)
    else:
        found = checkpoint(mix, *inputs, use_reentrant=False, preserve_rng_state=False)
    return cast("tuple[Tensor, Tensor, Tensor]", found)


def _head_width(d_inner: int) -> int:
    wanted = min(_WIDEST_HEAD, d_inner / _FEWEST_HEADS)
    divisors = [width for width in range(1, d_inner + 1) if d_inner % width == 0]
    return min(divisors, key=lambda width: abs(math.log(width / wanted)))
