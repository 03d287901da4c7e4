"""The Mamba block: a gated selective state-space mixer for token sequences."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from umamba.layers.lean_mixer import MixerParameters, for_products, lean_mixer, scan_inputs
from umamba.layers.undecayed import UndecayedParameters
from umamba.ops.backends import check_backend, resolve_backend
from umamba.ops.counted_device import device_type_of
from umamba.ops.dispatch import selective_scan

__all__ = ["Mamba"]


class Mamba(UndecayedParameters):
    """Mix a sequence in linear time with a selective state-space model.

    Parameter names, shapes, initialisation and meaning are those of `mamba_ssm.Mamba`, so its
    weights load unchanged; `A_log` and `D` carry its mark `_no_weight_decay`. The projections
    follow autocast; the recurrence runs in float32. Outside autocast and torch.compile, training
    keeps its input, the outputs of the scan and its restart states, and computes the rest again in
    the backward; a CPU works through long sequences in pieces.

    Args:
        d_model: Width of a token.
        d_state: State size per inner channel.
        d_conv: Length of the causal depthwise convolution.
        expand: `d_inner = expand * d_model`.
        dt_rank: Rank of the step-size projection; `None` means `ceil(d_model / 16)`.
        dt_min: Smallest step size at initialisation.
        dt_max: Largest step size at initialisation.
        dt_init_floor: Step sizes are clamped to at least this at initialisation.
        conv_bias: Whether the convolution has a bias.
        bias: Whether `in_proj` and `out_proj` have a bias.
        backend: Backend of `umamba.selective_scan`; `None` lets it choose.

    Raises:
        BackendError: If `backend` is unknown.
        ValueError: If a size is not a positive integer.

    Source:
        Gu and Dao 2023, arXiv:2312.00752, section 3.4 and figure 3.
    """

    undecayed = ("A_log", "D")

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        *,
        dt_rank: int | None = None,
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        check_backend(backend)
        dt_rank = math.ceil(d_model / 16) if dt_rank is None else dt_rank
        _check_sizes(
            d_model=d_model, d_state=d_state, d_conv=d_conv, expand=expand, dt_rank=dt_rank
        )
        self.backend = backend
        self.d_model = d_model
        self.d_state = d_state
        self.d_inner = expand * d_model
        self.dt_rank = dt_rank

        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=bias)
        self.conv1d = nn.Conv1d(
            self.d_inner,
            self.d_inner,
            d_conv,
            groups=self.d_inner,
            padding=d_conv - 1,
            bias=conv_bias,
        )
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.empty(self.d_inner, d_state))
        self.D = nn.Parameter(torch.empty(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)
        self._reset_state_space(dt_min, dt_max, dt_init_floor)
        self.mark_undecayed()

    @torch.no_grad()
    def _reset_state_space(self, dt_min: float, dt_max: float, floor: float) -> None:
        """Initialise A as S4D-real, D as one, and the step size log-uniformly."""
        self.A_log.copy_(torch.log(torch.arange(1.0, self.d_state + 1)).expand_as(self.A_log))
        self.D.fill_(1.0)
        bound = self.dt_rank**-0.5
        self.dt_proj.weight.uniform_(-bound, bound)
        span = math.log(dt_max) - math.log(dt_min)
        dt = torch.exp(torch.rand(self.d_inner) * span + math.log(dt_min)).clamp(min=floor)
        self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus

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
            products: Type of the matrix products, for callers that switched autocast off. The
                result has the type of the tokens.
        """
        p = MixerParameters(
            self.in_proj.weight,
            self.in_proj.bias,
            self.conv1d.weight[:, 0],
            self.conv1d.bias,
            self.x_proj.weight,
            self.dt_proj.weight,
            self.dt_proj.bias,
            self.A_log,
            self.D,
            self.out_proj.weight,
            self.out_proj.bias,
            None if norm is None else norm.weight,
            None if norm is None else norm.bias,
        )
        if self._runs_leanly(hidden_states):
            eps = None if norm is None else norm.eps
            return lean_mixer(
                hidden_states, p, self.backend, eps=eps, residual=residual, products=products
            )
        tokens = hidden_states if norm is None else norm(hidden_states)
        q = for_products(p, products)
        s = scan_inputs(tokens, q, self.backend)
        A_log = self.A_log.float() if self.A_log.dtype.itemsize < 4 else self.A_log
        y = cast(
            "Tensor",
            selective_scan(
                s.u,
                s.dt,
                -torch.exp(A_log),
                s.B,
                s.C,
                D=self.D,
                z=s.z,
                dt_bias=self.dt_proj.bias,
                dt_softplus=True,
                backend=self.backend,
            ),
        )
        y = y.transpose(1, 2).to(q.out_proj.dtype)
        mixed = F.linear(y, q.out_proj, q.out_proj_bias)
        mixed = mixed if products is None else mixed.to(hidden_states.dtype)
        return hidden_states + mixed if residual else mixed

    def _runs_leanly(self, hidden_states: Tensor) -> bool:
        """Return whether `lean_mixer` may do the work, which recomputes in the backward.

        A compiler decides for itself what to keep; under autocast and in half precision the plain
        composition of layers is what users expect.
        """
        device = hidden_states.device.type
        return (
            not torch.compiler.is_compiling()
            and (device == "meta" or not torch.is_autocast_enabled(device))
            and hidden_states.dtype == self.D.dtype
            and self.D.dtype.itemsize >= 4
            and resolve_backend(self.backend, device_type_of(hidden_states)) != "reference"
        )


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            msg = f"Mamba: {name} is {size!r}, but must be an integer of at least 1"
            raise ValueError(msg)
