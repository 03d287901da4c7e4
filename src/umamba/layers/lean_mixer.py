"""The Mamba block as one differentiable function that keeps little and works in pieces.

Autograd would keep every intermediate: over sixteen times the tokens. Here the tokens, the scan's
restart states and its outputs are kept, and what lies between is computed again: two cheap
projections and a short convolution, but not the scan. The sequence goes through in pieces,
which bounds the memory in use at a time, and on a CPU stay in the cache: the state and the last
steps of the convolution carry over.

Source: Gu and Dao 2023, arXiv:2312.00752, section 3.3.2, on recomputation.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from umamba.ops.backends import resolve_backend
from umamba.ops.causal_conv import conv_silu, conv_silu_backward
from umamba.ops.operator import refuse_second_derivatives, scan, scan_backward
from umamba.ops.precision import full_precision
from umamba.ops.scan_backend import ScanTensors

__all__ = ["MixerParameters", "PieceSize", "ScanInputs", "lean_mixer", "scan_inputs"]


class PieceSize(NamedTuple):
    """The size of the pieces, in bytes of one sequence of d_inner channels; a dozen are in use."""

    n_bytes: int
    least_tokens: int = 256


_ON_CPU = PieceSize(1 << 22)  # which stays in the cache
_ELSEWHERE = PieceSize(1 << 25)  # enough to keep a GPU busy, and little of its memory


class MixerParameters(NamedTuple):
    """The parameters of a Mamba block and of the norm before it; norm and biases may be absent."""

    in_proj: Tensor
    in_proj_bias: Tensor | None
    conv: Tensor  # (d_inner, d_conv)
    conv_bias: Tensor | None
    x_proj: Tensor
    dt_proj: Tensor
    dt_bias: Tensor
    A_log: Tensor
    D: Tensor
    out_proj: Tensor
    out_proj_bias: Tensor | None
    norm: Tensor | None = None
    norm_bias: Tensor | None = None


class ScanInputs(NamedTuple):
    """Inputs of the scan; sequences are `(batch, channels, length)`, channels last in memory."""

    u: Tensor
    dt: Tensor
    B: Tensor
    C: Tensor
    z: Tensor
    x: Tensor  # before the convolution, with the steps that it looks back on
    dt_low: Tensor  # (batch, length, dt_rank): before its projection


def scan_inputs(
    hidden: Tensor, p: MixerParameters, backend: str | None, *, lookback: int = 0
) -> ScanInputs:
    """Project and convolve `(batch, length, d_model)` tokens into inputs of the scan.

    Args:
        hidden: The tokens, normalised.
        p: The block's parameters.
        backend: As in `selective_scan`.
        lookback: How many of the first tokens are only there for the convolution to look back on.
    """
    x, z = F.linear(hidden, p.in_proj, p.in_proj_bias).transpose(1, 2).chunk(2, dim=1)
    u = conv_silu(x, p.conv, p.conv_bias, backend)[..., lookback:]
    d_state = p.A_log.shape[1]
    projected = F.linear(u.transpose(1, 2), p.x_proj)
    sizes = [p.dt_proj.shape[1], d_state, d_state]
    dt_low, B, C = torch.split(projected, sizes, dim=-1)
    # The bias is added inside the scan, in the dtype of the recurrence.
    dt = F.linear(dt_low, p.dt_proj).transpose(1, 2)
    return ScanInputs(u, dt, B.transpose(1, 2), C.transpose(1, 2), z[..., lookback:], x, dt_low)


def _scanned(
    s: ScanInputs, A: Tensor, p: MixerParameters, initial_state: Tensor | None = None
) -> ScanTensors:
    return ScanTensors(s.u, s.dt, A, s.B, s.C, p.D, s.z, p.dt_bias, initial_state)


def lean_mixer(
    hidden: Tensor,
    p: MixerParameters,
    backend: str | None,
    *,
    eps: float | None = None,
    residual: bool = False,
    piece_size: PieceSize | None = None,
) -> Tensor:
    """Run a Mamba block outside autocast, keeping little for the backward.

    Args:
        hidden: Tokens `(batch, length, d_model)` of any strides, in the type of the parameters.
        p: The block's parameters.
        backend: As in `selective_scan`, but not `reference`.
        eps: `eps` of the LayerNorm in front; `None` if there is none.
        residual: Whether the tokens, before the norm, are added to the result.
        piece_size: The size of the pieces; `None` is that for the device. The result does not
            depend on it.

    Returns:
        The mixed tokens, laid out as `hidden`.
    """
    # Inside the function, autograd does not tell whether there will be a backward.
    given = [x for x in (hidden, *p) if x is not None]
    trains = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    chosen = resolve_backend(backend, hidden.device.type)
    usual = _ON_CPU if hidden.device.type == "cpu" else _ELSEWHERE
    settings = _Settings(chosen, eps, residual, trains, piece_size or usual)
    mixed: Tensor = _LeanMixer.apply(hidden, settings, *p)
    return mixed


class _Settings(NamedTuple):
    backend: str
    eps: float | None
    residual: bool
    trains: bool
    piece_size: PieceSize


class _LeanMixer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, settings: _Settings, *parameters: Any) -> Tensor:
        p = MixerParameters(*parameters)
        backend, eps, residual, trains, piece_size = settings
        A = -torch.exp(p.A_log)
        mixed = torch.empty_like(hidden)
        state: Tensor | None = None
        kept: list[Tensor] = []
        for piece in _pieces(hidden, p, piece_size):
            tokens, _ = _normalise(hidden[:, piece.with_lookback], p, eps)
            s = scan_inputs(tokens, p, backend, lookback=piece.lookback)
            given = _scanned(s, A, p, state)
            y, state, restart = scan(*given, dt_softplus=True, keep_states=trains, backend=backend)
            projected = F.linear(y.transpose(1, 2), p.out_proj, p.out_proj_bias)
            if residual:
                projected += hidden[:, piece.own]
            mixed[:, piece.own] = projected
            kept += (y, restart) if trains else ()
        ctx.save_for_backward(hidden, *parameters, *kept)
        ctx.settings = settings
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        # Whoever calls backward inside autocast would get half the products in half precision.
        with full_precision(grad.device.type):
            return _backward(ctx, grad)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    backend, eps, residual, _, piece_size = ctx.settings
    hidden, *others = ctx.saved_tensors
    p = MixerParameters(*others[: len(MixerParameters._fields)])
    kept = others[len(p) :]
    A = -torch.exp(p.A_log)
    grad_hidden = torch.empty_like(hidden)
    sums = _Gradients(p)
    # Gradients, from later pieces, of the state and of the steps that they look back on.
    grad_state: Tensor | None = None
    grad_lookback = grad.new_empty(0)
    for piece in reversed(list(_pieces(hidden, p, piece_size))):
        restart, y = kept.pop(), kept.pop()
        grad_mixed = grad[:, piece.own].contiguous()
        tokens, statistics = _normalise(hidden[:, piece.with_lookback], p, eps)
        s = scan_inputs(tokens, p, backend, lookback=piece.lookback)
        sums.of_linear("out_proj", grad_mixed, y.transpose(1, 2))
        grad_y = (grad_mixed @ p.out_proj).transpose(1, 2)
        *given, _ = _scanned(s, A, p)
        scanned = scan_backward(
            *(grad_y, grad_state, *given, restart),
            dt_softplus=True,
            with_first=piece.own.start > 0,
            backend=backend,
        )
        del y, grad_y, restart
        grad_u, grad_dt, grad_A, grad_B, grad_C, grad_D, grad_z, grad_bias, grad_state = scanned
        del scanned
        sums.add(A_log=grad_A * A, D=grad_D, dt_bias=grad_bias)  # A = -exp(A_log)

        grad_dt = grad_dt.transpose(1, 2)
        sums.of_linear("dt_proj", grad_dt, s.dt_low)
        parts = (grad_dt @ p.dt_proj, grad_B.transpose(1, 2), grad_C.transpose(1, 2))
        grad_projected = torch.cat(parts, dim=-1)
        del grad_dt, grad_B, grad_C, parts
        sums.of_linear("x_proj", grad_projected, s.u.transpose(1, 2))
        grad_u = grad_u.transpose(1, 2).add_(grad_projected @ p.x_proj).transpose(1, 2)

        # The steps looked back on are another piece's outputs: no gradient enters there.
        grad_u = F.pad(grad_u, (piece.lookback, 0)) if piece.lookback else grad_u
        convolved = conv_silu_backward(grad_u, s.x, p.conv, p.conv_bias, backend)
        grad_x, grad_conv, grad_conv_bias = convolved
        sums.add(conv=grad_conv, conv_bias=grad_conv_bias)
        del grad_u, convolved, s
        if grad_lookback.numel():
            grad_x[..., -grad_lookback.shape[-1] :] += grad_lookback
        grad_lookback = grad_x[..., : piece.lookback]
        halves = [g.transpose(1, 2) for g in (grad_x[..., piece.lookback :], grad_z)]
        del grad_x, grad_z
        own = tokens[:, piece.lookback :]
        sums.of_linear("in_proj", halves, own)
        weights = p.in_proj.chunk(2)
        grad_tokens = (halves[0] @ weights[0]).add_(halves[1] @ weights[1])
        if statistics is not None:
            # Contiguous, since torch's operator takes that on trust.
            mean, rstd = (x[:, piece.lookback :].contiguous() for x in statistics)
            grad_tokens = sums.of_norm(grad_tokens, hidden[:, piece.own], mean, rstd)
        if residual:
            grad_tokens = grad_tokens.add_(grad_mixed)
        grad_hidden[:, piece.own] = grad_tokens
    return (grad_hidden, None, *sums)


class _Piece(NamedTuple):
    """A stretch of the sequence, and how many steps before it the convolution looks back on."""

    own: slice
    lookback: int

    @property
    def with_lookback(self) -> slice:
        return slice(self.own.start - self.lookback, self.own.stop)


def _pieces(hidden: Tensor, p: MixerParameters, piece_size: PieceSize) -> Iterator[_Piece]:
    """Cut the sequence into pieces."""
    batch, length, _ = hidden.shape
    d_inner, width = p.conv.shape
    fitting = piece_size.n_bytes // max(1, batch * d_inner * hidden.element_size())
    size = max(piece_size.least_tokens, width, fitting)
    for start in range(0, length, size):
        yield _Piece(slice(start, min(start + size, length)), min(start, width - 1))


def _normalise(
    hidden: Tensor, p: MixerParameters, eps: float | None
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Return contiguous tokens, after the norm if there is one, with its means and scales."""
    if eps is None:
        return hidden.contiguous(), None
    shape = hidden.shape[-1:]
    tokens, mean, rstd = torch.native_layer_norm(hidden, shape, p.norm, p.norm_bias, eps)
    return tokens, (mean, rstd)


class _Gradients:
    """Sums of the gradients of the parameters over pieces."""

    def __init__(self, parameters: MixerParameters) -> None:
        self._parameters = parameters
        self._sums: dict[str, Tensor] = {}

    def __iter__(self) -> Iterator[Tensor | None]:
        return (self._sums.get(name) for name in self._parameters._fields)

    def add(self, **terms: Tensor | None) -> None:
        """Add one piece's gradients."""
        for name, term in terms.items():
            if term is not None:
                self._sums[name] = self._sums[name].add_(term) if name in self._sums else term

    def of_linear(self, name: str, grad: Tensor | list[Tensor], x: Tensor) -> None:
        """Add the gradients of a linear layer, from that of its outputs, which may be in parts."""
        flat = [g.flatten(0, -2) for g in (grad if isinstance(grad, list) else [grad])]
        inputs = x.flatten(0, -2)
        self.add(**{name: torch.cat([g.t() @ inputs for g in flat])})
        bias = f"{name}_bias"
        if getattr(self._parameters, bias, None) is not None:
            self.add(**{bias: torch.cat([g.sum(0) for g in flat])})

    def of_norm(self, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
        """Add the gradients of the norm, and return that of its input."""
        weight, bias = self._parameters.norm, self._parameters.norm_bias
        wanted = [True, weight is not None, bias is not None]
        shape = x.shape[-1:]
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_layer_norm_backward(
            grad, x, shape, mean, rstd, weight, bias, wanted
        )
        self.add(norm=grad_weight, norm_bias=grad_bias)
        moved: Tensor = grad_x
        return moved
