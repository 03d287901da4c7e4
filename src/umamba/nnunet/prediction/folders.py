"""Segment a folder of images with nnU-Net's predictor."""

import logging
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from umamba.datasets.checks import Case, CaseFacts
from umamba.datasets.comparison import check_headers
from umamba.datasets.inputs import FoundInputs, check_case, check_targets
from umamba.datasets.studies import find_images_or_studies
from umamba.dicom.series import SeriesError
from umamba.errors import DatasetError, UMambaError
from umamba.images.contents import without_numbers
from umamba.images.file_names import COMPANIONS, split_ending, visible_files
from umamba.nnunet.postprocessing import PostProcessing
from umamba.nnunet.prediction.cases import CaseAtWork, CaseWork
from umamba.nnunet.prediction.dicom_outputs import DicomOutputs
from umamba.nnunet.prediction.loading import (
    PredictionOptions,
    image_reader,
    load_models,
    postprocessing_of,
)
from umamba.nnunet.prediction.overlapping import overlapped
from umamba.nnunet.prediction.record import joint_identity, model_identity
from umamba.system.interruption import StopRequest, resumable, run_again
from umamba.system.output_folders import (
    OutputClaim,
    clear_stale,
    segmentations_of_others,
    staging_name,
)
from umamba.system.path_names import check_utf8, check_writable, listed, shown
from umamba.system.progress import CaseProgress
from umamba.system.terminal import one_line, talk_to_stderr

__all__ = ["PredictionReport", "predict"]

log = logging.getLogger(__name__)


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
        _check_output(output, images, options.previous_stage)
        models = load_models([model_folder, *options.ensemble], options)
        steps = postprocessing_of(models[0], options.postprocessing)
        inputs = find_images_or_studies(
            images, output, models[0].dataset_json, image_reader(models[0]), options.studies
        )
        check_targets(inputs.cases, output, models[0].dataset_json["file_ending"])
        if options.part_id == 0:  # which one part alone reports
            _note_unused(inputs, images, options.previous_stage)
        cases = sorted(inputs.cases, key=lambda case: case.case_id)
        part = replace(inputs, cases=tuple(cases[options.part_id :: options.num_parts]))
        report.notes.update((note, note) for note in inputs.notes)
        _predict_cases(models, steps, part, output, options, report)
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
    models: Sequence[Any],
    postprocessing: PostProcessing,
    inputs: FoundInputs,
    output: Path,
    options: PredictionOptions,
    report: PredictionReport,
) -> None:
    cases = inputs.cases
    identities = [model_identity(model, options.previous_stage) for model in models]
    identity = joint_identity(
        identities, postprocessing.steps, skips_background=options.skip_background_patches
    )
    dicom = DicomOutputs(models[0], inputs, options.formats, identity)
    endings = options.formats.endings(models[0].dataset_json["file_ending"])
    claim = OutputClaim(
        output,
        {**identity, **dicom.settings},
        endings=[*endings, ".npz", ".pkl"],
        required=len(endings) + (2 if options.save_probabilities else 0),
        overwrite=options.overwrite,
        companions={
            "dataset.json": models[0].dataset_json,
            "plans.json": models[0].plans_manager.plans,
        },
    )
    done = claim.find_done(case.case_id for case in cases)
    _warn_of_others(claim, output)
    report.skipped += [case.case_id for case in cases if case.case_id in done]
    work = CaseWork(
        models,
        output,
        claim,
        dicom,
        previous_stage=options.previous_stage,
        save_probabilities=options.save_probabilities,
        postprocessing=postprocessing,
        skip_background=options.skip_background_patches,
    )
    rest = tuple(case for case in cases if case.case_id not in done)
    _work_on(replace(inputs, cases=rest), work, report)


def _work_on(inputs: FoundInputs, work: CaseWork, report: PredictionReport) -> None:
    """Predict cases, the next being read and the last written meanwhile; say how far it is."""
    cases, model = inputs.cases, work.models[0]
    begun: dict[str, CaseAtWork] = {}
    progress = CaseProgress(len(cases) + len(report.skipped))

    def read(case: Case) -> CaseAtWork:
        at_work = begun[case.case_id] = CaseAtWork(case, workshop / case.case_id)
        try:
            work.dicom.check(case.case_id)
            readable = at_work.context.enter_context(inputs.opened(case))
        except SeriesError as error:
            at_work.refusal = str(error)
            return at_work
        at_work.facts, problems = check_case(readable, model.dataset_json, image_reader(model))
        ending = model.dataset_json["file_ending"]
        problems = problems or _check_previous_stage(case, ending, work.previous_stage)
        at_work.refusal = "; ".join(problems)
        return at_work if problems else work.read(at_work, at_work.facts)

    stages = (read, work.predict, work.write)
    with (
        _workshop(work.output) as workshop,
        ExitStack() as left,
        closing(overlapped(cases, *stages, work.is_small)) as done,
    ):
        left.callback(_close, begun)
        for number, case in enumerate(done, start=1):
            del begun[case.case.case_id]
            _say_oddities(case.facts, report.notes)
            case_id = case.case.case_id
            if case.refusal:
                report.failed[case_id] = case.refusal
            else:
                report.predicted.append(case_id)
            outcome = "left out" if case.refusal else "predicted"
            at = progress.at(len(report.skipped) + number, done=number, left=len(cases) - number)
            log.info("%s: %s, %s", case_id, outcome, at)


def _close(cases: Mapping[str, CaseAtWork]) -> None:
    for case in cases.values():
        case.close()


@contextmanager
def _workshop(output: Path) -> Iterator[Path]:
    """Provide a hidden folder, not created yet, for files in the making; it is gone in the end."""
    clear_stale(output)
    folder = output / staging_name()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _warn_of_others(claim: OutputClaim, output: Path) -> None:
    some = sorted(claim.others)
    if some:
        more = ", ..." if len(some) > 3 else ""
        sys.stderr.write(
            f"note: {output} also holds files of {len(some)} other case(s) that this model did not "
            f"make, and that are kept: {', '.join(some[:3])}{more}\n"
        )


def _say_oddities(facts: CaseFacts | None, said: dict[str, str]) -> None:
    """Say once, for the first image of each kind, what is odd about headers and files."""
    for problem in check_headers([] if facts is None else [facts]):
        kind = without_numbers(problem.problem)
        if kind not in said:
            said[kind] = str(problem)
            log.info("note: %s (said once for all cases)", problem)


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
