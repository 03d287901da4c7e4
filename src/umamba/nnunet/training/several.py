"""Several folds of one model, one after another or in jobs, each continued wherever it is."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from umamba.errors import CheckpointError, UMambaError
from umamba.executors.attempts import note_start
from umamba.executors.following import follow, submitting
from umamba.executors.jobs import Job, Resources, why_it_failed
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.fold_folders import fold_folder, fold_name
from umamba.nnunet.places import PLACES, Place
from umamba.nnunet.preparation import find_dataset
from umamba.nnunet.requests import TrainingRequest
from umamba.nnunet.training.folds import checked_training, find_trainer, train
from umamba.nnunet.training.running import is_validated_as
from umamba.nnunet.training.state import CHECKPOINTS, newest_checkpoint, progress_of
from umamba.options import as_arguments
from umamba.system.interruption import resumable, run_again
from umamba.system.run_lock import refuse_if_at_work

__all__ = ["FoldsOutcome", "continue_fold", "jobs_folder", "jobs_left", "train_folds"]

_HOURS_TO_SAVE = 0.5


@dataclass(frozen=True)
class FoldsOutcome:
    """The outcome of training several folds.

    Attributes:
        folder: The folder of the model.
        failed: Folds that failed, with the reason.
    """

    folder: Path
    failed: Mapping[str, str] = field(default_factory=dict)


def train_folds(request: TrainingRequest) -> FoldsOutcome:
    """Train what is left to train of each fold, and predict its validation cases.

    Args:
        request: The training of all folds; its paths are complete.

    Raises:
        UMambaError: If anything that the request names is missing or does not fit.
        ResumableInterruptError: If it was interrupted; the same call continues.
    """
    folder = _model_folder(request)
    if request.executor is None:
        return FoldsOutcome(folder, _one_after_another(_folds_left(request, ready=True)))
    place = PLACES[request.executor](request)
    jobs = jobs_left(request, ready=True)
    with submitting(jobs_folder(request)) as stop:
        ended = follow(place.executor(jobs_folder(request)), jobs, stop)
    failed = {name: event for name, event in ended.items() if event.exit_code != 0}
    return FoldsOutcome(
        folder, {fold_name(Path(name)): why_it_failed(event) for name, event in failed.items()}
    )


def jobs_left(request: TrainingRequest, *, ready: bool) -> list[Job]:
    """Return a job for each fold that is not finished.

    Args:
        request: The training of all folds.
        ready: Whether what they need is checked, and preprocessed; else nothing is written.

    Raises:
        UMambaError: If anything is missing or does not fit, or the folds hold other trainings.
    """
    left = _folds_left(request, ready=ready)
    place = PLACES[str(request.executor)](request)
    return [_job(one, place) for one in left.values()]


def jobs_folder(request: TrainingRequest) -> Path:
    """Return the folder for logs, scripts and notes of a model's jobs."""
    return _model_folder(request) / "jobs"


def continue_fold(request: TrainingRequest) -> Path:
    """Do what is left to do for one fold, as a job that may be started again.

    Returns:
        The folder of the fold.

    Raises:
        UMambaError: If the fold holds another training, or was started too often in vain.
        ResumableInterruptError: If it was interrupted; the same call continues.
    """
    folder = fold_folder(_model_folder(request), str(request.fold))
    todo, progress = _continued(request, folder)
    note_start(jobs_folder(request) / f"{folder.name}.starts", progress)
    if todo is not None:
        train(todo)
    return folder


def _one_after_another(left: Mapping[str, TrainingRequest]) -> dict[str, str]:
    failed = {}
    with resumable(lambda: run_again("continue"), as_a_whole=True):
        for number, (fold, request) in enumerate(left.items(), start=1):
            sys.stderr.write(f"[{number}/{len(left)}] fold {fold}\n")
            todo, _ = _continued(request, fold_folder(_model_folder(request), fold))
            try:
                train(todo or request)
            except UMambaError as error:
                failed[fold] = str(error)
                sys.stderr.write(f"fold {fold} failed: {error}\n")
    return failed


def _job(request: TrainingRequest, place: Place) -> Job:
    name = fold_folder(Path(), str(request.fold)).name
    hours = None if request.hours is None else request.hours + _HOURS_TO_SAVE
    needs = Resources.of_training(request.num_gpus if place.device == "cuda" else 0, hours=hours)
    there = replace(request, device=place.device, stage=request.stage or place.stage)
    command = ("fold", *as_arguments(there))
    return Job(name, command, jobs_folder(request) / f"{name}.log", needs)


def _model_folder(request: TrainingRequest) -> Path:
    paths = request.paths.completed()
    results = paths.require("results") / find_dataset(str(request.dataset), paths)
    return results / f"{request.trainer}__{request.plans}__{request.configuration}"


def _folds_left(request: TrainingRequest, *, ready: bool) -> dict[str, TrainingRequest]:
    """Return a request for each fold that is not finished.

    Raises:
        UMambaError: If a fold holds another training, or is to be begun anew.
    """
    if request.overwrite:
        msg = (
            "--overwrite is for one fold, trained by this process: several folds, and those of an "
            "--executor, go on from where they are"
        )
        raise UMambaError(msg)
    model = _model_folder(request)
    asked = {fold: request.alone(fold=fold, resume=False) for fold in request.folds}
    left = {
        fold: one
        for fold, one in asked.items()
        if _continued(one, fold_folder(model, fold))[0] is not None
    }
    if ready:
        _check(left)
    return left


def _check(left: Mapping[str, TrainingRequest]) -> None:
    """Check what all folds need, and preprocess it once, before anything begins.

    The last fold stands for all: it has the largest number.
    """
    for fold, request in reversed(list(left.items())):
        folder = fold_folder(_model_folder(request), fold)
        try:
            refuse_if_at_work(folder)
        except UMambaError:
            continue  # its job, of an earlier call, has been checked
        todo, _ = _continued(request, folder)
        # The device and its disk are those of another machine.
        checked = replace(todo or request, device="cpu", num_gpus=1, stage=None)
        checked_training(checked, find_trainer(request.trainer))
        return


def _continued(
    request: TrainingRequest, folder: Path
) -> tuple[TrainingRequest | None, tuple[int, int]]:
    """Return the request that continues a fold, and how far it is.

    Returns:
        The request, `None` if nothing is left to do; finished epochs, and iterations of the next.

    Raises:
        UMambaError: If the fold holds a training of another length or seed.
    """
    if request.only_validate or not any((folder / name).is_file() for name in CHECKPOINTS):
        return request, (0, 0)
    try:
        checkpoint = read_checkpoint(newest_checkpoint(folder))
    except CheckpointError:
        return replace(request, **_RESUMED), (0, 0)  # which says what is wrong
    _check_alike(request, folder, checkpoint.get("umamba") or {})
    progress = progress_of(checkpoint)
    if not (folder / CHECKPOINTS[0]).is_file():
        return replace(request, **_RESUMED), progress
    if is_validated_as(folder / "validation", request):
        return None, progress
    return replace(request, **(_RESUMED | {"resume": False, "only_validate": True})), progress


# What a training keeps from its beginning.
_RESUMED: dict[str, Any] = {
    "epochs": None,
    "iterations": None,
    "seed": None,
    "pretrained_weights": None,
    "only_validate": False,
    "resume": True,
}


def _check_alike(request: TrainingRequest, folder: Path, found: Mapping[str, object]) -> None:
    """Check that a fold was begun with the length and the seed that are asked for."""
    from umamba.nnunet.training.trainers import spread

    asked: dict[str, object] = {"seed": request.seed, "epochs": request.epochs}
    if request.iterations is not None:
        epochs, each = spread(request.iterations, request.epochs)
        asked |= {"epochs": epochs, "iterations_per_epoch": each}
    for name, value in asked.items():
        if value is not None and value != found.get(name):
            msg = (
                f"{folder} holds a training with {name} {found.get(name)}, not {value}; leave "
                f"--{name.partition('_')[0]} out to continue it, or rename that folder"
            )
            raise UMambaError(msg)
