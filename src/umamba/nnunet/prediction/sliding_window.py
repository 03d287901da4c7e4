"""Run a network over an image patch by patch, with one slab of logits in memory at a time.

nnU-Net's predictor keeps the logits of all classes for the whole image. The arithmetic here is
the same, voxel for voxel and in the same order, but planes leave memory once no patch covers them.
"""

import io
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from umamba.errors import UMambaError
from umamba.nnunet.plans.networks import bare_network

__all__ = ["LogitStore", "NetworkInput", "count_windows", "predict_logits"]

Array = npt.NDArray[Any]

_IN_MEMORY = 1 << 30
_HALF = 2


class LogitStore:
    """Logits of a whole image in half precision: in memory, or in a file without a name.

    Args:
        shape: Classes first, then the image's.
        folder: The folder for a file, if one is needed; no crash can leave it there.
        most_in_memory: How many bytes may stay in memory; what is larger goes to a file.

    Raises:
        UMambaError: If the disk has no room for it.
    """

    def __init__(
        self, shape: Sequence[int], folder: Path, most_in_memory: int = _IN_MEMORY
    ) -> None:
        self.shape = tuple(shape)
        n_bytes = math.prod(self.shape) * _HALF
        self._file: IO[bytes] = io.BytesIO()
        if n_bytes > most_in_memory:
            free = shutil.disk_usage(folder).free
            if free < n_bytes:
                msg = (
                    f"{n_bytes / 2**30:.1f} GiB are needed in -o temporarily, but only "
                    f"{free / 2**30:.1f} are free; make room, or give another -o"
                )
                raise UMambaError(msg)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`

    def close(self) -> None:
        """Release memory and disk."""
        self._file.close()

    def write(self, first: int, planes: Tensor) -> None:
        """Set planes along the image's first axis, from `first` on."""
        for channel, logits in enumerate(planes.numpy()):
            self._seek(channel, first)
            self._file.write(np.ascontiguousarray(logits).data)

    def read(self, first: int, n_planes: int) -> Tensor:
        """Return planes of all channels."""
        channels = range(self.shape[0])
        return torch.from_numpy(np.stack([self._read(c, first, n_planes) for c in channels]))

    def channel(self, index: int) -> Array:
        """Return one channel, with an axis of size one for it."""
        return self._read(index, 0, self.shape[1])[None]

    def _seek(self, channel: int, plane: int) -> None:
        plane_voxels = math.prod(self.shape[2:])
        self._file.seek((channel * self.shape[1] + plane) * plane_voxels * _HALF)

    def _read(self, channel: int, first: int, n_planes: int) -> Array:
        self._seek(channel, first)
        shape = (n_planes, *self.shape[2:])
        content = bytearray(self._file.read(math.prod(shape) * _HALF))
        return np.frombuffer(content, np.float16).reshape(shape)


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
def predict_logits(predictor: Any, case: NetworkInput, folder: Path, title: str) -> LogitStore:
    """Return the logits of a case, averaged over patches, mirrored images and folds.

    Args:
        predictor: nnU-Net's predictor, ready to predict.
        case: The case.
        folder: The folder for large logits.
        title: The title of the progress bar.

    Returns:
        The logits, to be closed after use.

    Raises:
        RuntimeError: If a logit is not a finite number.
        UMambaError: If the disk has no room for the logits.
    """
    windows = _Windows(predictor, case)
    store = LogitStore((windows.n_heads, *case.image.shape[1:]), folder)
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
                        total = store.read(first, planes.shape[1])
                        total += planes
                    if 0 < fold == n_folds - 1:
                        total /= n_folds
                    store.write(first, total)
    except BaseException:
        store.close()
        raise
    return store


class _Windows:
    """The patches of a padded case, in nnU-Net's order: along the first axis from low to high."""

    def __init__(self, predictor: Any, case: NetworkInput) -> None:
        from acvl_utils.cropping_and_padding.padding import pad_nd_image

        self.predictor = predictor
        self.patch_size = tuple(predictor.configuration_manager.patch_size)
        self.n_heads = predictor.label_manager.num_segmentation_heads
        self.labels = predictor.label_manager.foreground_labels
        self.image, inside = pad_nd_image(
            case.image, self.patch_size, "constant", {"value": 0}, return_slicer=True
        )
        self.inside = [slice(int(part.start), int(part.stop)) for part in inside[1:]]
        self.previous = case.previous
        if case.previous is not None:  # -1 is not a label
            self.previous = pad_nd_image(case.previous, self.patch_size, "constant", {"value": -1})
        self.positions = predictor._internal_get_sliding_window_slicers(self.image.shape[1:])

    def run(self, title: str) -> Iterator[tuple[int, Tensor]]:
        """Yield finished planes, without the padding, each with the number of its first one."""
        on_device = self.predictor.perform_everything_on_device
        device = self.predictor.device if on_device else torch.device("cpu")
        is_flat = len(self.patch_size) < self.image.ndim - 1  # a 2D network in a stack of slices
        depth = 1 if is_flat else self.patch_size[0]
        gaussian = self._gaussian(device)
        logits = torch.zeros(
            (self.n_heads, depth, *self.image.shape[2:]), dtype=torch.half, device=device
        )
        weights = torch.zeros(logits.shape[1:], dtype=torch.half, device=device)
        start = 0
        for position in tqdm(self.positions, desc=title, disable=not self.predictor.allow_tqdm):
            first = position[1] if is_flat else position[1].start
            if first > start:
                n_done = first - start
                yield from self._finish(start, logits[:, :n_done], weights[:n_done])
                for buffer, axis in ((logits, 1), (weights, 0)):
                    rest = buffer.narrow(axis, n_done, depth - n_done).clone()
                    buffer.zero_().narrow(axis, 0, depth - n_done).copy_(rest)
                start = first
            here = (slice(None), 0 if is_flat else slice(None), *position[2:])
            prediction = self.predictor._internal_maybe_mirror_and_predict(self._patch(position))
            patch_logits = prediction[0].to(device)
            patch_logits *= gaussian
            logits[here] += patch_logits
            weights[here[1:]] += gaussian
        yield from self._finish(start, logits, weights)

    def _gaussian(self, device: torch.device) -> Tensor:
        from nnunetv2.inference.sliding_window_prediction import compute_gaussian

        gaussian: Tensor = compute_gaussian(
            self.patch_size, sigma_scale=1.0 / 8, value_scaling_factor=10, device=device
        )
        return gaussian

    def _patch(self, position: tuple[Any, ...]) -> Tensor:
        patch = self.image[position]
        if self.previous is not None:
            previous = self.previous[position][0]
            one_hot = torch.stack([previous == label for label in self.labels])
            patch = torch.cat([patch, one_hot.to(patch.dtype)])
        # The copy has the layout that nnU-Net's predictor gives to the network.
        return torch.clone(patch[None], memory_format=torch.contiguous_format).to(
            self.predictor.device
        )

    def _finish(self, start: int, logits: Tensor, weights: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Weight the sums, and leave the padding out."""
        rows, *rest = self.inside
        low, high = max(start, rows.start), min(start + logits.shape[1], rows.stop)
        if low >= high:
            return
        inner = slice(low - start, high - start)
        planes = (logits[:, inner] / weights[inner])[(slice(None), slice(None), *rest)].cpu()
        if not torch.isfinite(planes).all():
            msg = (
                "the network's output is not finite: its weights are damaged, or the image's "
                "intensities are far from those it was trained on"
            )
            raise RuntimeError(msg)
        yield low - rows.start, planes


def count_windows(shape: Sequence[int], patch_size: Sequence[int]) -> int:
    """Return how many patches nnU-Net's sliding window has, at its usual step of half a patch.

    Args:
        shape: Spatial shape of the image; where it is smaller than a patch, it is padded.
        patch_size: Spatial shape of a patch.
    """
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    padded = [max(sizes) for sizes in zip(shape, patch_size, strict=True)]
    steps = compute_steps_for_sliding_window(padded, tuple(patch_size), 0.5)
    return math.prod(len(positions) for positions in steps)
