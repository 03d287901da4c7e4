"""The golden cases, how far from them results are, and the keywords of small networks."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"


def golden(name: str) -> dict[str, Any]:
    return torch.load(GOLDEN / name, weights_only=True)


def golden_loss(outputs: list[Tensor]) -> Tensor:
    """The fixed scalar loss of all golden cases; see golden/README.md."""
    total = torch.zeros((), dtype=outputs[0].dtype, device=outputs[0].device)
    for i, output in enumerate(outputs):
        k = torch.arange(output.numel(), dtype=torch.float64, device=output.device)
        weights = torch.cos(0.37 * k + 0.5 * i).to(output.dtype).reshape(output.shape)
        total = total + (weights * output).mean() + 0.5 * (output**2).mean()
    return total


def relative_max(got: Tensor, want: Tensor) -> float:
    """Largest difference over the largest true value; NaN stays NaN and fails a comparison."""
    return float((got.detach().double() - want.double()).abs().max() / want.abs().max())


def relative_l2(got: Tensor, want: Tensor) -> float:
    difference = got.detach().double() - want.detach().double()
    return float(difference.norm() / want.detach().double().norm().clamp_min(1e-12))


def keywords(dim: int, **changes: Any) -> dict[str, Any]:
    """Keywords of a tiny anisotropic network, as nnU-Net passes them."""
    plan: dict[str, Any] = {
        "input_channels": 2,
        "num_classes": 3,
        "n_stages": 3,
        "features_per_stage": [4, 6, 8],
        "conv_op": (nn.Conv2d, nn.Conv3d)[dim - 2],
        "kernel_sizes": [[1] + [3] * (dim - 1), [3] * dim, [3] * dim],
        "strides": [[1] * dim, [1] + [2] * (dim - 1), [2] * dim],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "conv_bias": True,
        "norm_op": (nn.InstanceNorm2d, nn.InstanceNorm3d)[dim - 2],
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": True,
    }
    return plan | changes


def patch(dim: int) -> tuple[int, ...]:
    return (6, 12, 8)[:dim]
