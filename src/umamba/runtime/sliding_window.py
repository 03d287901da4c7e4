"""Run networks over an image patch by patch, as nnU-Net does, to the last bit of its sums.

Source: nnU-Net v2's sliding window (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z,
Apache-2.0): patches overlap by at least `step_size`, are weighted by a Gaussian, and are summed in
float16, in nnU-Net's order. Planes leave the sums once no later patch covers them.
"""

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.errors import DatasetError, ModelFileError
from umamba.logit_files import (
    LOGITS_IN_MEMORY,
    SUMS_IN_MEMORY,
    CoarseLogits,
    LogitStore,
    SlabFile,
)
from umamba.patches import describe_skipped, gaussian_weights, window_starts
from umamba.runtime.pipeline import PIPELINE, Pipeline

__all__ = ["Network", "predict_logits"]

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
# Maps (batch, channels, *patch) to (batch, outputs, *patch).
Network = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

_GROUP_BYTES = 1 << 26  # of planes that are divided at a time


def predict_logits(
    networks: Sequence[Network],
    image: npt.NDArray[np.float32],
    pipeline: Pipeline,
    folder: Path,
    *,
    step_size: float,
    mirroring: bool,
    skip_background: bool = False,
    most_in_memory: tuple[int, int] = (LOGITS_IN_MEMORY, SUMS_IN_MEMORY),
) -> LogitStore:
    """Return the logits of an image, averaged over patches, mirrored patches and networks.

    Args:
        networks: One for each fold.
        image: (channels, z, y, x), on the networks' grid.
        pipeline: The patches, and the axes along which they may be mirrored.
        folder: The folder for large logits.
        step_size: The largest step from patch to patch, as a fraction of the patch.
        mirroring: Whether patches are mirrored.
        skip_background: Whether patches in which a coarse first pass, without overlap and
            mirroring, finds background alone keep its logits.
        most_in_memory: How many bytes of logits, and of the sums of the planes that patches
            cover, may stay in memory; what is larger goes to files.

    Returns:
        (outputs, z, y, x), to be closed after use.

    Raises:
        ModelFileError: If a network's outputs have another shape.
        DatasetError: If one of them is not finite.
        UMambaError: If the disk has no room for the logits.
    """
    axes = pipeline.mirroring_axes if mirroring else ()
    windows = _Windows(image, pipeline, step_size, axes, (folder, *most_in_memory))
    windows.skips_background &= skip_background
    shape = (len(pipeline.output_labels), *image.shape[1:])
    store = LogitStore(shape, folder, most_in_memory[0])
    try:
        for number, network in enumerate(networks):
            for first, planes in windows.run(network):
                total = planes
                if number > 0:
                    total = store.read(first, planes.shape[1])
                    total += planes
                if 0 < number == len(networks) - 1:
                    total /= len(networks)
                store.write(first, total)
    except BaseException:
        store.close()
        raise
    if skip_background:
        log.info("%s", describe_skipped(*windows.counts))
    return store


class _SlabInMemory:
    """A `SlabFile` that is in memory."""

    def __init__(self, shape: Sequence[int]) -> None:
        self._sums = np.zeros(shape, np.float16)

    def rows(self, first: int, n_rows: int) -> Array:
        return self._sums[:, :, first : first + n_rows]

    def keep(self, first: int, rows: Array) -> None:
        """Do nothing: `rows` are part of the sums."""

    def planes(self, first: int, n_planes: int) -> Array:
        return self._sums[:, first : first + n_planes]

    def advance(self, n_planes: int) -> None:
        _advance(np.moveaxis(self._sums, 1, 0), n_planes)

    def close(self) -> None:
        """Do nothing: memory is released with the last reference."""


def _advance(sums: Array, n_planes: int) -> None:
    """Move planes to the front in place, and set those behind them to zero."""
    n_kept = max(len(sums) - n_planes, 0)
    for place in range(n_kept):  # one by one, so that nothing is copied
        sums[place] = sums[place + n_planes]
    sums[n_kept:] = 0


class _Windows:
    """The patches of a padded image, along the first axis from low to high."""

    def __init__(
        self,
        image: npt.NDArray[np.float32],
        pipeline: Pipeline,
        step_size: float,
        mirroring_axes: Sequence[int],
        files: tuple[Path, int, int],
    ) -> None:
        patch = pipeline.patch_size
        self.n_outputs = len(pipeline.output_labels)
        self.has_regions = pipeline.has_regions
        self.files = files
        self.flips = [
            tuple(axis + 2 for axis in axes)
            for n in range(1, len(mirroring_axes) + 1)
            for axes in itertools.combinations(mirroring_axes, n)
        ]
        shape = image.shape[1:]
        self.is_flat = len(patch) < len(shape)  # a network of slices
        self.patch = (1, *patch) if self.is_flat else patch
        self.weights = _gaussian(patch, pipeline.gaussian_sigma).reshape(self.patch)
        missing = [max(size - n, 0) for n, size in zip(shape, self.patch, strict=True)]
        padding = [(n // 2, n - n // 2) for n in missing]
        self.inside = [slice(low, low + n) for (low, _), n in zip(padding, shape, strict=True)]
        self.image = np.pad(image, [(0, 0), *padding])
        self.starts = self._starts(step_size)
        self.coarse_starts = self._starts(1.0)
        n_passes = math.prod(map(len, self.starts)) * (len(self.flips) + 1)
        self.skips_background = math.prod(map(len, self.coarse_starts)) < n_passes
        self.counts = (0, 0)  # of patches, those that were skipped and all

    def _starts(self, step_size: float) -> list[list[int]]:
        """Return where patches start, along each axis of the image."""
        depth, *_ = shape = self.image.shape[1:]
        starts = window_starts(shape[self.is_flat :], self.patch[self.is_flat :], step_size)
        return [list(range(depth)), *starts] if self.is_flat else starts

    def run(self, network: Network) -> Iterator[tuple[int, Array]]:
        """Yield finished planes, without the padding, each with the number of its first one."""
        rows, *rest = self.inside
        with self._coarse_pass(network) if self.skips_background else nullcontext() as coarse:

            def logits(box: Sequence[slice]) -> Array:
                found = None if coarse is None else coarse.background(box)
                n_skipped, n_patches = self.counts
                self.counts = (n_skipped + (found is not None), n_patches + 1)
                if found is None:
                    return self._predict(network, self._patch(box))
                return found.astype(np.float32)

            for first, planes in self._averaged(self.starts, logits):
                low, high = max(first, rows.start), min(first + planes.shape[1], rows.stop)
                if low < high:
                    inner = planes[(slice(None), slice(low - first, high - first), *rest)]
                    _check_finite(inner)
                    yield low - rows.start, inner

    @contextmanager
    def _coarse_pass(self, network: Network) -> Iterator[CoarseLogits]:
        """Provide the logits of patches without overlap and mirroring."""
        folder, most_in_memory, _ = self.files
        shape = (self.n_outputs, *self.image.shape[1:])
        store = CoarseLogits(
            shape, folder, most_in_memory, inside=self.inside, has_regions=self.has_regions
        )
        with closing(store) as coarse:

            def logits(box: Sequence[slice]) -> Array:
                return self._apply(network, self._patch(box))

            for first, planes in self._averaged(self.coarse_starts, logits):
                coarse.write(first, planes)
            yield coarse

    def _averaged(
        self, starts: Sequence[Sequence[int]], logits: Callable[[Sequence[slice]], Array]
    ) -> Iterator[tuple[int, Array]]:
        """Yield weighted means of the logits of patches, each with the number of its first plane.

        Args:
            starts: Where patches start, along each axis of the image.
            logits: Those of a patch.
        """
        depth, height, width = self.patch
        slab = self._slab()
        weights = np.zeros((depth, *self.image.shape[2:]), np.float16)
        begin = 0
        try:
            for start in starts[0]:
                if start > begin:
                    n_done = start - begin
                    yield from self._finish(begin, slab, weights[:n_done])
                    slab.advance(n_done)
                    _advance(weights, n_done)
                    begin = start
                for row in starts[1]:
                    band = slab.rows(row, height)
                    for column in starts[2]:
                        there = slice(column, column + width)
                        found = logits(
                            [slice(start, start + depth), slice(row, row + height), there]
                        )
                        for sums, part in zip(band, found.reshape(-1, *self.patch), strict=True):
                            sums[..., there] += part * self.weights
                        weights[:, row : row + height, there] += self.weights
                    slab.keep(row, band)
            yield from self._finish(begin, slab, weights)
        finally:
            slab.close()

    def _slab(self) -> _SlabInMemory | SlabFile:
        shape = (self.n_outputs, self.patch[0], *self.image.shape[2:])
        folder, _, most_in_memory = self.files
        if 2 * math.prod(shape) > most_in_memory:
            return SlabFile(shape, folder)
        return _SlabInMemory(shape)

    def _patch(self, box: Sequence[slice]) -> npt.NDArray[np.float32]:
        first = box[0].start if self.is_flat else box[0]
        return np.ascontiguousarray(self.image[(slice(None), first, *box[1:])])[None]

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
        wanted = (1, self.n_outputs, *patch.shape[2:])
        if result.shape != wanted:
            msg = (
                f"the network turns a patch of {patch.shape[2:]} into {result.shape}, and not into "
                f"{wanted} as {PIPELINE} says; export the model again"
            )
            raise ModelFileError(msg)
        return result

    def _finish(
        self, begin: int, slab: _SlabInMemory | SlabFile, weights: Array
    ) -> Iterator[tuple[int, Array]]:
        """Divide sums by their weights, a few planes at a time."""
        plane_bytes = 2 * self.n_outputs * weights[0].size
        group = max(_GROUP_BYTES // plane_bytes, 1)
        for start in range(0, len(weights), group):
            size = min(group, len(weights) - start)
            yield begin + start, slab.planes(start, size) / weights[start : start + size]


def _check_finite(logits: Array) -> None:
    if not np.isfinite(logits).all():
        msg = (
            "the network's output is not finite: its weights are damaged, or the image's "
            "intensities are far from those it was trained on"
        )
        raise DatasetError(msg)


def _gaussian(patch: Sequence[int], sigma: float) -> npt.NDArray[np.float16]:
    """Return the weights of a patch's voxels, none of which is zero."""
    weights: npt.NDArray[np.float16] = gaussian_weights(patch, sigma).astype(np.float16)
    weights[weights == 0] = weights[weights > 0].min()
    return weights
