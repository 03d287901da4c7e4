"""The Mamba block with a linear time-invariant state-space model in place of the selective one."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from umamba.errors import PlansError, unknown_name
from umamba.layers.undecayed import UndecayedParameters
from umamba.ops.causal_conv import conv_silu
from umamba.ops.exported import exported_diagonal_ssm
from umamba.ops.linear_ssm import DISCRETISATIONS, diagonal_legs, diagonal_ssm

__all__ = ["LTI"]


class LTI(UndecayedParameters):
    """Mix a sequence as Mamba does, but with dynamics that do not depend on the input.

    A control for Mamba: projections, short convolution, gate and skip are Mamba's, and so are the
    range of the step sizes and the number of real states per channel. The differences:

    - the state-space model: diagonal with complex eigenvalues in conjugate pairs, initialised to
      HiPPO-LegS (S4D-LegS), computed in float32 as a convolution by FFT;
    - `A`, `C` and `dt`: parameters of each channel. There is no `x_proj` and no `dt_proj`, so
      the block has fewer parameters than Mamba. `B` is 1, since only its product with `C` matters.

    Args:
        d_model: Width of a token.
        d_state: Real states per inner channel; even.
        d_conv: Length of the causal depthwise convolution.
        expand: `d_inner = expand * d_model`.
        discretisation: `zoh` (zero-order hold) or `bilinear`.
        dt_min: Smallest step size at initialisation.
        dt_max: Largest step size at initialisation.

    Raises:
        PlansError: If `d_state` is odd, or `discretisation` is unknown.

    Source:
        Gu et al. 2021, arXiv:2110.13985 (LSSL); Gu et al. 2022, arXiv:2206.11893 (S4D);
        the same exchange in Gu and Dao 2023, arXiv:2312.00752, section 4.6.1.
    """

    undecayed = ("log_dt", "A_log", "A_imag", "D")

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        *,
        discretisation: str = "zoh",
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
    ) -> None:
        super().__init__()
        if d_state < 2 or d_state % 2:
            msg = f"d_state {d_state} of an LTI block must be even: its states come in pairs"
            raise PlansError(msg)
        if discretisation not in DISCRETISATIONS:
            raise PlansError(unknown_name("discretisation", discretisation, DISCRETISATIONS))
        self.d_model = d_model
        self.d_state = d_state
        self.d_inner = expand * d_model
        self.discretisation = discretisation

        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=False)
        self.conv1d = nn.Conv1d(
            self.d_inner, self.d_inner, d_conv, groups=self.d_inner, padding=d_conv - 1
        )
        # Real and imaginary parts apart: optimisers and DDP handle complex parameters badly.
        pairs = (self.d_inner, d_state // 2)
        self.log_dt = nn.Parameter(torch.empty(self.d_inner))
        self.A_log = nn.Parameter(torch.empty(pairs))
        self.A_imag = nn.Parameter(torch.empty(pairs))
        self.C = nn.Parameter(torch.empty(*pairs, 2))
        self.D = nn.Parameter(torch.empty(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)
        self._reset_state_space(dt_min, dt_max)
        self.mark_undecayed()

    @torch.no_grad()
    def _reset_state_space(self, dt_min: float, dt_max: float) -> None:
        """Initialise A as S4D-LegS, C at random, D as one, and the step size log-uniformly."""
        # The meta device, where networks are measured, has no eigenvalues.
        with torch.device("cpu"):
            A, B = diagonal_legs(self.d_state)
            C = B * torch.randn(self.C.shape[:2], dtype=A.dtype)
        self.A_log.copy_(torch.log(-A.real).expand_as(self.A_log))
        self.A_imag.copy_(A.imag.expand_as(self.A_imag))
        self.C.copy_(torch.view_as_real(C))
        self.D.fill_(1.0)
        self.log_dt.uniform_(math.log(dt_min), math.log(dt_max))

    def forward(
        self,
        hidden_states: Float[Tensor, "batch length d_model"],
        *,
        norm: nn.LayerNorm | None = None,
        residual: bool = False,
    ) -> Float[Tensor, "batch length d_model"]:
        """Mix the tokens; every token sees itself and all earlier ones.

        Args:
            hidden_states: The tokens.
            norm: The norm that is applied to them first.
            residual: Whether they are added to the result, as they were before `norm`.
        """
        tokens = hidden_states if norm is None else norm(hidden_states)
        x, z = self.in_proj(tokens).transpose(1, 2).chunk(2, dim=1)
        u = conv_silu(x, self.conv1d.weight[:, 0], self.conv1d.bias)
        y = self._state_space(u) * nn.functional.silu(z)
        mixed: Tensor = self.out_proj(y.to(z.dtype).transpose(1, 2))
        return hidden_states + mixed if residual else mixed

    def _state_space(
        self, u: Float[Tensor, "batch d_inner length"]
    ) -> Float[Tensor, "batch d_inner length"]:
        """Run the systems, at least in float32."""
        dtype = torch.promote_types(u.dtype, torch.float32)
        u = u.to(dtype)
        A_real, A_imag = -torch.exp(self.A_log.to(dtype)), self.A_imag.to(dtype)
        C = self.C.to(dtype)
        dt = torch.exp(self.log_dt.to(dtype))
        # The convolution keeps four times its input; a compiler decides for itself.
        run = diagonal_ssm if torch.compiler.is_compiling() else _recomputed_ssm
        if torch.compiler.is_exporting() and self.discretisation == "zoh":
            y = exported_diagonal_ssm(u, A_real, A_imag, C, dt)
        else:
            pairs = torch.complex(A_real, A_imag), torch.view_as_complex(C)
            y = run(u, *pairs, dt, discretisation=self.discretisation)
        return y + self.D.to(dtype)[:, None] * u


def _recomputed_ssm(*inputs: Tensor, discretisation: str) -> Tensor:
    """Run `diagonal_ssm`, keep the inputs only, and compute the spectra again in the backward."""
    y: Tensor = checkpoint(
        diagonal_ssm,
        *inputs,
        discretisation=discretisation,
        use_reentrant=False,
        preserve_rng_state=False,
    )
    return y
