"""The attention gate against einsums in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from umamba.layers.attention_gate import AttentionGate
from umamba.layers.conv_blocks import ConvStyle

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def interpolation(coarse: int, fine: int) -> Tensor:
    """Matrix of linear interpolation between the centres of cells, constant outside."""
    centres = (np.arange(fine) + 0.5) * coarse / fine - 0.5
    columns = [np.interp(centres, np.arange(coarse), row) for row in np.eye(coarse)]
    return torch.tensor(np.stack(columns, axis=1))


def reference(gate: AttentionGate, x: Tensor, g: Tensor, stride: tuple[int, ...]) -> Tensor:
    weights = gate.state_dict()
    axes = "ijk"[: len(stride)]
    steps = "uvw"[: len(stride)]
    split = [n for size, s in zip(x.shape[2:], stride, strict=True) for n in (size // s, s)]
    cells = x.reshape(*x.shape[:2], *split)
    inner = "".join(a + s for a, s in zip(axes, steps, strict=True))
    theta = torch.einsum(f"bc{inner},dc{steps}->bd{axes}", cells, weights["theta.weight"])
    one = (-1,) + (1,) * len(stride)
    phi = torch.einsum("bc...,dc->bd...", g, weights["phi.weight"].flatten(1))
    added = (theta + phi + weights["phi.bias"].view(one)).clamp_min(0)
    psi = torch.einsum("bd...,d->b...", added, weights["psi.weight"].flatten())
    alpha = 1 / (1 + torch.exp(-(psi + weights["psi.bias"])))
    for axis, s in enumerate(stride):
        matrix = interpolation(g.shape[2 + axis], g.shape[2 + axis] * s)
        alpha = torch.movedim(torch.tensordot(matrix, alpha, ([1], [1 + axis])), 0, 1 + axis)
    return alpha[:, None]


@pytest.mark.parametrize(
    ("stride", "size"),
    [
        ((2,), (7,)),
        ((2, 2), (3, 5)),
        ((1, 3), (4, 2)),
        ((2, 2, 2), (2, 3, 4)),
        ((1, 2, 2), (5, 3, 1)),
        ((1, 1, 1), (2, 3, 2)),
    ],
    ids=str,
)
def test_coefficients_and_gradients(stride: tuple[int, ...], size: tuple[int, ...]) -> None:
    gate = AttentionGate(ConvStyle(CONVOLUTIONS[len(stride) - 1]), 4, 6, stride).double()
    for parameter in gate.parameters():
        nn.init.normal_(parameter)
    fine = [n * s for n, s in zip(size, stride, strict=True)]
    x = torch.randn(2, 4, *fine, dtype=torch.float64, requires_grad=True)
    g = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    got, want = gate(x, g), reference(gate, x, g, stride)
    assert got.shape == (2, 1, *fine)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    weights = torch.randn_like(want)
    for a, b in zip(
        torch.autograd.grad((weights * got).sum(), (x, g)),
        torch.autograd.grad((weights * want).sum(), (x, g)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
