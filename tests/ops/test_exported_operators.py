"""What operators of exported networks say of their outputs is what they return."""

import torch
from torch.library import opcheck

from umamba.ops.exported import diagonal_recurrence, duality

TESTS = ("test_schema", "test_faketensor")  # the order in memory is among them


def test_the_diagonal_recurrence_returns_what_it_says() -> None:
    u = torch.randn(2, 50, 6).transpose(1, 2)
    parameters = [-torch.rand(6, 4), *(torch.randn(6, 4) for _ in range(3))]
    opcheck(diagonal_recurrence, (u, *parameters), test_utils=TESTS)


def test_the_duality_returns_what_it_says() -> None:
    x, dt = torch.randn(2, 3, 50, 8).transpose(1, 2), torch.rand(2, 50, 3)
    B, C = torch.randn(2, 50, 4), torch.randn(2, 50, 4)
    opcheck(duality, (x, dt, -torch.rand(3), B, C), test_utils=TESTS)
