"""Segment a folder of images with an exported model."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from umamba.datasets.checks import CaseFacts
from umamba.datasets.inputs import check_case, check_targets, find_inputs
from umamba.errors import DatasetError, UMambaError
from umamba.images.contents import Geometry, UnreadableFileError
from umamba.images.dicom_files import counts_as_dicom
from umamba.images.files import read_image, write_image
from umamba.images.segmentation_files import write_with_geometry_of
from umamba.images.volumes import turned
from umamba.runtime.predictor import Predictor
from umamba.system.json_files import load_json
from umamba.system.output_folders import OutputClaim, Workshop, clear_stale, publish
from umamba.system.path_names import check_utf8, check_writable, listed
from umamba.system.progress import CaseProgress
from umamba.system.terminal import one_line

__all__ = ["FolderReport", "predict_folder", "read_case"]

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

_TURNS = "WithReorient"  # the end of the names of readers that turn images to right, front and up


@dataclass
class FolderReport:
    """The cases that were segmented, those segmented before, and those that failed and why."""

    predicted: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def predict_folder(
    predictor: Predictor,
    images: Path,
    output: Path,
    *,
    overwrite: bool = False,
    report: FolderReport | None = None,
) -> FolderReport:
    """Segment every case of a folder that has no segmentation of this model yet.

    Cases that cannot be read, or do not fit the model, are reported and left out. Segmentations
    appear once they are whole, with the geometry of their images.

    Args:
        predictor: The model.
        images: Folder of images, named as nnU-Net does (`case_0000.nii.gz`); a model with one
            channel also takes names without the channel number.
        output: Folder for the segmentations, created if it does not exist.
        overwrite: Whether cases that have a segmentation are predicted again.
        report: Filled on the way, for whoever interrupts.

    Raises:
        UMambaError: If no case can be predicted, as of DICOM, or outputs cannot be written, would
            overwrite inputs, or exist and are another model's.
    """
    report = FolderReport() if report is None else report
    pipeline = predictor.pipeline
    _check_folders(images, output)
    description = {
        "channel_names": {n: channel.name for n, channel in enumerate(pipeline.channels)},
        "file_ending": pipeline.file_ending,
    }
    inputs = find_inputs(images, description, pipeline.image_reader)
    check_targets(inputs.cases, output, pipeline.file_ending)
    if inputs.others:
        log.info("note: these files in %s are not used: %s", images, listed(inputs.others))
    claim = OutputClaim(
        output,
        _identity(predictor),
        endings=[pipeline.file_ending],
        required=1,
        overwrite=overwrite,
    )
    clear_stale(output)
    done = claim.find_done(case.case_id for case in inputs.cases)
    report.skipped += sorted(done)
    waiting = [case for case in inputs.cases if case.case_id not in done]
    progress = CaseProgress(len(waiting))
    for number, case in enumerate(waiting, start=1):
        facts, problems = check_case(case, description, pipeline.image_reader)
        why = "; ".join(problems) or _predict_case(predictor, facts, output, claim)
        if why:
            report.failed[case.case_id] = why
        else:
            report.predicted.append(case.case_id)
        at = progress.at(number, done=number, left=len(waiting) - number)
        log.info("%s: %s, %s", case.case_id, "left out" if why else "predicted", at)
    report.failed.update(inputs.failed)
    _check_any(report, images)
    return report


def _check_folders(images: Path, output: Path) -> None:
    if images.resolve() == output.resolve():
        msg = f"-o {output} is also the folder of -i; give another -o"
        raise UMambaError(msg)
    check_utf8(images, "-i")
    check_writable(output, "-o")
    if counts_as_dicom(images, pictures=True, deep=False):
        msg = (
            f"{images} holds DICOM, which the runtime does not read: convert it to NIfTI, or use "
            "umamba predict, which does (pip install 'umamba[dicom]')"
        )
        raise DatasetError(msg)


def _check_any(report: FolderReport, images: Path) -> None:
    if not report.failed or report.predicted or report.skipped:
        return
    lines = "".join("\n  " + one_line(f"case {case}: {why}") for case, why in report.failed.items())
    msg = f"no case in {images} can be predicted:{lines}"
    raise DatasetError(msg)


def _identity(predictor: Predictor) -> dict[str, Any]:
    """Return all that the segmentations depend on; engines differ only in near-ties."""
    networks, skips = predictor.pipeline.networks, predictor.skip_background_patches
    steps = msgspec.structs.replace(predictor.pipeline, networks=(), software={}, keep_largest=None)
    return {
        "weights_sha256": _digest("".join(network.sha256 for network in networks).encode()),
        "models": len(networks),
        "plans_sha256": _digest(msgspec.json.encode(steps)),
        "step_size": predictor.step_size,
        "postprocessing": predictor.keep_largest,
        "mirroring": list(predictor.pipeline.mirroring_axes) if predictor.mirroring else False,
        **({"skip_background_patches": True} if skips else {}),
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _predict_case(predictor: Predictor, facts: CaseFacts, output: Path, claim: OutputClaim) -> str:
    """Predict one case; return the reason if it cannot be predicted, or else ""."""
    case_id, ending = facts.case.case_id, predictor.pipeline.file_ending
    try:
        with Workshop(output) as folder:
            labels, geometry = _segment(predictor, facts, folder)
            target = folder / f"{case_id}{ending}"
            write_with_geometry_of(
                facts.images[0].path, target, lambda file: _write(file, labels, geometry)
            )
            claim.stake(case_id, [target.name])
            publish([target], output, replace=claim.may_replace(case_id))
            claim.settle(case_id)
    except (DatasetError, UnreadableFileError) as error:
        return str(error)
    except MemoryError:
        return "there is not enough memory; use a machine with more, or crop the image"
    except FileExistsError as error:
        return f"{error.filename} appeared while the case was being predicted, and was kept"
    except OSError as error:
        msg = (
            f"case {case_id} cannot be written to {output} ({error.strerror or error}); existing "
            "files are whole: make room or give write access, then run the command again"
        )
        raise UMambaError(msg) from error
    return ""


def _segment(
    predictor: Predictor, facts: CaseFacts, scratch: Path
) -> tuple[Array, Geometry | None]:
    """Return the labels of a case on the grid of its files, and that grid."""
    reader = predictor.pipeline.image_reader
    image, spacing, geometry = read_case(facts, reader)
    labels = predictor(image, spacing, scratch=scratch)
    if geometry is None or not reader.endswith(_TURNS):
        return labels, geometry
    own = read_image(facts.images[0].path, reader=reader.removesuffix(_TURNS)).geometry or geometry
    return turned(labels, geometry, own), own


def read_case(facts: CaseFacts, reader: str) -> tuple[Array, Sequence[float], Geometry | None]:
    """Return channels, voxel size in the array's order, and geometry, as nnU-Net reads them.

    Args:
        facts: A case that fits the model.
        reader: nnU-Net's name for the reader of images.

    Raises:
        DatasetError: If the file with the voxel size of a TIFF stack is damaged.
        UnreadableFileError: If a file cannot be read any more.
    """
    files = [read_image(file.path, reader=reader) for file in facts.images]
    image = np.concatenate([file.array for file in files])
    geometry = files[0].geometry
    if geometry is not None:
        return image, geometry.spacing[::-1], geometry
    if image.ndim == 3:
        return image, (1.0, 1.0), None
    companion = files[0].path.with_name(f"{facts.case.case_id}.json")  # of a stack of TIFF
    try:
        described = load_json(companion) if companion.is_file() else {}
    except UMambaError as error:
        raise DatasetError(str(error)) from None
    return image, described.get("spacing", (1.0, 1.0, 1.0)), None


def _write(file: Path, labels: Array, geometry: Geometry | None) -> None:
    """Write labels; axes that are not at right angles are corrected afterwards, in NIfTI alone."""
    if geometry is not None and not _is_rectangular(geometry):
        n_axes = len(geometry.spacing)
        unit = tuple(np.eye(n_axes).ravel())
        geometry = Geometry(geometry.spacing, geometry.origin, unit)
    write_image(file, labels, geometry)


def _is_rectangular(geometry: Geometry) -> bool:
    n_axes = len(geometry.spacing)
    axes = np.reshape(geometry.direction, (n_axes, n_axes))
    return bool(np.allclose(axes.T @ axes, np.eye(n_axes), atol=1e-4))
