"""Predict one case, from its files to whole files in the output folder."""

import math
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umamba.datasets.checks import Case, CaseFacts
from umamba.datasets.inputs import input_files
from umamba.dicom.series import SeriesError
from umamba.errors import DatasetError, UMambaError
from umamba.logit_files import LogitStore
from umamba.nnunet.postprocessing import PostProcessing
from umamba.nnunet.prediction.dicom_outputs import DicomOutputs
from umamba.nnunet.prediction.segmentation_files import (
    label_map,
    mean_probabilities,
    probability_bytes,
    write_probabilities,
    write_segmentation,
)
from umamba.nnunet.prediction.sliding_window import NetworkInput, predict_logits
from umamba.runtime.preprocessing import SLICE_DISTANCE, nonzero_box
from umamba.system.limits import usable_memory
from umamba.system.output_folders import OutputClaim, publish

__all__ = [
    "CaseAtWork",
    "CaseError",
    "CaseWork",
    "labels_of",
    "preprocess_array",
    "preprocess_files",
]

_SMALL = 1 << 28  # bytes of images and logits


class CaseError(Exception):
    """The error of a case that cannot be predicted; it says why, and what to do."""


@dataclass
class CaseAtWork:
    """A case on its way; it has inputs once it was read, and logits once it was predicted.

    Attributes:
        case: The case.
        folder: The folder for its files in the workshop.
        refusal: The reason why it cannot be predicted; "" if it can.
        facts: The facts about its files, once they were read.
        context: Holds what must stay until the end, such as files made from DICOM.
        images: Its files, as nnU-Net reads them.
        inputs: The input of each model.
        logits: The logits of each model, on that model's grid.
    """

    case: Case
    folder: Path
    refusal: str = ""
    facts: CaseFacts | None = None
    context: ExitStack = field(default_factory=ExitStack)
    images: list[Path] = field(default_factory=list)
    inputs: list[NetworkInput] = field(default_factory=list)
    logits: list[LogitStore] = field(default_factory=list)

    def close(self) -> None:
        """Remove its files and logits."""
        for logits in self.logits:
            logits.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.context.close()


@dataclass(frozen=True)
class CaseWork:
    """The work that is done on cases: each method takes one a step further.

    Failures of a case become its `refusal`.

    Attributes:
        models: nnU-Net's predictors, whose probabilities are averaged.
        output: The folder for the files.
        claim: The models' claim on that folder.
        dicom: Writes further files from the segmentation.
        previous_stage: Segmentations of the first stage, for a cascade.
        save_probabilities: Whether probabilities are written as well.
        postprocessing: What is done to labels.
        skip_background: Whether patches that are background in a coarse pass keep its logits.
    """

    models: Sequence[Any]
    output: Path
    claim: OutputClaim
    dicom: DicomOutputs
    previous_stage: Path | None = None
    save_probabilities: bool = False
    postprocessing: PostProcessing = field(default_factory=PostProcessing)
    skip_background: bool = False

    def read(self, case: CaseAtWork, facts: CaseFacts) -> CaseAtWork:
        """Read and preprocess a case that fits, once for each model.

        Raises:
            UMambaError: If files cannot be written, so that no other case could be written either.
        """
        ending = self.models[0].dataset_json["file_ending"]
        stem = case.case.case_id
        try:
            (case.folder / "inputs").mkdir(parents=True)
            (case.folder / "outputs").mkdir()
            case.images = input_files(facts, case.folder / "inputs", ending)
        except OSError as error:
            raise self._explained(case, error) from error
        try:
            for model in self.models:
                if facts.geometry is not None:
                    told = facts.geometry.spacing
                    flat = 3 - len(told)  # flat images are a slice, as nnU-Net reads them
                    sizes = (*[SLICE_DISTANCE * max(told)] * flat, *told[::-1])
                    shape = (facts.n_channels, *[1] * flat, *facts.images[0].shape)
                    _check_grid(model, shape, sizes, told)
                is_second = len(self.models) == 1 or model.configuration_manager.previous_stage_name
                there = self.previous_stage if is_second else None
                case.inputs.append(
                    preprocess_files(model, case.images, there and there / f"{stem}{ending}")
                )
        except CaseError as error:
            case.refusal = str(error)
        return case

    def is_small(self, case: CaseAtWork) -> bool:
        """Return whether another case may be in memory beside this one."""
        n_bytes = 0
        for model, given in zip(self.models, case.inputs, strict=False):
            voxels = math.prod(given.image.shape[1:])
            n_bytes += given.image.nbytes + 2 * model.label_manager.num_segmentation_heads * voxels
        return n_bytes <= _SMALL

    def predict(self, case: CaseAtWork) -> CaseAtWork:
        """Run the networks; their inputs leave memory.

        Raises:
            UMambaError: If the disk has no room for logits.
        """
        try:
            for number, model in enumerate([] if case.refusal else self.models):
                given = case.inputs[number]
                title = case.case.case_id
                case.logits.append(
                    predict_logits(
                        model, given, case.folder, title, skip_background=self.skip_background
                    )
                )
                case.inputs[number] = NetworkInput(torch.empty(0), None, given.properties)
        except OSError as error:
            raise self._explained(case, error) from error
        except DatasetError as error:  # an engine failed on this image
            case.refusal = str(error)
        except UMambaError:
            raise
        except Exception as error:  # noqa: BLE001 - networks of others may raise anything
            case.refusal = _describe("prediction", error)
        return case

    def write(self, case: CaseAtWork) -> CaseAtWork:
        """Write the files of a case, the segmentation last, and remove what is left of the work.

        Raises:
            UMambaError: If files cannot be written, so that no other case could be written either.
        """
        try:
            if not case.refusal:
                target = self._make_files(case)
                self.dicom.write(case.case.case_id, target)
                self._publish(case, _segmentation_last(target))
        except (CaseError, SeriesError) as error:
            case.refusal = str(error)
        except MemoryError as error:
            case.refusal = _describe("export", error)
        except OSError as error:
            raise self._explained(case, error) from error
        finally:
            case.close()
        return case

    def _make_files(self, case: CaseAtWork) -> Path:
        ending = self.models[0].dataset_json["file_ending"]
        stem = case.folder / "outputs" / case.case.case_id
        target = stem.with_name(f"{stem.name}{ending}")
        properties = [given.properties for given in case.inputs]
        try:
            labels, probabilities = labels_of(
                self.models,
                case.logits,
                properties,
                self.postprocessing,
                with_probabilities=self.save_probabilities,
            )
            if probabilities is not None:
                write_probabilities(probabilities, properties[0], stem)
            writer = self.models[0].plans_manager.image_reader_writer_class()
            write_segmentation(labels, writer, properties[0], target, case.images[0])
        except (OSError, CaseError):
            raise
        except Exception as error:
            raise CaseError(_describe("export", error)) from error
        return target

    def _publish(self, case: CaseAtWork, files: list[Path]) -> None:
        """Give the finished files of a case their names, once the folder is claimed."""
        case_id = case.case.case_id
        self.claim.stake(case_id, [file.name for file in files])
        try:
            publish(files, self.output, replace=self.claim.may_replace(case_id))
        except FileExistsError as error:
            msg = (
                f"{error.filename} appeared while the case was being predicted, and was kept; is "
                "another prediction running there?"
            )
            raise CaseError(msg) from None
        self.claim.settle(case_id)

    def _explained(self, case: CaseAtWork, error: OSError) -> UMambaError:
        msg = (
            f"case {case.case.case_id} cannot be written to {self.output} "
            f"({error.strerror or error}); existing files are whole: make room or give write "
            "access, then run the command again"
        )
        return UMambaError(msg)


def labels_of(
    models: Sequence[Any],
    logits: Sequence[LogitStore],
    properties: Sequence[dict[str, Any]],
    postprocessing: PostProcessing,
    *,
    with_probabilities: bool,
) -> tuple[Any, Any]:
    """Return the labels of a case on the image's grid, and the probabilities if they are wanted.

    Args:
        models: nnU-Net's predictors.
        logits: Those of each model.
        properties: nnU-Net's notes on how to undo the preprocessing, for each model.
        postprocessing: What is done to the labels.
        with_probabilities: Whether probabilities are returned as well, instead of `None`.

    Raises:
        CaseError: If probabilities do not fit into memory.
    """
    if len(models) == 1 and not with_probabilities:
        return postprocessing.apply(label_map(logits[0], models[0], properties[0])), None
    _check_memory(logits, properties)
    labels, probabilities = mean_probabilities(models, logits, properties)
    return postprocessing.apply(labels), probabilities if with_probabilities else None


def _check_grid(
    predictor: Any, shape: Sequence[int], spacing: Sequence[float], told: Sequence[float]
) -> None:
    """Check an image's size on the network's grid: its voxel size may be wrong.

    Args:
        predictor: nnU-Net's predictor.
        shape: Channels, then the image's axes, z first.
        spacing: The size of a voxel along these.
        told: The same as the user knows it, for messages.

    Raises:
        CaseError: If nothing is left of it, or it does not fit into memory.
    """
    target = predictor.configuration_manager.spacing
    kept = predictor.plans_manager.transpose_forward[-len(target) :]  # 2D networks keep slices
    factors = [spacing[axis] / size for axis, size in zip(kept, target, strict=True)]
    given = " x ".join(f"{size:g}" for size in told)
    sizes = [shape[1 + axis] * factor for axis, factor in zip(kept, factors, strict=True)]
    if min(sizes) < 0.5:  # rounds to no voxel
        msg = (
            f"with its voxel size of {given} mm the image is smaller than a voxel of the "
            "network's grid; correct the voxel size"
        )
        raise CaseError(msg)
    n_bytes = 8 * math.prod(shape) * math.prod(factors)
    if n_bytes > usable_memory():
        msg = (
            f"with its voxel size of {given} mm the image takes {n_bytes / 2**30:.3g} GiB on the "
            "network's grid; correct the voxel size, or crop the image"
        )
        raise CaseError(msg)


def preprocess_files(
    predictor: Any, files: Sequence[Path], first_stage: Path | None = None
) -> NetworkInput:
    """Read and preprocess a case as nnU-Net does.

    Args:
        predictor: nnU-Net's predictor.
        files: The image, a file for each channel.
        first_stage: The first stage's labels, in a cascade.

    Raises:
        CaseError: If nnU-Net cannot do it.
    """
    paths = [str(file) for file in files]
    return _preprocessed(
        predictor, "run_case", paths, None if first_stage is None else str(first_stage)
    )


def preprocess_array(predictor: Any, image: Any, spacing: Sequence[float]) -> NetworkInput:
    """Preprocess an image as nnU-Net does.

    Args:
        predictor: nnU-Net's predictor.
        image: Channels, then three axes.
        spacing: The size of a voxel along these.

    Raises:
        CaseError: If nnU-Net cannot do it, or the image is too small or large by its spacing.
    """
    box = nonzero_box(np.logical_or.reduce(image != 0))  # which nnU-Net crops to
    _check_grid(predictor, image[(slice(None), *box)].shape, spacing, spacing)
    return _preprocessed(predictor, "run_case_npy", image, None, {"spacing": list(spacing)})


def _preprocessed(predictor: Any, method: str, *given: Any) -> NetworkInput:
    """Call a method of nnU-Net's preprocessor with the image and the first stage's labels."""
    try:
        image, labels, properties = getattr(
            predictor.configuration_manager.preprocessor_class(verbose=False), method
        )(
            *given,
            predictor.plans_manager,
            predictor.configuration_manager,
            predictor.dataset_json,
        )
    except Exception as error:
        raise CaseError(_describe("preprocessing", error)) from error
    first_stage = given[1]
    return NetworkInput(
        torch.from_numpy(image).to(torch.float32).contiguous(),
        None if first_stage is None else torch.from_numpy(labels.astype(np.int16)),
        properties,
    )


def _check_memory(logits: Sequence[LogitStore], properties: Sequence[dict[str, Any]]) -> None:
    needed = max(map(probability_bytes, logits, properties))
    if len(logits) > 1:  # the mean, beside the probabilities of one model
        needed += 4 * logits[0].shape[0] * math.prod(properties[0]["shape_before_cropping"])
    there = usable_memory()
    if needed > there:
        remedy = (
            "use a machine with more: an ensemble averages probabilities"
            if len(logits) > 1
            else "leave --save_probabilities out: segmentations alone need a fraction of that"
        )
        msg = (
            f"the probabilities of {logits[0].shape[0]} classes need about {needed / 2**30:.0f} "
            f"GiB of memory, but only {there / 2**30:.3g} GiB may be used; {remedy}"
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
