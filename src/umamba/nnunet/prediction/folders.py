"""Segment a folder of images with nnU-Net's predictor."""

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from umamba.datasets.checks import Case, CaseFacts
from umamba.datasets.comparison import check_headers
from umamba.datasets.inputs import FoundInputs, check_case
from umamba.datasets.studies import find_images_or_studies
from umamba.dicom.output_formats import OutputFormats
from umamba.dicom.series import SeriesError
from umamba.dicom.studies import StudyOptions
from umamba.errors import DatasetError, UMambaError
from umamba.images.contents import without_numbers
from umamba.images.file_names import COMPANIONS, split_ending, visible_files
from umamba.networks import UMambaUNetPlusPlus
from umamba.nnunet.model_loading import read_model
from umamba.nnunet.plans.networks import building
from umamba.nnunet.prediction.cases import CaseError, segment_case
from umamba.nnunet.prediction.dicom_outputs import DicomOutputs
from umamba.nnunet.prediction.engines import use_engine
from umamba.nnunet.prediction.record import model_identity
from umamba.system.interruption import StopRequest, resumable, run_again
from umamba.system.output_folders import (
    OutputClaim,
    Workshop,
    clear_stale,
    segmentations_of_others,
)
from umamba.system.path_names import check_utf8, check_writable, listed, shown
from umamba.system.progress import CaseProgress
from umamba.system.terminal import one_line, talk_to_stderr

__all__ = ["PredictionOptions", "PredictionReport", "image_reader", "load_model", "predict"]

log = logging.getLogger(__name__)

# Files that `predict` and nnU-Net write beside segmentations.


@dataclass(frozen=True)
class PredictionOptions:
    """The options of prediction; names and defaults are nnU-Net's.

    Args:
        folds: Folds to ensemble; empty means all that exist.
        checkpoint_name: File in each fold.
        engine: What runs the network: `auto`, `torch` or an ONNX engine.
        prune_to: Depth to which a `unetpp_nested` is computed; `None` means all of it.
        step_size: Step of the sliding window, in patches.
        mirroring: Whether predictions of mirrored images are averaged.
        save_probabilities: Whether probabilities are written as well.
        device: `cpu`, `cuda` or `mps`.
        previous_stage: Segmentations of the first stage, for a cascade.
        overwrite: Whether cases with an output are predicted again.
        num_parts: Number of parts that the sorted cases are divided into.
        part_id: The part to predict, from 0: every `num_parts`-th case, beginning with this one.
        trust_plans: Whether plans and checkpoints may name any code to import.
        studies: The options of reading DICOM.
        formats: The formats of the segmentations.
    """

    folds: tuple[str, ...] = ()
    checkpoint_name: str = "checkpoint_final.pth"
    engine: str = "torch"
    prune_to: int | None = None
    step_size: float = 0.5
    mirroring: bool = True
    save_probabilities: bool = False
    device: str = "cpu"
    previous_stage: Path | None = None
    overwrite: bool = False
    num_parts: int = 1
    part_id: int = 0
    trust_plans: bool = False
    studies: StudyOptions = field(default_factory=StudyOptions)
    formats: OutputFormats = field(default_factory=OutputFormats)


@dataclass
class PredictionReport:
    """The cases that were segmented, those segmented before, and those that failed and why.

    Attributes:
        notes: Remarks on odd images, one of every kind.
    """

    predicted: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def load_model(model_folder: Path, options: PredictionOptions) -> Any:
    """Build nnU-Net's predictor from a model folder of nnU-Net, the authors' fork, or ours.

    Checkpoints are read without running code in them.

    Args:
        model_folder: Folder with `plans.json`, `dataset.json` and `fold_*`.
        options: The options of prediction.

    Returns:
        An `nnUNetPredictor`, ready to predict.

    Raises:
        UMambaError: If the folder is not a model, or its parts do not fit together.
    """
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    model = read_model(
        model_folder, options.folds, options.checkpoint_name, trust_plans=options.trust_plans
    )
    with building(model_folder / "plans.json"):
        network = model.build()
    network.load_state_dict(model.weights[0])
    if options.prune_to is not None:
        _prune(network, options.prune_to)
    device = torch.device(options.device)
    predictor = nnUNetPredictor(
        tile_step_size=options.step_size,
        use_mirroring=options.mirroring,
        perform_everything_on_device=device.type == "cuda",
        device=device,
        allow_tqdm=sys.stderr.isatty(),
    )
    predictor.manual_initialization(
        network,
        model.plans,
        model.configuration,
        list(model.weights),
        model.dataset_json,
        model.trainer,
        model.mirroring_axes,
    )
    use_engine(predictor, model_folder, options.engine, is_pruned=options.prune_to is not None)
    return predictor


def image_reader(predictor: Any) -> str:
    """Return the name of nnU-Net's reader in the plans of a model."""
    return str(predictor.plans_manager.plans.get("image_reader_writer"))


def _prune(network: torch.nn.Module, depth: int) -> None:
    if not isinstance(network, UMambaUNetPlusPlus):
        msg = f"--prune-to is for unetpp_nested; a {type(network).__name__} cannot be pruned"
        raise UMambaError(msg)
    network.prune(depth)


def predict(
    model_folder: Path, images: Path, output: Path, options: PredictionOptions
) -> PredictionReport:
    """Segment every case of a folder that has no segmentation yet.

    Cases that cannot be read, or do not fit the model, are reported and left out. Outputs appear
    once they are whole. No other process is started.

    Args:
        model_folder: Folder with `plans.json`, `dataset.json` and `fold_*`.
        images: Folder of images, named as nnU-Net does (`case_0000.nii.gz`); a model with one
            channel also takes names without the channel number. Or a folder of DICOM.
        output: Folder for the segmentations, created if it does not exist.
        options: The options of prediction.

    Returns:
        The report on all cases.

    Raises:
        UMambaError: If the model cannot be loaded, no case can be predicted, or outputs cannot be
            written, would overwrite inputs, or exist and are another model's.
        ResumableInterruptError: If the user interrupts; the same call continues.
    """
    report = PredictionReport()

    def rest() -> str:
        how = ", without --overwrite" if options.overwrite and report.predicted else ""
        return f"{len(report.predicted)} predicted; {run_again('predict the rest')}{how}"

    with resumable(rest), StopRequest().listening(), talk_to_stderr():
        try:
            _check_output(output, images, options.previous_stage)
            predictor = load_model(model_folder, options)
            _check_cascade(predictor.configuration_manager, options)
            inputs = find_images_or_studies(
                images, output, predictor.dataset_json, image_reader(predictor), options.studies
            )
            _check_targets(inputs.cases, output, predictor.dataset_json["file_ending"])
            if options.part_id == 0:  # which one part alone reports
                _note_unused(inputs, images, options.previous_stage)
            cases = sorted(inputs.cases, key=lambda case: case.case_id)
            part = cases[options.part_id :: options.num_parts]
            report.notes.update((note, note) for note in inputs.notes)
            _predict_cases(predictor, inputs, part, output, options, report)
        except KeyboardInterrupt:
            if output.is_dir():
                Workshop(output).clear()
            raise
    if options.part_id == 0:
        report.failed = {**inputs.failed, **report.failed}
    nothing = not report.predicted and not report.skipped
    if report.failed and nothing and options.num_parts == 1:
        reasons = "".join(
            "\n  " + one_line(f"case {case}: {why}") for case, why in report.failed.items()
        )
        msg = f"no case in {images} can be predicted:{reasons}"
        raise DatasetError(msg)
    return report


def _note_unused(inputs: FoundInputs, images: Path, previous_stage: Path | None) -> None:
    """Say what is odd about the inputs, and list files that are not used."""
    for note in inputs.notes:
        sys.stderr.write(one_line(f"note: {note}") + "\n")
    unused = {images: list(inputs.others)}
    if previous_stage is not None and previous_stage.is_dir():
        wanted = {case.case_id for case in inputs.cases}
        unused[previous_stage] = [
            shown(path.name)
            for path in visible_files(previous_stage)
            if split_ending(path)[0] not in wanted and path.name not in COMPANIONS
        ]
    for folder, names in unused.items():
        if names:
            sys.stderr.write(
                f"note: these files in {shown(folder)} are not used: {listed(names)}\n"
            )


def _predict_cases(
    predictor: Any,
    inputs: FoundInputs,
    cases: Sequence[Case],
    output: Path,
    options: PredictionOptions,
    report: PredictionReport,
) -> None:
    identity = model_identity(predictor, options.previous_stage)
    dicom = DicomOutputs(predictor, inputs, options.formats, identity)
    endings = options.formats.endings(predictor.dataset_json["file_ending"])
    claim = OutputClaim(
        output,
        identity,
        endings=[*endings, ".npz", ".pkl"],
        required=len(endings) + (2 if options.save_probabilities else 0),
        overwrite=options.overwrite,
        companions={
            "dataset.json": predictor.dataset_json,
            "plans.json": predictor.plans_manager.plans,
        },
    )
    clear_stale(output)
    done = claim.find_done(case.case_id for case in cases)
    _warn_of_others(claim, output)
    progress = CaseProgress(len(cases))
    for number, case in enumerate(cases, start=1):
        if case.case_id in done:
            report.skipped.append(case.case_id)
            continue
        why = _predict_case(
            predictor, case, inputs.opened, dicom, output, claim, options, report.notes
        )
        if why is not None:
            report.failed[case.case_id] = why
        else:
            report.predicted.append(case.case_id)
        outcome = "predicted" if why is None else "left out"
        worked = len(report.predicted) + len(report.failed)
        at = progress.at(number, done=worked, left=len(cases) - len(done) - worked)
        log.info("%s: %s, %s", case.case_id, outcome, at)


def _warn_of_others(claim: OutputClaim, output: Path) -> None:
    some = sorted(claim.others)
    if some:
        more = ", ..." if len(some) > 3 else ""
        sys.stderr.write(
            f"note: {output} also holds files of {len(some)} other case(s) that this model did not "
            f"make, and that are kept: {', '.join(some[:3])}{more}\n"
        )


def _say_oddities(facts: CaseFacts, said: dict[str, str]) -> None:
    """Say once, for the first image of each kind, what is odd about headers and files."""
    for problem in check_headers([facts]):
        kind = without_numbers(problem.problem)
        if kind not in said:
            said[kind] = str(problem)
            log.info("note: %s (said once for all cases)", problem)


def _predict_case(
    predictor: Any,
    case: Case,
    opened: Callable[[Case], AbstractContextManager[Case]],
    dicom: DicomOutputs,
    output: Path,
    claim: OutputClaim,
    options: PredictionOptions,
    notes: dict[str, str],
) -> str | None:
    """Predict one case; return the reason if it cannot be predicted."""
    ending, reader = predictor.dataset_json["file_ending"], image_reader(predictor)
    try:
        dicom.check(case.case_id)
        with opened(case) as readable:
            facts, problems = check_case(readable, predictor.dataset_json, reader)
            _say_oddities(facts, notes)
            problems = problems or _check_previous_stage(case, ending, options.previous_stage)
            if problems:
                return "; ".join(problems)
            segment_case(
                predictor,
                facts,
                output,
                claim,
                dicom,
                previous_stage=options.previous_stage,
                save_probabilities=options.save_probabilities,
            )
    except (CaseError, SeriesError) as error:
        return str(error)
    return None


def _check_output(output: Path, images: Path, previous_stage: Path | None) -> None:
    """Check that the output can be written, and is not a folder that the prediction reads."""
    for folder, option in ((images, "-i"), (previous_stage, "-prev_stage_predictions")):
        if folder is not None and folder.resolve() == output.resolve():
            msg = (
                f"-o {output} is also the folder of {option}, whose files would be overwritten; "
                "give another -o"
            )
            raise UMambaError(msg)
        if folder is not None:
            check_utf8(folder, option)
    check_writable(output, "-o")


def _check_targets(cases: Sequence[Case], output: Path, ending: str) -> None:
    """Check that no output would overwrite an image that the input folder links to."""
    targets = {output.resolve() / f"{case.case_id}{ending}" for case in cases}
    for path in (path for case in cases for path in case.images):
        if path.resolve() in targets:
            msg = (
                f"{path} is a link to {path.resolve()}, which would be overwritten; give another -o"
            )
            raise UMambaError(msg)


def _check_cascade(configuration: Any, options: PredictionOptions) -> None:
    stage = configuration.previous_stage_name
    if stage is not None and options.previous_stage is None:
        msg = (
            f"this model is the second stage of a cascade; predict with {stage} first, and give "
            "that output as -prev_stage_predictions DIR"
        )
        raise UMambaError(msg)


def _check_previous_stage(case: Case, ending: str, folder: Path | None) -> list[str]:
    if folder is None:
        return []
    path = folder / f"{case.case_id}{ending}"
    if not path.is_file():
        near = [p for p in visible_files(folder) if split_ending(p)[0] == case.case_id]
        hint = f"; rename {near[0].name} to that" if near else ""
        return [f"{path} of the first stage is missing{hint}"]
    if case.case_id in segmentations_of_others(folder):
        return [
            f"{path} is not from the first stage's model: predicting {folder} with --overwrite was "
            "interrupted; finish that first"
        ]
    return []
