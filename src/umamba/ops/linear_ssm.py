"""Linear time-invariant state-space models: HiPPO-LegS, discretisation, recurrence, convolution.

    x'(t) = A x(t) + B u(t),    y(t) = C x(t)             in continuous time
    x_k = Ad x_{k-1} + Bd u_k,  y_k = C x_k,  x_{-1} = 0  after discretisation with step `dt`

As in the selective scan, `u_k` already enters `y_k`. The outputs are also the causal convolution
of the inputs with the kernel `K_k = C Ad^k Bd`.

Source: Gu et al. 2021, arXiv:2110.13985 (LSSL); Gu et al. 2022, arXiv:2206.11893 (S4D).
"""

import math

import torch
from jaxtyping import Complex, Float, Num
from torch import Tensor

from umamba.errors import unknown_name
from umamba.ops.precision import full_precision

__all__ = [
    "DISCRETISATIONS",
    "causal_convolution",
    "diagonal_kernel",
    "diagonal_legs",
    "diagonal_ssm",
    "discretise",
    "hippo_legs",
    "kernel_of_decays",
    "linear_recurrence",
]

DISCRETISATIONS = ("zoh", "bilinear")
MODES = ("convolution", "recurrence")


def hippo_legs(d_state: int) -> tuple[Float[Tensor, "n n"], Float[Tensor, " n"]]:
    """Return the matrices whose state holds the Legendre coefficients of the whole past.

        A[n, k] = -sqrt((2n + 1)(2k + 1)) for n > k,  -(n + 1) for n = k,  0 for n < k
        B[n] = sqrt(2n + 1)

    Args:
        d_state: Number of coefficients.

    Returns:
        `A` and `B` in float64.

    Source:
        Gu et al. 2020, arXiv:2008.07669, theorem 2 (without the factor 1/t), as LSSL uses it.
    """
    n = torch.arange(d_state, dtype=torch.float64)
    B = torch.sqrt(2 * n + 1)
    return -torch.tril(torch.outer(B, B), -1) - torch.diag(n + 1), B


def diagonal_legs(d_state: int) -> tuple[Complex[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Diagonalise the normal part of HiPPO-LegS, `A + B B^T / 2`, whose real part is -1/2.

    With `B / 2` for `B` its impulse response tends to that of HiPPO-LegS for many states.

    Args:
        d_state: Number of real states; even, as the eigenvalues come in conjugate pairs.

    Returns:
        One eigenvalue of each pair in complex128, and `B / 2` in the basis of the eigenvectors,
        whose phases are such that it is positive.

    Source:
        Gu et al. 2022, arXiv:2206.11893, section 4 (S4D-LegS).
    """
    A, B = hippo_legs(d_state)
    skew = A + torch.outer(B, B) / 2 + torch.eye(d_state) / 2
    frequencies, V = torch.linalg.eigh(-1j * skew)  # ascending, symmetric about zero
    positive = slice(d_state // 2, None)
    return -0.5 + 1j * frequencies[positive], (V.mH @ B.to(V.dtype))[positive].abs() / 2


def discretise(
    A: Num[Tensor, "*batch n n"],
    B: Num[Tensor, "*batch n"],
    dt: Float[Tensor, "*#batch"],
    method: str = "zoh",
) -> tuple[Num[Tensor, "*batch n n"], Num[Tensor, "*batch n"]]:
    """Turn a system in continuous time into one in steps.

        zoh:       Ad = exp(dt A),  Bd = A^{-1} (Ad - 1) B
        bilinear:  Ad = (1 - dt A / 2)^{-1} (1 + dt A / 2),  Bd = (1 - dt A / 2)^{-1} dt B

    Args:
        A: System matrices; for zoh they may be singular.
        B: Input vectors.
        dt: Step sizes.
        method: `zoh` (zero-order hold) or `bilinear`.

    Returns:
        `Ad` and `Bd`.

    Source:
        Gu et al. 2021, arXiv:2110.13985, section 2; zoh by the exponential of the
        system with its held input as one more state (Van Loan 1978).
    """
    _check_choice("discretisation", method, DISCRETISATIONS)
    n = A.shape[-1]
    dt = dt[..., None, None]
    if method == "zoh":
        joint = torch.cat((A, B[..., None]), dim=-1)
        joint = torch.cat((joint, torch.zeros_like(joint[..., :1, :])), dim=-2)
        exponential = torch.linalg.matrix_exp(dt * joint)
        return exponential[..., :n, :n], exponential[..., :n, n]
    identity = torch.eye(n, dtype=A.dtype, device=A.device)
    right = torch.cat((identity + dt / 2 * A, dt * B[..., None]), dim=-1)
    solved = torch.linalg.solve(identity - dt / 2 * A, right)
    return solved[..., :n], solved[..., n]


def linear_recurrence(
    u: Float[Tensor, "batch d_inner length"],
    Ad: Num[Tensor, "#d_inner n n"],
    Bd: Num[Tensor, "#d_inner n"],
    C: Num[Tensor, "#d_inner n"],
) -> Num[Tensor, "batch d_inner length"]:
    """Run a system per channel, one step after another: the definition, slow and in any dtype.

    Args:
        u: Inputs.
        Ad: Discretised system matrices.
        Bd: Discretised input vectors.
        C: Output vectors.
    """
    x = Bd.new_zeros(*u.shape[:2], Bd.shape[-1])
    outputs = []
    for u_k in u.unbind(-1):
        x = (Ad * x[..., None, :]).sum(-1) + Bd * u_k[..., None]
        outputs.append((C * x).sum(-1))
    return torch.stack(outputs, dim=-1)


def diagonal_kernel(
    A: Complex[Tensor, "d_inner pairs"],
    C: Complex[Tensor, "d_inner pairs"],
    dt: Float[Tensor, " d_inner"],
    length: int,
    method: str = "zoh",
) -> Float[Tensor, "d_inner length"]:
    """Return the kernel of diagonal systems of conjugate pairs, `K_k = 2 Re sum_n C Ad^k Bd`.

    The powers of a block's first steps and those within a block are computed apart, and one matrix
    product joins them: about `4 d_inner pairs sqrt(length)` numbers instead of
    `d_inner pairs length`.

    Args:
        A: One eigenvalue of each pair.
        C: Output weights; `B` is 1, as only the product of the two matters.
        dt: Step sizes.
        length: Number of steps.
        method: `zoh` or `bilinear`.
    """
    _check_choice("discretisation", method, DISCRETISATIONS)
    z = dt[:, None] * A
    if method == "zoh":
        log_Ad, Bd = z, torch.expm1(z) / A
    else:
        log_Ad, Bd = torch.log((1 + z / 2) / (1 - z / 2)), dt[:, None] / (1 - z / 2)
    return kernel_of_decays(log_Ad, 2 * C * Bd, length)


def kernel_of_decays(
    log_decay: Complex[Tensor, "d_inner pairs"],
    weight: Complex[Tensor, "d_inner pairs"],
    length: int,
) -> Float[Tensor, "d_inner length"]:
    """Return the kernel `K_k = Re sum_n weight exp(k log_decay)`.

    Args:
        log_decay: Logarithms of what is left of each state after one step.
        weight: Weights of the states in the output, for inputs of one.
        length: Number of steps.
    """
    block = math.isqrt(length - 1) + 1
    n_blocks = -(-length // block)
    dtype, device = log_decay.real.dtype, log_decay.device
    steps = torch.arange(block, dtype=dtype, device=device)
    starts = block * torch.arange(n_blocks, dtype=dtype, device=device)
    within = torch.exp(log_decay[..., None] * steps)
    first = weight[:, None] * torch.exp(log_decay[:, None] * starts[:, None])
    joined = torch.cat((first.real, -first.imag), -1) @ torch.cat((within.real, within.imag), 1)
    return joined.flatten(1)[:, :length]


def causal_convolution(
    u: Float[Tensor, "batch d_inner length"], kernel: Float[Tensor, "d_inner length"]
) -> Float[Tensor, "batch d_inner length"]:
    """Return `y_k = sum_j kernel_j u_{k - j}` by the fast Fourier transform.

    Args:
        u: Inputs.
        kernel: One filter per channel, as long as the inputs.
    """
    length = u.shape[-1]
    n = 2 * length  # so that the end does not come round to the beginning
    spectrum = torch.fft.rfft(u, n=n) * torch.fft.rfft(kernel, n=n)
    y: Tensor = torch.fft.irfft(spectrum, n=n)[..., :length]
    return y


def diagonal_ssm(
    u: Float[Tensor, "batch d_inner length"],
    A: Complex[Tensor, "d_inner pairs"],
    C: Complex[Tensor, "d_inner pairs"],
    dt: Float[Tensor, " d_inner"],
    *,
    discretisation: str = "zoh",
    mode: str = "convolution",
) -> Float[Tensor, "batch d_inner length"]:
    """Run diagonal systems of conjugate pairs, whose outputs are real.

    The work is linear in the length, up to the logarithm of the transform. Autograd keeps the
    spectrum of `u`, twice as large as `u`, and nothing that grows with the states and the length.

    Args:
        u: Inputs; float32 or float64, like all others.
        A: One eigenvalue of each pair.
        C: Output weights; `B` is 1, as only the product of the two matters.
        dt: Step sizes.
        discretisation: `zoh` or `bilinear`.
        mode: `convolution`, or `recurrence` for the definition, step after step.

    Raises:
        ValueError: If `discretisation` or `mode` is unknown.

    Source:
        Gu et al. 2022, arXiv:2206.11893, section 3.
    """
    _check_choice("mode", mode, MODES)
    with full_precision(u.device.type):
        if mode == "convolution":
            return causal_convolution(u, diagonal_kernel(A, C, dt, u.shape[-1], discretisation))
        Ad, Bd = discretise(torch.diag_embed(A), torch.ones_like(A), dt, discretisation)
        return 2 * linear_recurrence(u, Ad, Bd, C).real


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        msg = unknown_name(name, value, choices)
        raise ValueError(msg)
