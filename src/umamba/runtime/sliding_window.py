"""Run networks over an image patch by patch, as nnU-Net does, to the last bit of its sums.

Source: nnU-Net v2's sliding window (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z,
Apache-2.0): patches overlap by at least `step_size`, are weighted by a Gaussian, and are summed in
float16, in nnU-Net's order. Planes that no later patch covers leave the sums at once.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from umamba.errors import DatasetError, ModelFileError
from umamba.runtime.pipeline import PIPELINE, Pipeline

__all__ = ["Network", "predict_logits"]

Array = npt.NDArray[Any]
# Maps (batch, channels, *patch) to (batch, outputs, *patch).
Network = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

_LARGEST_WEIGHT = 10.0  # far above the smallest float16, so that no weight is zero


def predict_logits(
    networks: Sequence[Network],
    image: npt.NDArray[np.float32],
    pipeline: Pipeline,
    *,
    step_size: float,
    mirroring: bool,
) -> npt.NDArray[np.float16]:
    """Return the logits of an image, averaged over patches, mirrored patches and networks.

    Args:
        networks: One for each fold.
        image: (channels, z, y, x), on the networks' grid.
        pipeline: The patches, and the axes along which they may be mirrored.
        step_size: The largest step from patch to patch, as a fraction of the patch.
        mirroring: Whether patches are mirrored.

    Returns:
        (outputs, z, y, x).

    Raises:
        ModelFileError: If a network's outputs have another shape.
        DatasetError: If one of them is not finite.
    """
    windows = _Windows(image, pipeline, step_size, pipeline.mirroring_axes if mirroring else ())
    logits = np.zeros((len(pipeline.output_labels), *image.shape[1:]), np.float16)
    for network in networks:
        for first, planes in windows.run(network):
            logits[:, first : first + planes.shape[1]] += planes
    if len(networks) > 1:
        logits /= len(networks)
    return logits


class _Windows:
    """The patches of a padded image, along the first axis from low to high."""

    def __init__(
        self,
        image: npt.NDArray[np.float32],
        pipeline: Pipeline,
        step_size: float,
        mirroring_axes: Sequence[int],
    ) -> None:
        self.patch = pipeline.patch_size
        self.n_outputs = len(pipeline.output_labels)
        self.weights = _gaussian(self.patch, pipeline.gaussian_sigma)
        self.flips = [
            tuple(axis + 2 for axis in axes)
            for n in range(1, len(mirroring_axes) + 1)
            for axes in itertools.combinations(mirroring_axes, n)
        ]
        shape = image.shape[1:]
        self.is_flat = len(self.patch) < len(shape)  # a network of slices
        least = (shape[0], *self.patch) if self.is_flat else self.patch
        missing = [max(size - n, 0) for n, size in zip(shape, least, strict=True)]
        padding = [(n // 2, n - n // 2) for n in missing]
        self.inside = [slice(low, low + n) for (low, _), n in zip(padding, shape, strict=True)]
        self.image = np.pad(image, [(0, 0), *padding])
        padded = self.image.shape[1:]
        starts = [
            _starts(n, size, step_size)
            for n, size in zip(padded[self.is_flat :], self.patch, strict=True)
        ]
        planes = [range(padded[0])] if self.is_flat else []
        self.starts = list(itertools.product(*planes, *starts))

    def run(self, network: Network) -> Iterator[tuple[int, Array]]:
        """Yield finished planes, without the padding, each with the number of its first one."""
        depth = 1 if self.is_flat else self.patch[0]
        logits = np.zeros((self.n_outputs, depth, *self.image.shape[2:]), np.float16)
        weights = np.zeros(logits.shape[1:], np.float16)
        begin = 0
        for start in self.starts:
            if start[0] > begin:
                n_done = start[0] - begin
                yield from self._finish(begin, logits[:, :n_done], weights[:n_done])
                for sums in (np.moveaxis(logits, 1, 0), weights):
                    sums[: max(depth - n_done, 0)] = sums[n_done:].copy()
                    sums[max(depth - n_done, 0) :] = 0
                begin = start[0]
            plane = self.patch[-2:]
            cut = [slice(n, n + size) for n, size in zip(start[1:], plane, strict=True)]
            here = (0 if self.is_flat else slice(None), *cut)
            first = start[0] if self.is_flat else slice(start[0], start[0] + depth)
            patch = np.ascontiguousarray(self.image[(slice(None), first, *cut)])[None]
            logits[(slice(None), *here)] += self._predict(network, patch)[0] * self.weights
            weights[here] += self.weights
        yield from self._finish(begin, logits, weights)

    def _predict(self, network: Network, patch: npt.NDArray[np.float32]) -> Array:
        """Average the results for a patch mirrored in all ways."""
        total = self._apply(network, patch).copy()
        for axes in self.flips:
            mirrored = np.ascontiguousarray(np.flip(patch, axes))
            total += np.flip(self._apply(network, mirrored), axes)
        if self.flips:
            total /= len(self.flips) + 1
        return total

    def _apply(self, network: Network, patch: npt.NDArray[np.float32]) -> Array:
        result = network(patch)
        if result.shape != (1, self.n_outputs, *self.patch):
            msg = (
                f"the network turns a patch of {self.patch} into {result.shape}, and not into "
                f"{(1, self.n_outputs, *self.patch)} as {PIPELINE} says; export the model again"
            )
            raise ModelFileError(msg)
        return result

    def _finish(self, begin: int, logits: Array, weights: Array) -> Iterator[tuple[int, Array]]:
        """Divide sums by their weights, and leave the padding out."""
        rows, *rest = self.inside
        low, high = max(begin, rows.start), min(begin + logits.shape[1], rows.stop)
        if low >= high:
            return
        inner = slice(low - begin, high - begin)
        planes = (logits[:, inner] / weights[inner])[(slice(None), slice(None), *rest)]
        if not np.isfinite(planes).all():
            msg = (
                "the network's output is not finite: its weights are damaged, or the image's "
                "intensities are far from those it was trained on"
            )
            raise DatasetError(msg)
        yield low - rows.start, planes


def _gaussian(patch: Sequence[int], sigma: float) -> npt.NDArray[np.float16]:
    """Return the weights of a patch's voxels, none of which is zero."""
    point = np.zeros(patch)
    point[tuple(size // 2 for size in patch)] = 1
    spread = ndimage.gaussian_filter(
        point, [size * sigma for size in patch], 0, mode="constant", cval=0
    )
    weights: npt.NDArray[np.float16] = (spread / (spread.max() / _LARGEST_WEIGHT)).astype(
        np.float16
    )
    weights[weights == 0] = weights[weights > 0].min()
    return weights


def _starts(n_voxels: int, size: int, step_size: float) -> list[int]:
    """Return where patches begin along an axis: evenly, the first and last one at its ends."""
    last = n_voxels - size
    n_steps = int(np.ceil(last / (size * step_size))) + 1
    each = last / (n_steps - 1) if n_steps > 1 else 0.0
    return [round(each * n) for n in range(n_steps)]
