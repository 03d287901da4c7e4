"""The effective receptive field of convolutions, which are known exactly."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from umamba.errors import UMambaError
from umamba.reach.constant_norms import ConstantNorms
from umamba.reach.gradients import field_sizes, gradient_map, mass_within


def images(*shape: int, number: int = 2) -> list[torch.Tensor]:
    return [torch.randn(1, 1, *shape) for _ in range(number)]


def constant_convolution(size: int, dim: int) -> nn.Module:
    convolution = (nn.Conv2d if dim == 2 else nn.Conv3d)(1, 1, size, padding=size // 2)
    nn.init.constant_(convolution.weight, 0.3)
    return convolution


def test_the_identity_looks_at_one_voxel() -> None:
    shares = gradient_map(nn.Identity(), images(8, 9))
    assert shares[4, 4] == 1
    assert {size.radius for size in field_sizes(shares).values()} == {0}
    assert mass_within(shares) == [1.0] * 7  # the farthest corner is 5.7 voxels away


def test_one_convolution_looks_at_its_kernel_equally() -> None:
    shares = gradient_map(constant_convolution(5, 2), images(16, 16))
    expected = np.zeros((16, 16))
    expected[6:11, 6:11] = 1 / 25
    np.testing.assert_allclose(shares, expected, atol=1e-8)
    sizes = field_sizes(shares)
    # 1, 5, 9, 13, 21 and 25 voxels lie within 0, 1, the root of 2, 2, those of 5 and 8.
    assert [sizes[share].radius for share in (50, 90, 99)] == [2, math.sqrt(8), math.sqrt(8)]
    assert [sizes[share].per_axis for share in (50, 90, 99)] == [(1, 1), (2, 2), (2, 2)]
    assert mass_within(shares)[:4] == pytest.approx([1 / 25, 5 / 25, 13 / 25, 1])


@pytest.mark.parametrize("dim", [2, 3])
def test_stacked_convolutions_are_the_kernel_convolved_with_itself(dim: int) -> None:
    depth, size = 5, 15
    network = nn.Sequential(*(constant_convolution(3, dim) for _ in range(depth)))
    shares = gradient_map(network, images(*[size] * dim))
    along = np.ones(1)
    for _ in range(depth):
        along = np.convolve(along, np.ones(3) / 3)
    along = np.pad(along, (size - len(along)) // 2)
    expected = along[:, None] * along if dim == 2 else along[:, None, None] * along[:, None] * along
    np.testing.assert_allclose(shares, expected, atol=1e-8)
    within = [along[abs(np.arange(size) - size // 2) <= reach].sum() for reach in range(depth + 1)]
    for share, found in field_sizes(shares).items():
        reach = next(reach for reach, mass in enumerate(within) if mass >= share / 100)
        assert found.per_axis == (reach,) * dim


def test_binomial_kernels_give_the_binomial_distribution() -> None:
    network = nn.Sequential(*(nn.Conv2d(1, 1, (1, 3), padding=(0, 1)) for _ in range(4)))
    for convolution in network:
        convolution.weight.data[:] = torch.tensor([1.0, 2.0, 1.0])
    shares = gradient_map(network, images(1, 17))
    expected = [math.comb(8, k) / 2**8 for k in range(9)]
    np.testing.assert_allclose(shares[0, 4:13], expected, atol=1e-8)


class TwoVoxels(nn.Module):
    """Two logits that are two different voxels, and would cancel in the sum with the third."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        left, right = x.roll(3, -1), x.roll(-2, -1)
        return [torch.cat([3 * left, right, -3 * left], 1), x[..., ::2]]


def test_logits_do_not_cancel_and_count_by_their_squares() -> None:
    shares = gradient_map(TwoVoxels(), images(1, 9, number=800))
    ratio = math.sqrt(3**2 + 3**2)
    assert float(shares[0, 1]) == pytest.approx(ratio / (1 + ratio), abs=0.03)
    assert float(shares[0, 6]) == pytest.approx(1 / (1 + ratio), abs=0.03)


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4)])
def test_constant_norms_leave_the_convolution_only(norm: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm, nn.Conv2d(4, 2, 3, padding=1))
    for weight in norm.parameters():
        nn.init.normal_(weight)
    given = images(9, 9)
    full, reached = (
        gradient_map(network, given, constant_norms=constant) for constant in (False, True)
    )
    inside = np.zeros((9, 9), dtype=bool)
    inside[2:7, 2:7] = True
    assert (full > 0).all()
    assert np.array_equal(reached > 0, inside)
    with ConstantNorms():
        values = network(given[0])
    torch.testing.assert_close(values, network(given[0]))


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(constant_convolution(3, 2), nn.Dropout(0.5))
    network[0].bias.requires_grad_(requires_grad=False)
    network[1].eval()
    gradient_map(network, images(4, 4))
    assert [module.training for module in network.modules()] == [True, True, False]
    assert [weight.requires_grad for weight in network.parameters()] == [True, False]
    assert all(weight.grad is None for weight in network.parameters())


def test_the_seed_decides() -> None:
    given = images(1, 9)
    first, again, other = (gradient_map(TwoVoxels(), given, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.MaxPool2d(2), r"makes \[2, 2\] voxels of a patch of \[4, 4\]"),
        (nn.Threshold(1e9, 0.0), "central voxel is zero everywhere"),
    ],
)
def test_what_cannot_be_measured_is_refused(network: nn.Module, message: str) -> None:
    with pytest.raises(UMambaError, match=message):
        gradient_map(network, images(4, 4))


def test_an_infinite_gradient_is_refused() -> None:
    network = constant_convolution(1, 2)
    network.weight.data[:] = math.inf
    with pytest.raises(UMambaError, match="central voxel is not finite"):
        gradient_map(network, images(4, 4))
