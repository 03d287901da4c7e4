"""Run a network over an image of any size, patch by patch, and average overlapping patches.

Sums leave memory once no patch reaches them, and those of many classes wait in a file.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, combinations, product
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umamba.logit_files import SlabFile
from umamba.patches import gaussian_weights, window_starts

__all__ = ["DiskSlab", "MemorySlab", "Slab", "averaged_planes", "patch_weights", "sliding_window"]

_GROUP_BYTES = 1 << 26  # planes that are divided, and channels that are added, at a time


class MemorySlab:
    """Sums of all channels in the planes that patches now cover, in one tensor.

    Args:
        shape: Channels, depth, rows, columns.
        dtype: The type of the sums.
        device: Where they are.
    """

    def __init__(
        self, shape: Sequence[int], dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        self.shape, self.dtype, self.device = tuple(shape), dtype, torch.device(device)
        self._sums = torch.zeros(self.shape, dtype=dtype, device=device)

    def rows(self, first: int, n_rows: int) -> Tensor:
        """Return some rows of all planes, to be added to in place."""
        return self._sums.narrow(2, first, n_rows)

    def keep(self, first: int, rows: Tensor) -> None:
        """Do nothing: `rows` are part of the sums."""

    def planes(self, first: int, n_planes: int) -> Tensor:
        """Return whole planes."""
        return self._sums.narrow(1, first, n_planes)

    def advance(self, n_planes: int) -> None:
        """Drop planes in front."""
        _advance(self._sums, 1, n_planes)

    def close(self) -> None:
        """Do nothing: memory is released with the last reference."""


class DiskSlab:
    """The sums of a `MemorySlab` in a `SlabFile` on the disk, in half precision.

    Args:
        shape: Channels, depth, rows, columns.
        folder: The folder for the file; no crash can leave it there.
    """

    def __init__(self, shape: Sequence[int], folder: Path) -> None:
        self.shape, self.dtype, self.device = tuple(shape), torch.half, torch.device("cpu")
        self._file = SlabFile(shape, folder)

    def rows(self, first: int, n_rows: int) -> Tensor:
        """Return some rows of all planes, to be added to in place."""
        return torch.from_numpy(self._file.rows(first, n_rows))

    def keep(self, first: int, rows: Tensor) -> None:
        """Write rows back."""
        self._file.keep(first, rows.numpy())

    def planes(self, first: int, n_planes: int) -> Tensor:
        """Return whole planes."""
        return torch.from_numpy(self._file.planes(first, n_planes))

    def advance(self, n_planes: int) -> None:
        """Drop planes in front."""
        self._file.advance(n_planes)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


Slab = MemorySlab | DiskSlab


def _advance(sums: Tensor, axis: int, n_planes: int) -> None:
    """Move planes to the front in place, and set those behind them to zero."""
    n_kept = max(sums.shape[axis] - n_planes, 0)
    for place in range(n_kept):  # one by one, so that nothing is overwritten before it is moved
        sums.select(axis, place).copy_(sums.select(axis, place + n_planes))
    sums.narrow(axis, n_kept, sums.shape[axis] - n_kept).zero_()


def averaged_planes(
    slab: Slab, starts: Sequence[Sequence[int]], patches: Iterable[Tensor], gaussian: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """Yield planes of the image as soon as no further patch reaches them.

    Args:
        slab: Empty sums, as deep as a patch, and as wide as the image.
        starts: Where patches start, along each of three axes.
        patches: What the network makes of them, in the order of these places, the last axis first:
            (channels, *patch).
        gaussian: The weight of each voxel of a patch.

    Yields:
        The number of the first plane, and some planes: weighted means of all that covers them.
    """
    weights = torch.zeros(slab.shape[1:], dtype=slab.dtype, device=slab.device)
    depth, height, width = gaussian.shape
    n_channels = max(_GROUP_BYTES // (4 * gaussian.numel()), 1)
    stream, first = iter(patches), 0
    for start in starts[0]:
        if start > first:
            yield from _finish(slab, weights, first, min(start - first, depth))
            slab.advance(start - first)
            _advance(weights, 0, start - first)
            first = start
        for row in starts[1]:
            band = slab.rows(row, height)
            for column, values in zip(starts[2], stream, strict=False):
                parts = (torch.split(tensor, n_channels) for tensor in (band, values))
                for sums, part in zip(*parts, strict=True):
                    sums[..., column : column + width] += part.to(slab.device).mul_(gaussian)
                weights[:, row : row + height, column : column + width] += gaussian
            slab.keep(row, band)
    yield from _finish(slab, weights, first, depth)


def _finish(slab: Slab, weights: Tensor, first: int, n_planes: int) -> Iterator[tuple[int, Tensor]]:
    plane_bytes = math.prod(slab.shape) // slab.shape[1] * slab.dtype.itemsize
    group = max(_GROUP_BYTES // plane_bytes, 1)
    for start in range(0, n_planes, group):
        size = min(group, n_planes - start)
        yield first + start, slab.planes(start, size) / weights.narrow(0, start, size)


def patch_weights(
    patch_size: Sequence[int], dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """Return nnU-Net's weights of a patch, none of which is zero, whatever the precision."""
    weights = torch.from_numpy(gaussian_weights(patch_size)).to(device=device, dtype=dtype)
    weights[weights == 0] = weights[weights > 0].min()
    return weights


def sliding_window(
    network: Callable[[Tensor], Tensor | Sequence[Tensor]],
    image: Float[Tensor, "batch channels *spatial"],
    patch_size: Sequence[int],
    *,
    step_size: float = 0.5,
    mirror_axes: Sequence[int] = (),
    device: torch.device | str | None = None,
) -> Float[Tensor, "batch classes *spatial"]:
    """Run a network over images of any size, and average the logits of overlapping patches.

    Patches, their Gaussian weights, padding and mirroring are nnU-Net's; the sums are in float32.
    A module is in evaluation mode meanwhile, and nothing is kept for a backward pass.

    Args:
        network: Maps (1, channels, *patch) to (1, classes, *patch); of a list, as deep supervision
            returns, the first is taken.
        image: 2D or 3D; where it is smaller than a patch, it is padded with zeros.
        patch_size: Spatial shape of a patch, which must fit the network.
        step_size: The longest step from patch to patch as a part of the patch, above 0, at most 1.
        mirror_axes: Spatial axes, from 0, along all sets of which the patches are mirrored; the
            results are averaged. Each axis doubles the time.
        device: Where the patches are computed; by default where the image is.

    Returns:
        The logits, on the image's device.

    Raises:
        ValueError: If sizes, step or axes do not fit the image.

    Source:
        Isensee et al. 2021, doi:10.1038/s41592-020-01008-z, and nnU-Net 2's `nnUNetPredictor`.
    """
    n_axes = image.ndim - 2
    _check(n_axes, patch_size, step_size, mirror_axes)
    shape = [max(sizes) for sizes in zip(image.shape[2:], patch_size, strict=True)]
    low = [(new - old) // 2 for new, old in zip(shape, image.shape[2:], strict=True)]
    pads = [(i, new - old - i) for i, new, old in zip(low, shape, image.shape[2:], strict=True)]
    padded = nn.functional.pad(image, [pad for pair in reversed(pads) for pad in pair])
    starts = window_starts(shape, patch_size, step_size)
    sets = [axes for n in range(len(mirror_axes) + 1) for axes in combinations(mirror_axes, n)]
    inside = tuple(slice(i, i + old) for i, old in zip(low, image.shape[2:], strict=True))

    def patches(number: int) -> Iterator[Tensor]:
        for place in product(*starts):
            cut = tuple(slice(i, i + size) for i, size in zip(place, patch_size, strict=True))
            patch = padded[(slice(number, number + 1), slice(None), *cut)].to(
                device or image.device
            )
            yield _mirrored(network, patch, sets)[0].to(image.device)

    with torch.no_grad(), _evaluating(network):
        found = [_average(patches(i), shape, starts, patch_size) for i in range(len(image))]
    return torch.stack([logits[(slice(None), *inside)] for logits in found])


def _check(
    n_axes: int, patch_size: Sequence[int], step_size: float, mirror_axes: Sequence[int]
) -> None:
    if n_axes not in (2, 3) or len(patch_size) != n_axes or min(patch_size) < 1:
        msg = (
            f"patch_size {list(patch_size)} does not fit an image with {n_axes} spatial axes; give "
            "an image (batch, channels, *spatial) in 2D or 3D, and the size of a patch per axis"
        )
        raise ValueError(msg)
    if not 0 < step_size <= 1:
        msg = f"step_size {step_size} is not a part of the patch; give one above 0 and at most 1"
        raise ValueError(msg)
    if sorted(set(mirror_axes)) != sorted(mirror_axes) or not {*mirror_axes} <= {*range(n_axes)}:
        msg = f"mirror_axes {list(mirror_axes)} are not different axes below {n_axes}"
        raise ValueError(msg)


def _mirrored(
    network: Callable[[Tensor], Tensor | Sequence[Tensor]],
    patch: Tensor,
    sets: Sequence[Sequence[int]],
) -> Tensor:
    """Return the mean of what the network makes of a patch mirrored along each set of axes."""

    def logits(axes: list[int]) -> Tensor:
        outputs = network(patch.flip(axes))
        first: Tensor = outputs if isinstance(outputs, Tensor) else outputs[0]
        return first.float().flip(axes)

    total = logits([])
    for chosen in sets[1:]:
        total += logits([axis + 2 for axis in chosen])
    return total / len(sets)


def _average(
    patches: Iterator[Tensor],
    shape: Sequence[int],
    starts: Sequence[Sequence[int]],
    patch_size: Sequence[int],
) -> Tensor:
    """Return the logits of one image, (classes, *shape)."""
    first = next(patches)
    flat = [1] * (3 - len(shape))  # a 2D image is one plane
    gaussian = patch_weights(patch_size, first.dtype, first.device).reshape(*flat, *patch_size)
    slab = MemorySlab((len(first), *gaussian.shape[:1], *shape[-2:]), torch.float32, first.device)
    solid = (patch.reshape(len(first), *gaussian.shape) for patch in chain([first], patches))
    places = [*([[0]] if flat else []), *starts]
    logits = first.new_empty((len(first), *flat, *shape))
    for plane, planes in averaged_planes(slab, places, solid, gaussian):
        logits[:, plane : plane + planes.shape[1]] = planes
    return logits.reshape(len(first), *shape)


@contextmanager
def _evaluating(network: object) -> Iterator[None]:
    """Set a module to evaluation mode for a while."""
    modules = network.modules() if isinstance(network, nn.Module) else ()
    modes = [(module, module.training) for module in modules]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
