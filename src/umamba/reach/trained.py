"""A trained model, and patches to measure it with: noise, or parts of real images."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from umamba.datasets.inputs import check_case, find_inputs, input_files
from umamba.errors import DatasetError, UMambaError
from umamba.nnunet.model_loading import find_folds, read_model
from umamba.nnunet.plans.networks import building
from umamba.nnunet.prediction.cases import CaseError, preprocess_files
from umamba.nnunet.prediction.loading import PredictionOptions, image_reader, load_model
from umamba.nnunet.sharing.installation import opened_model
from umamba.system.terminal import one_line

__all__ = ["TrainedNetwork", "noise_patches", "trained_network"]


@dataclass(frozen=True)
class TrainedNetwork:
    """One fold of a trained model, and the same network before training.

    Attributes:
        initial: The network with weights as training begins with.
        trained: The network with those of the checkpoint.
        patch_size: Voxels of a patch along each axis.
        patches: Inputs of shape (1, channels, *patch_size).
    """

    initial: nn.Module
    trained: nn.Module
    patch_size: tuple[int, ...]
    patches: Sequence[Tensor]


def noise_patches(
    n_patches: int, channels: int, patch_size: Sequence[int], seed: int
) -> list[Tensor]:
    """Return patches of normal noise, with the mean and variance of normalised images.

    Args:
        n_patches: Their number.
        channels: Channels of each.
        patch_size: Voxels along each axis.
        seed: Seed of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (1, channels, *patch_size)
    return [torch.randn(shape, generator=generator) for _ in range(n_patches)]


def trained_network(
    model: Path,
    fold: str | None,
    checkpoint: str,
    images: Path | None,
    n_patches: int,
    seed: int,
    *,
    trust_plans: bool = False,
) -> TrainedNetwork:
    """Read a trained model, and cut the patches.

    Args:
        model: A model folder, exported folder or zip file.
        fold: The fold; `None` is the first that is trained.
        checkpoint: File in the fold's folder.
        images: A folder of images, named as for prediction; `None` makes patches of noise.
        n_patches: Number of patches, from all images in turn.
        seed: Seed of initial weights, noise, and places of patches.
        trust_plans: Whether the model may name any code to import.

    Raises:
        UMambaError: If the model or every image cannot be used.
    """
    with opened_model(model, trust_plans=trust_plans) as folder:
        folds = (fold or find_folds(folder, checkpoint)[0],)
        read = read_model(folder, folds, checkpoint, trust_plans=trust_plans)
        with building(folder / "plans.json"), torch.random.fork_rng():
            torch.manual_seed(seed)
            initial, trained = read.build(), read.build()
        trained.load_state_dict(read.weights[0])
        patch_size = tuple(read.configuration.patch_size)
        if images is None:
            patches = noise_patches(n_patches, read.input_channels, patch_size, seed)
        else:
            options = PredictionOptions(folds, checkpoint, trust_plans=trust_plans)
            predictor = load_model(folder, options)
            patches = _image_patches(predictor, images, patch_size, n_patches, seed)
    return TrainedNetwork(initial, trained, patch_size, patches)


def _image_patches(
    predictor: Any, images: Path, patch_size: Sequence[int], n_patches: int, seed: int
) -> list[Tensor]:
    """Cut patches at random places out of images, from each in turn."""
    if predictor.configuration_manager.previous_stage_name is not None:
        msg = (
            "--images are not for the second stage of a cascade, whose input are the labels of the "
            "first as well; leave --images out, or give a model of another configuration"
        )
        raise UMambaError(msg)
    generator = torch.Generator().manual_seed(seed)
    # As many images as there are patches at most: the others would not be looked at.
    volumes = list(islice(_preprocessed(predictor, images), n_patches))
    if not volumes:
        msg = f"no image in {images} can be used; see the reasons above"
        raise DatasetError(msg)
    return [_cut(volumes[i % len(volumes)], patch_size, generator) for i in range(n_patches)]


def _preprocessed(predictor: Any, images: Path) -> Iterator[Tensor]:
    """Yield the images of a folder as the network gets them, (channels, z, y, x)."""
    reader = image_reader(predictor)
    found = find_inputs(images, predictor.dataset_json, reader)
    for case in found.cases:
        facts, problems = check_case(case, predictor.dataset_json, reader)
        with TemporaryDirectory(prefix="umamba-") as folder:
            try:
                if not problems:
                    files = input_files(facts, Path(folder), predictor.dataset_json["file_ending"])
                    yield preprocess_files(predictor, files).image
            except CaseError as error:
                problems = [str(error)]
        if problems:
            reason = "; ".join(problems)
            sys.stderr.write(one_line(f"case {case.case_id} is left out: {reason}") + "\n")


def _cut(image: Tensor, patch_size: Sequence[int], generator: torch.Generator) -> Tensor:
    """Cut a patch at a random place, (1, channels, *patch); small images are padded with zeros."""

    def start(size: int, wanted: int) -> int:
        return int(torch.randint(max(size - wanted, 0) + 1, (1,), generator=generator))

    if len(patch_size) == 2:
        image = image[:, start(image.shape[1], 1)]
    for axis, wanted in enumerate(patch_size, start=1):
        first = start(image.shape[axis], wanted)
        image = image.narrow(axis, first, min(wanted, image.shape[axis]))
    missing = [wanted - size for wanted, size in zip(patch_size, image.shape[1:], strict=True)]
    pads = [end for lack in reversed(missing) for end in (lack // 2, lack - lack // 2)]
    return nn.functional.pad(image, pads)[None]
