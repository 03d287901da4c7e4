"""The effective receptive field of a network: where in its input the gradient of a voxel lies."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from umamba.errors import UMambaError
from umamba.reach.constant_norms import ConstantNorms

__all__ = ["SHARES", "FieldSize", "centre_of", "field_sizes", "gradient_map", "mass_within"]

SHARES = (50, 90, 99)  # per cent of the gradient's mass
_ROUNDING = 1e-9  # of sums of float64


@dataclass(frozen=True)
class FieldSize:
    """The part of a patch that holds a share of the gradient's mass.

    Attributes:
        radius: Of the smallest ball around the central voxel that does, in voxels.
        per_axis: For each axis, half the width in voxels of the smallest slab that does, across
            that axis and around the central voxel.
    """

    radius: float
    per_axis: tuple[int, ...]


def centre_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the central voxel of a patch; of an even number of voxels the second of the two."""
    return tuple(size // 2 for size in shape)


def gradient_map(
    network: nn.Module, images: Iterable[Tensor], seed: int = 0, *, constant_norms: bool = False
) -> Tensor:
    """Return the share of every input voxel in the gradient of the central output voxel.

    The gradients of all logits of that voxel are needed, which cancel where they are added up. They
    are therefore weighted by random normal numbers, anew for each image: the mean of the absolute
    values is then proportional to the root of their summed squares.

    Args:
        network: Maps (1, channels, *patch) to (1, classes, *patch); of a list, as deep supervision
            returns, the first is taken. It is in evaluation mode meanwhile.
        images: Inputs of that shape, which the result is averaged over.
        seed: Seed of the weights of the logits.
        constant_norms: Whether the statistics of instance and group norms are constants.

    Returns:
        Shares that add up to 1, of shape (*patch), in float64: absolute gradients, summed over the
        channels of the image and averaged over the images.

    Raises:
        UMambaError: If the output has another size, or the gradient is zero or not finite.

    Source:
        Luo et al. 2016, arXiv:1701.04128, section 3: the gradient of one output at the centre,
        averaged over inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(())
    with _frozen(network), ConstantNorms() if constant_norms else nullcontext():
        for image in images:
            total = total + _gradient(network, image, generator)
    mass = float(total.sum())
    if not 0 < mass < float("inf"):
        msg = (
            "the gradient of this network's central voxel is "
            f"{'zero everywhere' if mass == 0 else 'not finite'}, so its receptive field cannot be "
            "measured; give another network or other images"
        )
        raise UMambaError(msg)
    return total / mass


def _gradient(network: nn.Module, image: Tensor, generator: torch.Generator) -> Tensor:
    """Return the absolute gradient over one image, (*patch)."""
    x = image.detach().clone().requires_grad_()
    outputs = network(x)
    logits: Tensor = outputs if isinstance(outputs, Tensor) else outputs[0]
    if logits.shape[2:] != x.shape[2:]:
        msg = (
            f"the network makes {list(logits.shape[2:])} voxels of a patch of {list(x.shape[2:])}; "
            "only networks whose output has the size of their input can be measured"
        )
        raise UMambaError(msg)
    voxel = logits[0].movedim(0, -1)[centre_of(x.shape[2:])]
    weights = torch.randn(len(voxel), generator=generator).to(voxel)
    (gradient,) = torch.autograd.grad((voxel * weights).sum(), x)
    return gradient[0].abs().sum(0).double().cpu()


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode and its weights constant for a while."""
    modes = [(module, module.training) for module in network.modules()]
    needed = [(weight, weight.requires_grad) for weight in network.parameters()]
    network.eval().requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for weight, before in needed:
            weight.requires_grad_(before)


def field_sizes(shares: Tensor) -> dict[int, FieldSize]:
    """Return how large the parts are that hold each of `SHARES` per cent of the mass.

    Args:
        shares: The result of `gradient_map`.
    """
    squares, sums = _sums_by_distance(shares)
    axes = [_half_widths(shares, axis) for axis in range(shares.ndim)]
    return {
        share: FieldSize(
            float(squares[_first(sums, share)]) ** 0.5,
            tuple(int(_first(axis, share)) for axis in axes),
        )
        for share in SHARES
    }


def mass_within(shares: Tensor) -> list[float]:
    """Return the mass within 0, 1, 2, ... voxels of the central one, up to the farthest corner.

    Args:
        shares: The result of `gradient_map`.
    """
    squares, sums = _sums_by_distance(shares)
    radii = torch.arange(int(float(squares[-1]) ** 0.5 + 1 - _ROUNDING) + 1)
    places = torch.searchsorted(squares, radii**2, right=True) - 1
    return [float(mass) for mass in sums[places]]


def _first(sums: Tensor, share: int) -> int:
    """Return the place of the first of rising sums that reaches so many per cent."""
    return int(torch.searchsorted(sums, share / 100 - _ROUNDING))


def _sums_by_distance(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return all squared distances that occur, and the mass up to each of them."""
    centre = centre_of(shares.shape)
    squares = torch.zeros(shares.shape, dtype=torch.long)
    for axis, (size, middle) in enumerate(zip(shares.shape, centre, strict=True)):
        along = [1] * shares.ndim
        along[axis] = size
        squares = squares + ((torch.arange(size) - middle) ** 2).reshape(along)
    found, places = torch.unique(squares, return_inverse=True)
    masses = torch.zeros(len(found), dtype=shares.dtype)
    masses.index_add_(0, places.flatten(), shares.flatten())
    return found, masses.cumsum(0)


def _half_widths(shares: Tensor, axis: int) -> Tensor:
    """Return the mass up to every distance from the centre along one axis."""
    others = [other for other in range(shares.ndim) if other != axis]
    profile = shares.sum(others) if others else shares
    distances = (torch.arange(len(profile)) - centre_of(profile.shape)[0]).abs()
    masses = torch.zeros(int(distances.max()) + 1, dtype=shares.dtype)
    return masses.index_add_(0, distances, profile).cumsum(0)
