"""Turn logits into a file of labels on the image's own grid, with the image's own geometry."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from umamba.images.segmentation_files import write_with_geometry_of
from umamba.logit_files import LogitStore

__all__ = [
    "label_map",
    "mean_probabilities",
    "probability_bytes",
    "write_probabilities",
    "write_segmentation",
]

Array = npt.NDArray[Any]


def label_map(logits: LogitStore, predictor: Any, properties: dict[str, Any]) -> Array:
    """Return the labels on the grid on which the image was read.

    They are those of nnU-Net, which resamples all classes together; here one class is resampled
    after the other, and the best one so far is kept.

    Args:
        logits: On the network's grid.
        predictor: nnU-Net's predictor.
        properties: nnU-Net's notes on how to undo the preprocessing.
    """
    from acvl_utils.cropping_and_padding.bounding_boxes import insert_crop_into_image

    plans, labels = predictor.plans_manager, predictor.label_manager
    resample = predictor.configuration_manager.resampling_fn_probabilities
    shape = properties["shape_after_cropping_and_before_resampling"]
    spacing = [properties["spacing"][i] for i in plans.transpose_forward]
    network_spacing = list(predictor.configuration_manager.spacing)
    if len(network_spacing) < len(shape):  # a 2D network keeps the distance of slices
        network_spacing = [spacing[0], *network_spacing]
    order = list(map(int, labels.regions_class_order)) if labels.has_regions else []
    small = len(labels.foreground_labels) < 255 and max(order, default=0) <= 255
    segmentation = np.zeros(shape, np.uint8 if small else np.uint16)
    best: torch.Tensor | None = None
    for index in range(logits.shape[0]):
        resampled = resample(logits.channel(index), shape, network_spacing, spacing)
        channel = torch.as_tensor(resampled)[0]
        if labels.has_regions:
            inside = labels.apply_inference_nonlin(channel) > 0.5
            segmentation[inside.numpy()] = order[index]
        elif best is None:
            best = channel
        else:
            segmentation[(channel > best).numpy()] = index  # of equal ones the first counts
            best = torch.maximum(best, channel)
    whole: Array = np.zeros(properties["shape_before_cropping"], segmentation.dtype)
    whole = insert_crop_into_image(whole, segmentation, properties["bbox_used_for_cropping"])
    return whole.transpose(plans.transpose_backward)


def probability_bytes(logits: LogitStore, properties: dict[str, Any]) -> int:
    """Estimate the memory that nnU-Net needs at its peak for the probabilities of all classes."""
    n_classes, *shape = logits.shape
    target = properties["shape_after_cropping_and_before_resampling"]
    whole = properties["shape_before_cropping"]
    resampling = 0 if tuple(shape) == tuple(target) else 8 * np.prod(shape, dtype=float)
    exporting = 8 * np.prod(target, dtype=float) + 4 * np.prod(whole, dtype=float)
    return int(n_classes * (2 * np.prod(shape, dtype=float) + max(resampling, exporting)))


def mean_probabilities(
    models: Sequence[Any], logits: Sequence[LogitStore], properties: Sequence[dict[str, Any]]
) -> tuple[Array, Array]:
    """Return labels and probabilities on the grid on which the image was read.

    Those of several models are averaged as `nnUNetv2_ensemble` does it.

    Args:
        models: nnU-Net's predictors.
        logits: Of each model, on its network's grid.
        properties: nnU-Net's notes on how to undo the preprocessing, for each model.
    """
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape as convert,
    )

    labels, mean = np.empty(0), np.empty(0)
    for model, store, notes in zip(models, logits, properties, strict=True):
        labels, probabilities = convert(
            store.read(0, store.shape[1]),
            model.plans_manager,
            model.configuration_manager,
            model.label_manager,
            notes,
            return_probabilities=True,
        )
        if mean.size:
            mean += probabilities
        else:
            mean = probabilities
    if len(models) == 1:
        return labels, mean
    mean /= len(models)
    found = models[0].label_manager.convert_probabilities_to_segmentation(mean)
    return found.astype(labels.dtype), mean


def write_probabilities(probabilities: Array, properties: dict[str, Any], stem: Path) -> None:
    """Write probabilities (`.npz`) and properties (`.pkl`) as nnU-Net does.

    Args:
        probabilities: Channels first.
        properties: nnU-Net's notes on how to undo the preprocessing.
        stem: The files' path without ending.
    """
    from batchgenerators.utilities.file_and_folder_operations import save_pickle

    np.savez_compressed(f"{stem}.npz", probabilities=probabilities)
    save_pickle(properties, f"{stem}.pkl")


def write_segmentation(
    labels: Array, reader_writer: Any, properties: dict[str, Any], path: Path, image: Path
) -> None:
    """Write labels through nnU-Net's writer, with exactly the geometry of the image.

    Args:
        labels: As nnU-Net's writer takes them.
        reader_writer: nnU-Net's class for the files of the model.
        properties: The properties that it noted when it read the image.
        path: The new file.
        image: The file that was segmented.
    """
    write_with_geometry_of(
        image, path, lambda file: reader_writer.write_seg(labels, str(file), properties)
    )
