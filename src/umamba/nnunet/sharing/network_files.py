"""Write the networks of a trained model's folds as ONNX files, with what stands around them."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from umamba.datasets.description import channel_names
from umamba.nnunet.checkpoints.contents import weights_digest
from umamba.nnunet.model_loading import TrainedModel
from umamba.nnunet.plans.derivation import Plans
from umamba.nnunet.plans.pipeline import pipeline_of
from umamba.nnunet.postprocessing import PostProcessing
from umamba.nnunet.sharing.compared_cases import (
    CaseSources,
    compared_case,
    middle_patch,
    preprocessed_case,
)
from umamba.onnx_export.programs import write_compiled, write_program
from umamba.onnx_export.whole_cases import compare_labels
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
    sources: CaseSources,
    postprocessing: PostProcessing | None,
) -> tuple[NetworkFile, ...]:
    """Write `fold_*.onnx` and `pipeline.json`, after a comparison of every fold with torch.

    Args:
        model: The model.
        folds: The names of its folds, in the order of its weights.
        described: The `dataset.json` and plans that go with it.
        configuration: Its configuration.
        folder: Where to write.
        sources: Where to look for a case whose labels, and a patch whose logits are compared;
            where there is none these are of random numbers.
        postprocessing: What nnU-Net chose for these folds, if it was asked.

    Returns:
        The networks, as `pipeline.json` lists them.

    Raises:
        UMambaError: If a network or a step cannot be exported, every engine differs from torch, or
            an image that was given does not fit the model.
    """
    dataset_json, plans = described
    pipeline = pipeline_of(
        plans,
        dataset_json,
        configuration,
        mirroring_axes=model.mirroring_axes,
        keep_largest=None if postprocessing is None else postprocessing.steps,
    )
    case, record = compared_case(
        sources, pipeline, dataset_json, model.configuration.data_identifier
    )
    is_real = record.origin != "random numbers"
    patches = [middle_patch(case.image, pipeline.patch_size)] if is_real else []
    network = model.build()
    any_patch = _takes_any_patch(model)
    strides = model.configuration.network_arch_init_kwargs["strides"] if any_patch else ()
    other = other_patch(pipeline.patch_size, total_stride(strides)) if any_patch else ()
    networks = []
    for fold, weights in zip(folds, model.weights, strict=True):
        sys.stderr.write(
            f"writing fold {fold} as ONNX, and comparing it with torch on {record.origin}\n"
        )
        network.load_state_dict(weights)
        path = folder / f"fold_{fold}.onnx"
        example = (len(pipeline.channels), *pipeline.patch_size)
        written = write_onnx(
            network,
            example,
            path,
            patches,
            any_patch=any_patch,
            other_patch=other,
        )
        checks = compare_labels(network, path, written.checks, case, pipeline)
        digest = weights_digest([weights])
        networks.append(
            describe_network_file(path, fold, checks, digest, written.other_patch, record)
        )
    pipeline = msgspec.structs.replace(pipeline, networks=tuple(networks))
    write_pipeline(folder, pipeline)
    return pipeline.networks


def write_programs(
    model: TrainedModel,
    folds: Sequence[str],
    folder: Path,
    sources: CaseSources,
    *,
    compiled: bool = False,
) -> None:
    """Write `fold_*.pt2`, after a comparison of every fold with the network itself.

    Args:
        model: The model.
        folds: The names of its folds, in the order of its weights.
        folder: Where to write.
        sources: Where to look for a preprocessed case, of which a patch is compared.
        compiled: Whether AOTInductor compiles them, `fold_*.aotinductor.pt2`.

    Raises:
        UMambaError: If a network cannot be exported, or differs when it is loaded.
    """
    network, configuration = model.build(), model.configuration
    patch_size = tuple(configuration.patch_size)
    image = preprocessed_case(sources, configuration.data_identifier)
    patches = [] if image is None else [middle_patch(image, patch_size)]
    any_patch = _takes_any_patch(model)
    for fold, weights in zip(folds, model.weights, strict=True):
        how = "compiling fold {} with AOTInductor" if compiled else "writing fold {} as a program"
        sys.stderr.write(f"{how.format(fold)}\n")
        network.load_state_dict(weights)
        example = (len(channel_names(model.dataset_json)), *patch_size)
        path = folder / f"fold_{fold}{'.aotinductor' if compiled else ''}.pt2"
        write = write_compiled if compiled else write_program
        write(network, example, path, patches, any_patch=any_patch)


def _takes_any_patch(model: TrainedModel) -> bool:
    """Return whether a network may take other patches: those that its strides divide."""
    keywords = model.configuration.network_arch_init_kwargs
    return "input_size" not in keywords and "strides" in keywords
