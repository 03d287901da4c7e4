"""Turn logits into a file of labels on the image's own grid, with the image's own geometry."""

import errno
import gzip
import os
import shutil
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from umamba.images.file_names import split_ending
from umamba.images.nifti import nifti_header
from umamba.nnunet.prediction.sliding_window import LogitStore
from umamba.system.atomic_files import flush_to_disk, take_name

__all__ = ["label_map", "probability_bytes", "publish", "write_probabilities", "write_segmentation"]

Array = npt.NDArray[Any]

_NIFTI_GEOMETRY = (
    *("xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
_NRRD_GEOMETRY = ("space", "space dimension", "space directions", "space origin")


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


def write_probabilities(
    logits: LogitStore, predictor: Any, properties: dict[str, Any], stem: Path
) -> Array:
    """Write probabilities (`.npz`) and properties (`.pkl`) as nnU-Net does, and return the labels.

    Args:
        logits: On the network's grid.
        predictor: nnU-Net's predictor.
        properties: nnU-Net's notes on how to undo the preprocessing.
        stem: The files' path without ending.
    """
    from batchgenerators.utilities.file_and_folder_operations import save_pickle
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape,
    )

    labels: Array
    labels, probabilities = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits.read(0, logits.shape[1]).numpy(),
        predictor.plans_manager,
        predictor.configuration_manager,
        predictor.label_manager,
        properties,
        return_probabilities=True,
    )
    np.savez_compressed(f"{stem}.npz", probabilities=probabilities)
    save_pickle(properties, f"{stem}.pkl")
    return labels


def write_segmentation(
    labels: Array, reader_writer: Any, properties: dict[str, Any], path: Path, image: Path
) -> None:
    """Write labels through nnU-Net's writer, with exactly the geometry of the image.

    NIfTI and NRRD hold products and square roots of what ITK sets, and would come back rounded;
    their geometry is copied from the image's header. The file is made under a plain name: of a
    second ending, as in `case.nii.nii.gz`, ITK drops the last one.

    Args:
        labels: As nnU-Net's writer takes them.
        reader_writer: nnU-Net's class for the files of the model.
        properties: The properties that it noted when it read the image.
        path: The new file.
        image: The file that was segmented.
    """
    ending, given = split_ending(path)[1], split_ending(image)[1]
    nifti = (".nii", ".nii.gz")
    if ending in nifti:
        plain = path.with_name(".segmentation.nii")
        reader_writer.write_seg(labels, str(plain), properties)
        if given in nifti:
            _copy_nifti_geometry(image, plain)
        if ending == ".nii":
            take_name(plain, path)
            return
        with (
            plain.open("rb") as source,
            path.open("wb") as target,
            gzip.GzipFile("", "wb", compresslevel=6, fileobj=target, mtime=0) as compressed,
        ):
            shutil.copyfileobj(source, compressed, 1 << 20)
        plain.unlink()
        return
    reader_writer.write_seg(labels, str(path), properties)
    if ending == given == ".nrrd":
        _copy_nrrd_geometry(image, path)


def _copy_nifti_geometry(image: Path, target: Path) -> None:
    import nibabel

    given = nifti_header(image)
    kind = type(nibabel.load(target).header)
    with target.open("r+b") as file:
        header = kind.from_fileobj(file)  # as it stands: `load` forgets where the voxels begin
        if given.get_data_shape() != header.get_data_shape():
            return
        for name in _NIFTI_GEOMETRY:
            header[name] = given[name]
        header["pixdim"][:4] = given["pixdim"][:4]
        file.seek(0)
        file.write(header.binaryblock)


def _copy_nrrd_geometry(image: Path, target: Path) -> None:
    given = {_field(line): line for line in _nrrd_header(image)}
    if "space directions" not in given:
        return
    header = _nrrd_header(target)
    body = target.read_bytes()[len(b"\n".join(header)) :]
    kept = [line for line in header if _field(line) not in _NRRD_GEOMETRY]
    copied = [given[name] for name in _NRRD_GEOMETRY if name in given]
    target.write_bytes(b"\n".join([*kept, *copied]) + body)


def _nrrd_header(path: Path) -> list[bytes]:
    """Return the lines of the header, which an empty line ends."""
    with path.open("rb") as file:
        return list(takewhile(bool, (line.rstrip(b"\r\n") for line in file)))


def _field(line: bytes) -> str:
    return line.partition(b":")[0].decode("latin-1")


def publish(files: list[Path], folder: Path, *, replace: bool) -> None:
    """Flush whole files to the disk, then move them to their place in the given order.

    Args:
        files: The files.
        folder: The folder they go to.
        replace: Whether existing files are replaced.

    Raises:
        FileExistsError: If one exists that may not be replaced.
    """
    for file in files:
        flush_to_disk(file)
        target = folder / file.name
        if not take_name(file, target, replace=replace):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
