"""A network alone, over images larger than its patch."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from umamba import sliding_window
from umamba.patches import gaussian_weights, window_starts

PATCH = (6, 8, 5)


def linear_network(n_axes: int) -> nn.Module:
    """Sees its neighbourhood only, so that patches differ at their borders; sums in float64."""
    torch.manual_seed(0)
    kind = (nn.Conv2d, nn.Conv3d)[n_axes - 2]
    return kind(2, 3, 3, padding=1)


def stepwise(network: nn.Module, image: Tensor, patch: tuple[int, ...], step: float) -> Tensor:
    """The same by nnU-Net's places and weights, in float64, for images larger than a patch."""
    from nnunetv2.inference.sliding_window_prediction import (
        compute_gaussian,
        compute_steps_for_sliding_window,
    )

    weight = compute_gaussian(patch, 1 / 8, 10, torch.float64, torch.device("cpu"))
    sums = torch.zeros(3, *image.shape[1:], dtype=torch.float64)
    total = torch.zeros(image.shape[1:], dtype=torch.float64)
    for place in product(*compute_steps_for_sliding_window(image.shape[1:], patch, step)):
        cut = tuple(slice(i, i + n) for i, n in zip(place, patch, strict=True))
        with torch.no_grad():
            sums[(slice(None), *cut)] += (
                weight * network(image[(None, slice(None), *cut)])[0].double()
            )
        total[cut] += weight
    return sums / total


@pytest.mark.parametrize("step", [0.5, 0.37, 1.0])
@pytest.mark.parametrize("shape", [(13, 17, 12), (30, 11)], ids=["3D", "2D"])
def test_patches_are_averaged_as_nnunet_averages_them(shape: tuple[int, ...], step: float) -> None:
    network, patch = linear_network(len(shape)), PATCH[: len(shape)]
    images = torch.randn(2, 2, *shape)
    got = sliding_window(network, images, patch, step_size=step)
    want = torch.stack([stepwise(network, image, patch, step) for image in images])
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-5)


def test_a_network_that_sees_single_voxels_gives_what_it_gives_to_the_whole_image() -> None:
    network = nn.Conv3d(2, 3, 1)
    image = torch.randn(1, 2, 4, 20, 3)  # padded along two axes
    got = sliding_window(network, image, PATCH, mirror_axes=(0, 2))
    torch.testing.assert_close(got, network(image).detach())


def test_mirrored_images_are_averaged() -> None:
    network = linear_network(2)
    image = torch.randn(1, 2, 6, 8)
    with torch.no_grad():
        flips = [(), (2,), (3,), (2, 3)]
        want = sum(network(image.flip(axes)).flip(axes) for axes in flips) / 4
    torch.testing.assert_close(sliding_window(network, image, (6, 8), mirror_axes=(0, 1)), want)


def test_the_first_output_counts_and_modes_of_modules_come_back() -> None:
    class Supervised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.frozen = nn.Dropout(0.9), nn.Identity().eval()

        def forward(self, x: Tensor) -> list[Tensor]:
            return [self.drop(x), x[..., ::2]]

    network = Supervised()
    image = torch.ones(1, 1, 9, 9)
    torch.testing.assert_close(sliding_window(network, image, (4, 4)), image)
    assert (network.training, network.drop.training, network.frozen.training) == (True, True, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": (4, 4, 4)}, r"patch_size \[4, 4, 4\] does not fit an image with 2 spatial"),
        ({"step_size": 0.0}, r"step_size 0\.0 is not a part of the patch; give one above 0"),
        ({"mirror_axes": (2,)}, r"mirror_axes \[2\] are not different axes below 2"),
    ],
)
def test_what_does_not_fit_is_named(options: dict[str, object], message: str) -> None:
    given = {"patch_size": (4, 4)} | options
    call: Callable[..., Tensor] = sliding_window
    with pytest.raises(ValueError, match=message):
        call(lambda x: x, torch.ones(1, 1, 9, 9), **given)


def test_places_and_weights_are_those_of_nnunet() -> None:
    from nnunetv2.inference.sliding_window_prediction import (
        compute_gaussian,
        compute_steps_for_sliding_window,
    )

    for size, patch, step in product((20, 33, 70), (7, 20), (0.5, 0.3, 0.77, 1.0)):
        want = compute_steps_for_sliding_window((size,), (patch,), step)
        assert window_starts((size,), (patch,), step) == want
    want = compute_gaussian(PATCH, 1 / 8, 10, torch.float64, torch.device("cpu"))
    assert torch.equal(torch.from_numpy(gaussian_weights(PATCH)), want)
