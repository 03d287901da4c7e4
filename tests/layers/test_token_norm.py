"""The norm of tokens against torch's LayerNorm in float64, whichever way a map lies."""

import pytest
import torch
import torch.nn.functional as F

from reference_cases import relative_l2
from umamba.layers.token_norm import normalise, normalise_backward


@pytest.mark.parametrize("given", ["weight and bias", "weight", "nothing"])
@pytest.mark.parametrize("in_planes", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)], ids=str
)
def test_agrees_with_layer_norm(
    dtype: torch.dtype, tolerance: float, in_planes: bool, given: str
) -> None:
    shape = (2, 7, 50) if in_planes else (2, 50, 7)
    # A mean that is large beside the deviation loses its digits where variances are differences.
    x = torch.randn(shape, dtype=dtype) + 30
    x = x.transpose(1, 2) if in_planes else x
    weight = torch.randn(7, dtype=dtype) if "weight" in given else None
    bias = torch.randn(7, dtype=dtype) if "bias" in given else None
    grad = torch.randn(2, 50, 7, dtype=dtype)
    leaves = [v.double().requires_grad_() for v in (x, weight, bias) if v is not None]
    want = F.layer_norm(leaves[0], (7,), *leaves[1:], eps=1e-3)
    want.backward(grad.double())

    tokens, statistics = normalise(x, weight, bias, 1e-3)
    found = [g for g in normalise_backward(grad, x, statistics, weight, bias) if g is not None]
    # The norm divides by the deviation what rounding of x has left.
    assert relative_l2(tokens, want) <= 10 * tolerance
    assert len(found) == len(leaves)
    for got, leaf in zip(found, leaves, strict=True):
        assert relative_l2(got, leaf.grad) <= 10 * tolerance
    assert tokens.stride() == x.stride()
