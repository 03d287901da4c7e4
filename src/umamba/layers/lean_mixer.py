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

from umamba.layers.token_norm import Statistics, normalise, normalise_backward
from umamba.ops.backends import resolve_backend
from umamba.ops.causal_conv import conv_silu, conv_silu_backward
from umamba.ops.counted_device import device_type_of
from umamba.ops.operator import refuse_second_derivatives, scan, scan_backward
from umamba.ops.precision import full_precision
from umamba.ops.scan_backend import ScanTensors

__all__ = [
    "MixerParameters",
    "PieceSize",
    "ScanInputs",
    "for_products",
    "lean_mixer",
    "scan_inputs",
]


class PieceSize(NamedTuple):
    """The size of the pieces, in bytes of one sequence of d_inner channels; a dozen are in use."""

    n_bytes: int
    least_tokens: int = 256


_ON_CPU = PieceSize(1 << 21)  # which stays in the cache
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


def for_products(p: MixerParameters, dtype: torch.dtype | None) -> MixerParameters:
    """Return the parameters with the weights of matrix products in another type.

    Not those of `out_proj` in float16, whose range the outputs of the scan may exceed.

    Args:
        p: The block's parameters.
        dtype: The type; `None` leaves them as they are.
    """
    if dtype is None:
        return p
    names = ["in_proj", "in_proj_bias", "x_proj", "dt_proj"]
    names += [] if dtype == torch.float16 else ["out_proj", "out_proj_bias"]
    given = {name: getattr(p, name) for name in names}
    return p._replace(**{n: x.to(dtype) for n, x in given.items() if x is not None})


def scan_inputs(
    hidden: Tensor, p: MixerParameters, backend: str | None, *, lookback: int = 0
) -> ScanInputs:
    """Project and convolve `(batch, length, d_model)` tokens into inputs of the scan.

    Products are in the type of their weights. `u` has that of the convolution.

    Args:
        hidden: The tokens, normalised.
        p: The block's parameters.
        backend: As in `selective_scan`.
        lookback: How many of the first tokens are only there for the convolution to look back on.
    """
    tokens = hidden.to(p.in_proj.dtype)
    x, z = F.linear(tokens, p.in_proj, p.in_proj_bias).transpose(1, 2).chunk(2, dim=1)
    u = conv_silu(x, p.conv, p.conv_bias, backend)[..., lookback:]
    d_state = p.A_log.shape[1]
    projected = F.linear(u.transpose(1, 2).to(p.x_proj.dtype), p.x_proj)
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
    products: torch.dtype | None = None,
    piece_size: PieceSize | None = None,
) -> Tensor:
    """Run a Mamba block outside autocast, keeping little for the backward.

    Args:
        hidden: Tokens `(batch, length, d_model)` of any strides, in the type of the parameters.
        p: The block's parameters.
        backend: As in `selective_scan`, but not `reference`.
        eps: `eps` of the LayerNorm in front; `None` if there is none.
        residual: Whether the tokens, before the norm, are added to the result.
        products: Type of the matrix products, as `for_products` has it.
        piece_size: The size of the pieces; `None` is that for the device. The result does not
            depend on it.

    Returns:
        The mixed tokens, laid out as `hidden`.
    """
    # Inside the function, autograd does not tell whether there will be a backward.
    given = [x for x in (hidden, *p) if x is not None]
    trains = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    device = device_type_of(hidden)
    chosen = resolve_backend(backend, device)
    usual = _ON_CPU if device == "cpu" else _ELSEWHERE
    settings = _Settings(chosen, eps, residual, trains, products, piece_size or usual)
    mixed: Tensor = _LeanMixer.apply(hidden, settings, *p)
    return mixed


class _Settings(NamedTuple):
    backend: str
    eps: float | None
    residual: bool
    trains: bool
    products: torch.dtype | None
    piece_size: PieceSize


class _LeanMixer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, settings: _Settings, *parameters: Any) -> Tensor:
        p = MixerParameters(*parameters)
        backend, eps, residual, trains, products, piece_size = settings
        A, q = -torch.exp(p.A_log), for_products(p, products)
        mixed = torch.empty_like(hidden)
        state: Tensor | None = None
        kept: list[Tensor] = []
        for piece in _pieces(hidden, p, piece_size):
            tokens, _ = _normalise(hidden[:, piece.with_lookback], p, eps)
            s = scan_inputs(tokens, q, backend, lookback=piece.lookback)
            given = _scanned(s, A, p, state)
            y, state, restart = scan(*given, dt_softplus=True, keep_states=trains, backend=backend)
            projected = _product(y.transpose(1, 2), q.out_proj, hidden)
            if q.out_proj_bias is not None:
                projected += q.out_proj_bias
            if residual:
                projected = hidden[:, piece.own] + projected
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
    backend, eps, residual, _, products, piece_size = ctx.settings
    hidden, *others = ctx.saved_tensors
    p = MixerParameters(*others[: len(MixerParameters._fields)])
    kept = others[len(p) :]
    A, q = -torch.exp(p.A_log), for_products(p, products)
    grad_hidden = torch.empty_like(hidden)
    sums = _Gradients(p)
    # Gradients, from later pieces, of the state and of the steps that they look back on.
    grad_state: Tensor | None = None
    grad_lookback = grad.new_empty(0)
    for piece in reversed(list(_pieces(hidden, p, piece_size))):
        restart, y = kept.pop(), kept.pop()
        tokens, statistics = _normalise(hidden[:, piece.with_lookback], p, eps)
        s = scan_inputs(tokens, q, backend, lookback=piece.lookback)
        grad_mixed = grad[:, piece.own]
        grad_projected = grad_mixed.to(q.out_proj.dtype)
        sums.of_linear("out_proj", grad_projected, y.transpose(1, 2))
        grad_y = (grad_projected @ q.out_proj).transpose(1, 2)
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

        grad_u = _through_projections(sums, q, s, grad_u, grad_dt, grad_B, grad_C, piece.lookback)
        convolved = conv_silu_backward(grad_u, s.x, p.conv, p.conv_bias, backend)
        del grad_u, grad_dt, grad_B, grad_C, s
        grad_x, grad_conv, grad_conv_bias = convolved
        sums.add(conv=grad_conv, conv_bias=grad_conv_bias)
        del convolved
        if grad_lookback.numel():
            grad_x[..., -grad_lookback.shape[-1] :] += grad_lookback
        grad_lookback = grad_x[..., : piece.lookback]
        halves = [g.transpose(1, 2) for g in (grad_x[..., piece.lookback :], grad_z)]
        del grad_x, grad_z
        sums.of_linear("in_proj", halves, tokens[:, piece.lookback :])
        parts = zip(halves, q.in_proj.chunk(2), strict=True)
        one, other = (_product(g, weight.t(), hidden) for g, weight in parts)
        grad_tokens = one.to(hidden.dtype).add_(other)
        if statistics is not None:
            own = Statistics(*(number[:, piece.lookback :] for number in statistics))
            grad_tokens = sums.of_norm(grad_tokens, hidden[:, piece.own], own)
        if residual:
            grad_tokens = grad_tokens.add_(grad_mixed)
        grad_hidden[:, piece.own] = grad_tokens
    return (grad_hidden, None, *sums)


def _through_projections(
    sums: "_Gradients",
    q: MixerParameters,
    s: ScanInputs,
    grad_u: Tensor,
    grad_dt: Tensor,
    grad_B: Tensor,
    grad_C: Tensor,
    lookback: int,
) -> Tensor:
    """Return the gradient of `u` through all that the scan was given, after `lookback` zeros.

    The steps looked back on are another piece's outputs: no gradient enters there.
    """
    sums.of_linear("dt_proj", grad_dt.transpose(1, 2), s.dt_low)
    batch, d_inner, length = grad_u.shape
    weights = q.dt_proj.t().expand(batch, -1, -1)
    grad_projected = torch.cat([torch.bmm(weights, grad_dt), grad_B, grad_C], dim=1)
    sums.of_linear("x_proj", grad_projected.transpose(1, 2), s.u.transpose(1, 2))
    whole = grad_u.new_empty(batch, lookback + length, d_inner)
    whole[:, :lookback] = 0
    through = grad_projected.transpose(1, 2) @ q.x_proj
    torch.add(grad_u.transpose(1, 2), through, out=whole[:, lookback:])
    return whole.transpose(1, 2)


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
) -> tuple[Tensor, Statistics | None]:
    """Return tokens, after the norm if there is one, with its statistics."""
    return (hidden, None) if eps is None else normalise(hidden, p.norm, p.norm_bias, eps)


def _product(x: Tensor, weight: Tensor, like: Tensor) -> Tensor:
    """Return `x weight^T` for `(batch, length, width)`, in planes of channels if `like` lies so."""
    x = x.to(weight.dtype)
    if like.stride(-1) == 1:
        return F.linear(x, weight)
    return torch.bmm(weight.expand(x.shape[0], -1, -1), x.transpose(1, 2)).transpose(1, 2)


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
        parts = grad if isinstance(grad, list) else [grad]
        parameters = self._parameters
        dtype = getattr(parameters, name).dtype
        weights = [_sum_of_outer_products(g, x).to(dtype) for g in parts]
        self.add(**{name: torch.cat(weights) if len(weights) > 1 else weights[0]})
        bias = f"{name}_bias"
        if getattr(parameters, bias, None) is not None:
            self.add(**{bias: torch.cat([g.sum((0, 1)) for g in parts]).to(dtype)})

    def of_norm(self, grad: Tensor, x: Tensor, statistics: Statistics) -> Tensor:
        """Add the gradients of the norm, and return that of its input."""
        weight, bias = self._parameters.norm, self._parameters.norm_bias
        moved, grad_weight, grad_bias = normalise_backward(grad, x, statistics, weight, bias)
        self.add(norm=grad_weight, norm_bias=grad_bias)
        return moved


def _sum_of_outer_products(grad: Tensor, x: Tensor) -> Tensor:
    """Return `(outputs, inputs)`, the sum over images and tokens, in the lower of both types."""
    dtype = min(grad.dtype, x.dtype, key=lambda dtype: dtype.itemsize)
    grad, x = grad.to(dtype), x.to(dtype)
    # The wider matrix second: BLAS is ten times slower with a few columns than with a few rows.
    swapped = grad.shape[-1] > x.shape[-1]
    one, other = (x, grad) if swapped else (grad, x)
    if grad.device.type != "cpu":
        total = one.flatten(0, -2).t() @ other.flatten(0, -2)
    else:
        # Image by image, planes of channels need no copy.
        total = one.new_zeros(one.shape[-1], other.shape[-1])
        for rows, columns in zip(one, other, strict=True):
            total.addmm_(rows.t(), columns)
    return total.t() if swapped else total
