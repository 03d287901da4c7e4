"""Run the networks of a model over a preprocessed image, patch by patch.

nnU-Net's predictor keeps the logits of all classes for the whole image. The arithmetic here is
the same, voxel for voxel and in the same order, but planes leave memory once no patch covers them.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from umamba.logit_files import LOGITS_IN_MEMORY, SUMS_IN_MEMORY, LogitStore
from umamba.nnunet.plans.networks import bare_network
from umamba.patches import window_starts
from umamba.windows import DiskSlab, MemorySlab, Slab, averaged_planes, patch_weights

__all__ = ["NetworkInput", "predict_logits"]

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
) -> LogitStore:
    """Return the logits of a case, averaged over patches, mirrored images and folds.

    Args:
        predictor: nnU-Net's predictor, ready to predict.
        case: The case.
        folder: The folder for large logits.
        title: The title of the progress bar.
        most_in_memory: How many bytes of logits, and of the sums of the planes that patches
            cover, may stay in memory; what is larger goes to files.

    Returns:
        The logits, to be closed after use.

    Raises:
        RuntimeError: If a logit is not a finite number.
        UMambaError: If the disk has no room for the logits.
    """
    windows = _Windows(predictor, case, folder, most_in_memory[1])
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
    return store


class _Windows:
    """The patches of a padded case, in nnU-Net's order: along the first axis from low to high."""

    def __init__(self, predictor: Any, case: NetworkInput, folder: Path, slab_bytes: int) -> None:
        from acvl_utils.cropping_and_padding.padding import pad_nd_image

        self.predictor, self.folder, self.slab_bytes = predictor, folder, slab_bytes
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
        shape = self.image.shape[1:]
        self.is_flat = len(patch_size) < len(shape)  # a 2D network in a stack of slices
        self.patch_size = (1,) * self.is_flat + patch_size
        starts = window_starts(shape[-len(patch_size) :], patch_size, predictor.tile_step_size)
        self.starts = [list(range(shape[0])), *starts] if self.is_flat else starts

    def run(self, title: str) -> Iterator[tuple[int, Tensor]]:
        """Yield finished planes, without the padding, each with the number of its first one."""
        on_device = self.predictor.perform_everything_on_device
        device = self.predictor.device if on_device else torch.device("cpu")
        gaussian = patch_weights(self.patch_size[self.is_flat :], torch.half, device).reshape(
            self.patch_size
        )
        slab = self._slab(device)
        rows, *rest = self.inside
        try:
            for first, planes in averaged_planes(slab, self.starts, self._logits(title), gaussian):
                low, high = max(first, rows.start), min(first + planes.shape[1], rows.stop)
                if low >= high:
                    continue
                inner = planes[(slice(None), slice(low - first, high - first), *rest)].cpu()
                _check_finite(inner)
                yield low - rows.start, inner
        finally:
            slab.close()

    def _slab(self, device: torch.device) -> Slab:
        shape = (self.n_heads, self.patch_size[0], *self.image.shape[2:])
        if device.type == "cpu" and math.prod(shape) * _HALF > self.slab_bytes:
            return DiskSlab(shape, self.folder)
        return MemorySlab(shape, torch.half, device)

    def _logits(self, title: str) -> Iterator[Tensor]:
        places = list(product(*self.starts))
        for place in tqdm(places, desc=title, disable=not self.predictor.allow_tqdm):
            prediction = self.predictor._internal_maybe_mirror_and_predict(self._patch(place))
            yield prediction[0].unsqueeze(1) if self.is_flat else prediction[0]

    def _patch(self, place: Sequence[int]) -> Tensor:
        cut = [slice(i, i + size) for i, size in zip(place, self.patch_size, strict=True)]
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
