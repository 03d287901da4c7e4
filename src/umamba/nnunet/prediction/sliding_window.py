"""Run the networks of a model over a preprocessed image, patch by patch.

nnU-Net's predictor keeps the logits of all classes for the whole image. The arithmetic here is
the same, voxel for voxel and in the same order, but planes leave memory once no patch covers them.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from umamba.logit_files import LOGITS_IN_MEMORY, SUMS_IN_MEMORY, CoarseLogits, LogitStore
from umamba.nnunet.plans.networks import bare_network
from umamba.patches import describe_skipped, window_starts
from umamba.windows import DiskSlab, MemorySlab, Slab, averaged_planes, patch_weights

__all__ = ["NetworkInput", "predict_logits"]

log = logging.getLogger(__name__)

_HALF = 2


@dataclass(frozen=True)
class NetworkInput:
    """A preprocessed case.

    Attributes:
        image: Channels first.
        previous: The first stage's labels, in a cascade; the network gets one channel for each.
        properties: nnU-Net's notes on how to undo the preprocessing.
    """

    image: Tensor
    previous: Tensor | None
    properties: dict[str, Any]


@torch.inference_mode()
def predict_logits(
    predictor: Any,
    case: NetworkInput,
    folder: Path,
    title: str,
    most_in_memory: tuple[int, int] = (LOGITS_IN_MEMORY, SUMS_IN_MEMORY),
    *,
    skip_background: bool = False,
) -> LogitStore:
    """Return the logits of a case, averaged over patches, mirrored images and folds.

    Args:
        predictor: nnU-Net's predictor, ready to predict.
        case: The case.
        folder: The folder for large logits.
        title: The title of the progress bar.
        most_in_memory: How many bytes of logits, and of the sums of the planes that patches
            cover, may stay in memory; what is larger goes to files.
        skip_background: Whether patches in which a coarse first pass, without overlap and
            mirroring, finds background alone keep its logits.

    Returns:
        The logits, to be closed after use.

    Raises:
        RuntimeError: If a logit is not a finite number.
        UMambaError: If the disk has no room for the logits.
    """
    windows = _Windows(predictor, case, folder, most_in_memory, skip_background=skip_background)
    store = LogitStore((windows.n_heads, *case.image.shape[1:]), folder, most_in_memory[0])
    n_folds = len(predictor.list_of_parameters)
    is_cuda = predictor.device.type == "cuda"
    network = predictor.network.to(predictor.device).eval()
    try:
        for fold, weights in enumerate(predictor.list_of_parameters):
            bare_network(network).load_state_dict(weights)
            text = title if n_folds == 1 else f"{title}, model {fold + 1} of {n_folds}"
            with torch.autocast("cuda") if is_cuda else nullcontext():
                for first, planes in windows.run(text):
                    total = planes
                    if fold > 0:
                        total = torch.from_numpy(store.read(first, planes.shape[1]))
                        total += planes
                    if 0 < fold == n_folds - 1:
                        total /= n_folds
                    store.write(first, total.numpy())
    except BaseException:
        store.close()
        raise
    if skip_background:
        log.info("%s%s", title and f"{title}: ", describe_skipped(*windows.counts))
    return store


class _Windows:
    """The patches of a padded case, in nnU-Net's order: along the first axis from low to high."""

    def __init__(
        self,
        predictor: Any,
        case: NetworkInput,
        folder: Path,
        most_in_memory: tuple[int, int],
        *,
        skip_background: bool,
    ) -> None:
        from acvl_utils.cropping_and_padding.padding import pad_nd_image

        self.predictor, self.folder, self.most_in_memory = predictor, folder, most_in_memory
        patch_size = tuple(predictor.configuration_manager.patch_size)
        self.n_heads = predictor.label_manager.num_segmentation_heads
        self.labels = predictor.label_manager.foreground_labels
        self.image, inside = pad_nd_image(
            case.image, patch_size, "constant", {"value": 0}, return_slicer=True
        )
        self.inside = [slice(int(part.start), int(part.stop)) for part in inside[1:]]
        self.previous = case.previous
        if case.previous is not None:  # -1 is not a label
            self.previous = pad_nd_image(case.previous, patch_size, "constant", {"value": -1})
        self.is_flat = len(patch_size) < 3  # a 2D network in a stack of slices
        self.patch_size = (1,) * self.is_flat + patch_size
        self.starts = self._starts(predictor.tile_step_size)
        self.coarse_starts = self._starts(1.0)
        axes = predictor.allowed_mirroring_axes if predictor.use_mirroring else None
        n_passes = math.prod(map(len, self.starts)) * 2 ** len(axes or ())
        is_shorter = math.prod(map(len, self.coarse_starts)) < n_passes
        self.skips_background = skip_background and is_shorter
        self.counts = (0, 0)  # of patches, those that were skipped and all

    def _starts(self, step_size: float) -> list[list[int]]:
        """Return where patches start, along each axis of the image."""
        depth, *_ = shape = self.image.shape[1:]
        patch_size = self.patch_size[self.is_flat :]
        starts = window_starts(shape[self.is_flat :], patch_size, step_size)
        return [list(range(depth)), *starts] if self.is_flat else starts

    def run(self, title: str) -> Iterator[tuple[int, Tensor]]:
        """Yield finished planes, without the padding, each with the number of its first one."""
        rows, *rest = self.inside
        with self._coarse_pass() if self.skips_background else nullcontext() as coarse:
            for first, planes in self._averaged(self.starts, self._logits(title, coarse)):
                low, high = max(first, rows.start), min(first + planes.shape[1], rows.stop)
                if low >= high:
                    continue
                inner = planes[(slice(None), slice(low - first, high - first), *rest)].cpu()
                _check_finite(inner)
                yield low - rows.start, inner

    @contextmanager
    def _coarse_pass(self) -> Iterator[CoarseLogits]:
        """Provide the logits of patches without overlap and mirroring."""
        store = CoarseLogits(
            (self.n_heads, *self.image.shape[1:]),
            self.folder,
            self.most_in_memory[0],
            inside=self.inside,
            has_regions=self.predictor.label_manager.has_regions,
        )
        with closing(store) as coarse:
            places = product(*self.coarse_starts)
            logits = (self._solid(self.predictor.network(self._patch(place))) for place in places)
            for first, planes in self._averaged(self.coarse_starts, logits):
                coarse.write(first, planes.cpu().numpy())
            yield coarse

    def _averaged(
        self, starts: Sequence[Sequence[int]], logits: Iterator[Tensor]
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield weighted means of patches' logits, each with the number of its first plane."""
        on_device = self.predictor.perform_everything_on_device
        device = self.predictor.device if on_device else torch.device("cpu")
        gaussian = patch_weights(self.patch_size[self.is_flat :], torch.half, device)
        with closing(self._slab(device)) as slab:
            yield from averaged_planes(slab, starts, logits, gaussian.reshape(self.patch_size))

    def _slab(self, device: torch.device) -> Slab:
        shape = (self.n_heads, self.patch_size[0], *self.image.shape[2:])
        if device.type == "cpu" and math.prod(shape) * _HALF > self.most_in_memory[1]:
            return DiskSlab(shape, self.folder)
        return MemorySlab(shape, torch.half, device)

    def _logits(self, title: str, coarse: CoarseLogits | None) -> Iterator[Tensor]:
        places = list(product(*self.starts))
        for place in tqdm(places, desc=title, disable=not self.predictor.allow_tqdm):
            found = None if coarse is None else coarse.background(self._box(place))
            n_skipped, n_patches = self.counts
            self.counts = (n_skipped + (found is not None), n_patches + 1)
            if found is not None:
                yield torch.from_numpy(found).float()
                continue
            patch = self._patch(place)
            yield self._solid(self.predictor._internal_maybe_mirror_and_predict(patch))

    def _solid(self, logits: Tensor) -> Tensor:
        """Return the logits of a batch of one, (classes, z, y, x)."""
        return logits[0].unsqueeze(1) if self.is_flat else logits[0]

    def _box(self, place: Sequence[int]) -> list[slice]:
        return [slice(i, i + size) for i, size in zip(place, self.patch_size, strict=True)]

    def _patch(self, place: Sequence[int]) -> Tensor:
        cut = self._box(place)
        position = (slice(None), place[0] if self.is_flat else cut[0], *cut[1:])
        patch = self.image[position]
        if self.previous is not None:
            previous = self.previous[position][0]
            one_hot = torch.stack([previous == label for label in self.labels])
            patch = torch.cat([patch, one_hot.to(patch.dtype)])
        # The copy has the layout that nnU-Net's predictor gives to the network.
        return torch.clone(patch[None], memory_format=torch.contiguous_format).to(
            self.predictor.device
        )


def _check_finite(logits: Tensor) -> None:
    if not torch.isfinite(logits).all():
        msg = (
            "the network's output is not finite: its weights are damaged, or the image's "
            "intensities are far from those it was trained on"
        )
        raise RuntimeError(msg)
