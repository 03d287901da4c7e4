"""Products within chunks against the recurrence, one step after another, in float64."""

import pytest
import torch
from torch import Tensor

from reference_cases import relative_l2
from umamba.ops.state_space_duality import state_space_duality, state_space_recurrence


def inputs(length: int) -> list[Tensor]:
    """Sequences, with steps of Mamba's range, a slow and a fast head, and a first state."""
    batch, heads, headdim, d_state = 2, 3, 4, 5
    x = torch.randn(batch, length, heads, headdim)
    dt = torch.rand(batch, length, heads) * 0.1 + 1e-3
    A = torch.tensor([-0.01, -1.0, -16.0])
    B, C = (torch.randn(batch, length, d_state) for _ in range(2))
    first = torch.randn(batch, d_state, heads, headdim)
    return [given.double().requires_grad_() for given in (x, dt, A, B, C, first)]


# The longest has so many chunks that those of chunks are carried in groups, too.
@pytest.mark.parametrize(
    ("length", "chunk"), [(1, 64), (7, 64), (64, 64), (129, 64), (500, 64), (1100, 1)]
)
def test_matches_the_recurrence_and_its_gradients(length: int, chunk: int) -> None:
    given = inputs(length)
    got, want = state_space_duality(*given, chunk=chunk), state_space_recurrence(*given)
    assert all(relative_l2(g, w) < 1e-12 for g, w in zip(got, want, strict=True))
    weights = [torch.randn_like(w) for w in want]
    grads, wanted = (
        torch.autograd.grad([(y * w).sum() for y, w in zip(pair, weights, strict=True)], given)
        for pair in (got, want)
    )
    errors = [relative_l2(g, w) for g, w in zip(grads, wanted, strict=True)]
    assert all(error < 1e-10 for error in errors), errors


def test_float32_is_close_and_finite_where_decays_are_extreme() -> None:
    x, dt, A, B, C, _ = (given.detach() for given in inputs(500))
    for scale in (1, 1000):
        exact = state_space_recurrence(x, scale * dt, A, B, C)
        single = [given.float() for given in (x, scale * dt, A, B, C)]
        for got, want in zip(state_space_duality(*single), exact, strict=True):
            assert relative_l2(got, want) < 1e-5


def test_a_sequence_in_two_parts_is_the_same() -> None:
    x, dt, A, B, C, first = inputs(150)
    whole, last = state_space_duality(x, dt, A, B, C, first)
    y, state = state_space_duality(x[:, :70], dt[:, :70], A, B[:, :70], C[:, :70], first)
    z, end = state_space_duality(x[:, 70:], dt[:, 70:], A, B[:, 70:], C[:, 70:], state)
    assert relative_l2(torch.cat([y, z], 1), whole) < 1e-12
    assert relative_l2(end, last) < 1e-12
