"""Predict one case, from its files to whole files in the output folder."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umamba.datasets.checks import CaseFacts
from umamba.datasets.inputs import input_files
from umamba.errors import UMambaError
from umamba.nnunet.prediction.dicom_outputs import DicomOutputs
from umamba.nnunet.prediction.segmentation_files import (
    label_map,
    probability_bytes,
    write_probabilities,
    write_segmentation,
)
from umamba.nnunet.prediction.sliding_window import LogitStore, NetworkInput, predict_logits
from umamba.system.limits import usable_memory
from umamba.system.output_folders import OutputClaim, Workshop, publish

__all__ = ["CaseError", "segment_case"]


class CaseError(Exception):
    """The error of a case that cannot be predicted; it says why, and what to do."""


def segment_case(
    predictor: Any,
    facts: CaseFacts,
    output: Path,
    claim: OutputClaim,
    dicom: DicomOutputs,
    *,
    previous_stage: Path | None,
    save_probabilities: bool,
) -> None:
    """Predict one case and write its files, the segmentation last.

    Args:
        predictor: nnU-Net's predictor, ready to predict.
        facts: A case that was read and fits.
        output: The folder for the files.
        claim: The model's claim on that folder.
        dicom: Writes further files from the segmentation.
        previous_stage: Segmentations of the first stage, for a cascade.
        save_probabilities: Whether probabilities are written as well.

    Raises:
        CaseError: If this case cannot be predicted.
        SeriesError: If DICOM cannot be written for it.
        UMambaError: If files cannot be written, so that no other case could be written either.
    """
    try:
        with Workshop(output) as folder:
            ending = predictor.dataset_json["file_ending"]
            _check_grid(predictor, facts)
            files = input_files(facts, folder / "inputs", ending)
            first_stage = (
                None if previous_stage is None else previous_stage / f"{facts.case.case_id}{ending}"
            )
            case = _preprocess(predictor, files, first_stage)
            logits = _predict(predictor, case, folder, facts.case.case_id)
            try:
                target = folder / "outputs" / f"{facts.case.case_id}{ending}"
                _write(predictor, case, logits, target, files[0], save_probabilities)
            finally:
                logits.close()
            dicom.write(facts.case.case_id, target)
            files = _segmentation_last(target)
            _publish(claim, facts.case.case_id, files, output)
    except OSError as error:
        msg = (
            f"case {facts.case.case_id} cannot be written to {output} ({error.strerror or error}); "
            "existing files are whole: make room or give write access, then run the command again"
        )
        raise UMambaError(msg) from error


def _publish(claim: OutputClaim, case_id: str, files: list[Path], output: Path) -> None:
    """Give the finished files of a case their names, once the folder is claimed for the model."""
    claim.stake(case_id, [file.name for file in files])
    try:
        publish(files, output, replace=claim.may_replace(case_id))
    except FileExistsError as error:
        msg = (
            f"{error.filename} appeared while the case was being predicted, and was kept; is "
            "another prediction running there?"
        )
        raise CaseError(msg) from None
    claim.settle(case_id)


def _check_grid(predictor: Any, facts: CaseFacts) -> None:
    """Check the image's size on the network's grid: its voxel size may be wrong."""
    if facts.geometry is None:
        return
    network_spacing = predictor.configuration_manager.spacing
    plane = len(facts.geometry.spacing) - len(network_spacing)  # a 2D network keeps the slices
    per_axis = facts.geometry.spacing[: len(network_spacing)] if plane else facts.geometry.spacing
    scale = math.prod(per_axis) / math.prod(network_spacing)
    spacing = " x ".join(f"{s:g}" for s in facts.geometry.spacing)
    sizes = zip(facts.images[0].shape[::-1], per_axis, strict=False)
    if any(n * size / min(network_spacing) < 0.5 for n, size in sizes):  # rounds to no voxel
        msg = (
            f"with its voxel size of {spacing} mm the image is smaller than a voxel of the "
            "network's grid; correct the voxel size in its header"
        )
        raise CaseError(msg)
    n_bytes = 8 * facts.n_channels * math.prod(facts.images[0].shape) * scale
    if n_bytes > usable_memory():
        msg = (
            f"with its voxel size of {spacing} mm the image takes {n_bytes / 2**30:.3g} GiB on the "
            "network's grid; correct the voxel size in its header, or crop the image"
        )
        raise CaseError(msg)


def _preprocess(predictor: Any, files: list[Path], first_stage: Path | None) -> NetworkInput:
    """Read and preprocess a case as nnU-Net does."""
    try:
        image, labels, properties = predictor.configuration_manager.preprocessor_class(
            verbose=False
        ).run_case(
            [str(file) for file in files],
            None if first_stage is None else str(first_stage),
            predictor.plans_manager,
            predictor.configuration_manager,
            predictor.dataset_json,
        )
    except Exception as error:
        raise CaseError(_describe("preprocessing", error)) from error
    return NetworkInput(
        torch.from_numpy(image).to(torch.float32).contiguous(),
        None if first_stage is None else torch.from_numpy(labels.astype(np.int16)),
        properties,
    )


def _predict(predictor: Any, case: NetworkInput, folder: Path, title: str) -> LogitStore:
    try:
        return predict_logits(predictor, case, folder, title)
    except (OSError, UMambaError):
        raise
    except Exception as error:
        raise CaseError(_describe("prediction", error)) from error


def _write(
    predictor: Any,
    case: NetworkInput,
    logits: LogitStore,
    target: Path,
    image: Path,
    save_probabilities: bool,  # noqa: FBT001 - the caller's keyword
) -> None:
    stem = target.with_name(target.name.removesuffix(predictor.dataset_json["file_ending"]))
    if save_probabilities:
        _check_memory(logits, case.properties)
    try:
        labels = (
            write_probabilities(logits, predictor, case.properties, stem)
            if save_probabilities
            else label_map(logits, predictor, case.properties)
        )
        writer = predictor.plans_manager.image_reader_writer_class()
        write_segmentation(labels, writer, case.properties, target, image)
    except OSError:
        raise
    except Exception as error:
        raise CaseError(_describe("export", error)) from error


def _check_memory(logits: LogitStore, properties: dict[str, Any]) -> None:
    needed = probability_bytes(logits, properties)
    there = usable_memory()
    if needed > there:
        msg = (
            f"the probabilities of {logits.shape[0]} classes need about {needed / 2**30:.0f} GiB "
            f"of memory, but only {there / 2**30:.3g} GiB may be used; leave --save_probabilities "
            "out: segmentations alone need a fraction of that"
        )
        raise CaseError(msg)


def _segmentation_last(target: Path) -> list[Path]:
    """Return the finished files, the segmentation last, so that it is there only with the rest."""
    return sorted(target.parent.iterdir(), key=lambda file: file == target)


def _describe(step: str, error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"{step} ran out of memory; use a machine with more, or crop the image"
    lines = str(error).splitlines()
    reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return f"{step} failed ({reason}); if other programs read this image, please report it"
