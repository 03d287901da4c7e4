"""The recurrence of Mamba-2, by matrix products within chunks and a short carry between them.

Mamba-2 has one decay per head instead of one per channel and state. A chunk is then a product with
a lower triangular matrix, as attention's is, and takes matrix products only, whatever the device.

Source: Dao and Gu 2024, arXiv:2405.21060, section 6 (the algorithm), section 7.1 (heads).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["CHUNK", "state_space_duality", "state_space_recurrence"]

CHUNK = 64  # steps; the products within a chunk take its square
_GROUP = 32  # chunks that are carried by one product


def state_space_recurrence(
    x: Float[Tensor, "batch length heads headdim"],
    dt: Float[Tensor, "batch length heads"],
    A: Float[Tensor, " heads"],
    B: Float[Tensor, "batch length d_state"],
    C: Float[Tensor, "batch length d_state"],
    initial_state: Float[Tensor, "batch d_state heads headdim"] | None = None,
) -> tuple[
    Float[Tensor, "batch length heads headdim"], Float[Tensor, "batch d_state heads headdim"]
]:
    """Run the recurrence of Mamba-2 one step after another; the definition, for tests.

        h_t = exp(dt_t A) h_{t-1} + B_t (dt_t x_t),   y_t = C_t h_t

    Args:
        x: Input sequence.
        dt: Step size, positive.
        A: Decay of each head, real and negative.
        B: Input projection, that of all heads.
        C: Output projection, that of all heads.
        initial_state: State before the first step; `None` means zero.

    Returns:
        The outputs and the last state, in the type of the arguments.

    Source:
        Dao and Gu 2024, arXiv:2405.21060, equation 2 and section 7.1.
    """
    batch, length, heads, headdim = x.shape
    h = x.new_zeros(batch, B.shape[-1], heads, headdim) if initial_state is None else initial_state
    outputs = []
    for t in range(length):
        decay = torch.exp(dt[:, t] * A)[:, None, :, None]
        added = B[:, t, :, None, None] * (dt[:, t, :, None] * x[:, t])[:, None]
        h = decay * h + added
        outputs.append((C[:, t, :, None, None] * h).sum(1))
    return torch.stack(outputs, 1), h


def state_space_duality(
    x: Float[Tensor, "batch length heads headdim"],
    dt: Float[Tensor, "batch length heads"],
    A: Float[Tensor, " heads"],
    B: Float[Tensor, "batch length d_state"],
    C: Float[Tensor, "batch length d_state"],
    initial_state: Float[Tensor, "batch d_state heads headdim"] | None = None,
    *,
    chunk: int = CHUNK,
    products: torch.dtype | None = None,
) -> tuple[
    Float[Tensor, "batch length heads headdim"], Float[Tensor, "batch d_state heads headdim"]
]:
    """Return what `state_space_recurrence` does, in matrix products.

    Decays within a chunk are the exponentials of differences of cumulative sums, as in the
    authors' kernels, so their relative error is that of the largest sum.

    Args:
        x: Input sequence.
        dt: Step size, positive.
        A: Decay of each head, real and negative.
        B: Input projection, that of all heads.
        C: Output projection, that of all heads.
        initial_state: State before the first step; `None` means zero.
        chunk: Steps per chunk.
        products: Type of the matrix products within chunks, into states and out of them; `None`
            is that of the arguments. Decays, and the carry between chunks, stay in that one.

    Returns:
        The outputs and the last state, in the type of the arguments.

    Source:
        Dao and Gu 2024, arXiv:2405.21060, section 6.
    """
    length, heads, headdim = x.shape[1:]
    chunk = min(chunk, length)
    # Steps of size zero keep the state and add nothing.
    u, steps, B, C = (_cut(given, chunk) for given in (dt[..., None] * x, dt, B, C))
    total = torch.cumsum(steps * A, 2)  # (batch, chunks, chunk, heads): logarithms of decays
    scores = _multiply(C, B.mT, products)[:, :, None] * _decays(total.transpose(2, 3))
    y = _multiply(scores, u.transpose(2, 3), products).transpose(2, 3)

    to_end = torch.exp(total[:, :, -1:] - total)[..., None]
    added = _multiply(B.mT, (to_end * u).flatten(3), products)
    added = added.view(*added.shape[:3], heads, headdim)
    first = added.new_zeros(added[:, 0].shape) if initial_state is None else initial_state
    states = _carry(added, total[:, :, -1], first)
    earlier = _multiply(C, states[:, :-1].flatten(3), products).view(y.shape)
    y = y + torch.exp(total)[..., None] * earlier
    return y.flatten(1, 2)[:, :length], states[:, -1].clone()  # without those of all chunks


def _multiply(one: Tensor, other: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return the matrix product in a type; the result has that of the factors."""
    if dtype is None:
        return torch.matmul(one, other)
    return torch.matmul(one.to(dtype), other.to(dtype)).to(one.dtype)


def _cut(
    sequence: Float[Tensor, "batch length *rest"], size: int
) -> Float[Tensor, "batch pieces size *rest"]:
    """Cut a sequence into pieces, the last one filled up with zeros."""
    batch, length, *rest = sequence.shape
    padded = F.pad(sequence, (0, 0) * len(rest) + (0, -length % size))
    return padded.view(batch, -1, size, *rest)


def _decays(total: Float[Tensor, "*rest steps"]) -> Float[Tensor, "*rest steps steps"]:
    """Return how much of what is added at a step (column) is left at another one (row)."""
    later = torch.ones(total.shape[-1:] * 2, dtype=torch.bool, device=total.device).triu(1)
    differences = total[..., :, None] - total[..., None, :]
    return torch.exp(differences.masked_fill(later, -torch.inf))


def _carry(
    added: Float[Tensor, "batch chunks d_state heads headdim"],
    log_decay: Float[Tensor, "batch chunks heads"],
    first: Float[Tensor, "batch d_state heads headdim"],
) -> Float[Tensor, "batch places d_state heads headdim"]:
    """Return the state before every chunk, and after the last.

    Args:
        added: What every chunk adds to the state at its end.
        log_decay: Logarithm of what a chunk leaves of the state before it.
        first: The state before the first.
    """
    chunks = added.shape[1]
    if chunks > _GROUP:
        added, log_decay = _cut(added, _GROUP), _cut(log_decay, _GROUP)
        nothing = torch.zeros_like(added[:, :, 0])
        alone = _carry(*(given.flatten(0, 1) for given in (added, log_decay, nothing)))
        alone = alone.view(*nothing.shape[:2], -1, *nothing.shape[2:])
        before = _carry(alone[:, :, -1], log_decay.sum(2), first)
        left = torch.exp(F.pad(log_decay, (0, 0, 1, 0)).cumsum(2))[:, :, :-1, None, :, None]
        states = (alone[:, :, :-1] + left * before[:, :-1, None]).flatten(1, 2)
        return torch.cat([states[:, :chunks], before[:, -1:]], 1)
    places = torch.cat([first[:, None], added], 1)
    total = F.pad(log_decay, (0, 0, 1, 0)).cumsum(1)
    per_head = places.movedim(3, 1)
    carried = torch.matmul(_decays(total.mT), per_head.flatten(3)).view(per_head.shape)
    return carried.movedim(1, 3)
