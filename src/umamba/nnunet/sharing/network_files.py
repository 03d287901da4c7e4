"""Write the networks of a trained model's folds as ONNX files, with what stands around them."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from umamba.datasets.description import channel_names
from umamba.nnunet.checkpoints.contents import weights_digest
from umamba.nnunet.model_loading import TrainedModel
from umamba.nnunet.plans.derivation import Plans
from umamba.nnunet.plans.pipeline import pipeline_of
from umamba.nnunet.postprocessing import PostProcessing
from umamba.onnx_export.programs import write_program
from umamba.onnx_export.writing import write_onnx
from umamba.patches import other_patch, total_stride
from umamba.runtime.pipeline import NetworkFile, describe_network_file, write_pipeline

__all__ = ["write_networks", "write_programs"]


def write_networks(
    model: TrainedModel,
    folds: Sequence[str],
    described: tuple[Mapping[str, Any], Plans],
    configuration: str,
    folder: Path,
    preprocessed: Path | None,
    postprocessing: PostProcessing | None,
) -> tuple[NetworkFile, ...]:
    """Write `fold_*.onnx` and `pipeline.json`, after a comparison of every fold with torch.

    Args:
        model: The model.
        folds: The names of its folds, in the order of its weights.
        described: The `dataset.json` and plans that go with it.
        configuration: Its configuration.
        folder: Where to write.
        preprocessed: The folder of the data set's preprocessed cases, one of which is compared;
            where there is none it is random numbers alone.
        postprocessing: What nnU-Net chose for these folds, if it was asked.

    Returns:
        The networks, as `pipeline.json` lists them.

    Raises:
        UMambaError: If a network or a step cannot be exported, or an engine differs from torch.
    """
    dataset_json, plans = described
    pipeline = pipeline_of(
        plans,
        dataset_json,
        configuration,
        mirroring_axes=model.mirroring_axes,
        keep_largest=None if postprocessing is None else postprocessing.steps,
    )
    network = model.build()
    patches = _real_patches(preprocessed, model.configuration.data_identifier, pipeline.patch_size)
    keywords = model.configuration.network_arch_init_kwargs
    other = other_patch(pipeline.patch_size, total_stride(keywords["strides"]))
    networks = []
    for fold, weights in zip(folds, model.weights, strict=True):
        sys.stderr.write(f"writing fold {fold} as ONNX, and comparing it with torch\n")
        network.load_state_dict(weights)
        path = folder / f"fold_{fold}.onnx"
        example = (len(pipeline.channels), *pipeline.patch_size)
        written = write_onnx(
            network,
            example,
            path,
            patches,
            any_patch="input_size" not in keywords,
            other_patch=other,
        )
        digest = weights_digest([weights])
        networks.append(
            describe_network_file(path, fold, written.checks, digest, written.other_patch)
        )
    pipeline = msgspec.structs.replace(pipeline, networks=tuple(networks))
    write_pipeline(folder, pipeline)
    return pipeline.networks


def write_programs(
    model: TrainedModel, folds: Sequence[str], folder: Path, preprocessed: Path | None
) -> None:
    """Write `fold_*.pt2`, after a comparison of every fold with the network itself.

    Args:
        model: The model.
        folds: The names of its folds, in the order of its weights.
        folder: Where to write.
        preprocessed: As in `write_networks`.

    Raises:
        UMambaError: If a network cannot be exported, or differs when it is loaded.
    """
    network, configuration = model.build(), model.configuration
    patch_size = tuple(configuration.patch_size)
    patches = _real_patches(preprocessed, configuration.data_identifier, patch_size)
    any_patch = "input_size" not in configuration.network_arch_init_kwargs
    for fold, weights in zip(folds, model.weights, strict=True):
        sys.stderr.write(f"writing fold {fold} as a program of torch.export\n")
        network.load_state_dict(weights)
        example = (len(channel_names(model.dataset_json)), *patch_size)
        path = folder / f"fold_{fold}.pt2"
        write_program(network, example, path, patches, any_patch=any_patch)


def _real_patches(
    preprocessed: Path | None, identifier: str, patch_size: tuple[int, ...]
) -> list[Tensor]:
    """Return the middle of the first preprocessed case, if there is one."""
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    folder = None if preprocessed is None else preprocessed / identifier
    if folder is None or not (any(folder.glob("*.b2nd")) or any(folder.glob("*.npz"))):
        return []
    kind = infer_dataset_class(str(folder))
    cases = kind.get_identifiers(str(folder))
    image = torch.from_numpy(kind(str(folder), cases[:1]).load_case(cases[0])[0][:]).float()
    if len(patch_size) == 2:
        image = image[:, image.shape[1] // 2]
    for axis, size in enumerate(patch_size, 1):
        before = (image.shape[axis] - size) // 2
        if before > 0:
            image = image.narrow(axis, before, size)
        missing = size - image.shape[axis]
        if missing > 0:
            shape = [*image.shape[:axis], missing, *image.shape[axis + 1 :]]
            image = torch.cat([image, image.new_zeros(shape)], axis)
    return [image]
