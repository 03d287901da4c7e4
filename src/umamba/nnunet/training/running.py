"""Train one fold whose request was checked, in this process or in one of several."""

import json
import sys
import time
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from umamba.errors import UMambaError
from umamba.nnunet.checkpoints.files import only_safe_loading, read_checkpoint
from umamba.nnunet.plans.derivation import Plans
from umamba.nnunet.requests import TrainingRequest
from umamba.nnunet.training.pretrained import load_pretrained
from umamba.nnunet.training.ranks import ALONE, Rank
from umamba.nnunet.training.state import CHECKPOINTS, how_to_go_on, newest_checkpoint
from umamba.system.atomic_files import make_folder, write_whole
from umamba.system.interruption import STOP_FILE, StopRequest, resumable
from umamba.system.json_files import load_json
from umamba.system.limits import computing_threads
from umamba.system.run_lock import only_process
from umamba.system.terminal import talk_to_stderr

__all__ = ["CheckedTraining", "check_state", "is_mirrored", "is_validated_as", "run_training"]

_FINAL = CHECKPOINTS[0]
_VALIDATED_AS = "settings.json"


@dataclass(frozen=True)
class CheckedTraining:
    """A request to train, and what was read and found while it was checked.

    Attributes:
        request: The request; its paths are complete, and its device is chosen.
        fold: The fold, as nnU-Net expects it.
        folder: The folder of the fold.
        plans: The plans.
        description: The contents of the data set's `dataset.json`.
        data: The folder of the preprocessed data.
    """

    request: TrainingRequest
    fold: int | str
    folder: Path
    plans: Plans
    description: dict[str, Any]
    data: Path


def run_training(training: CheckedTraining, trainer_class: Any, rank: Rank = ALONE) -> None:
    """Train the fold and predict its validation cases.

    Args:
        training: The training.
        trainer_class: The class of its trainer.
        rank: The place of this process among those of the training.

    Raises:
        UMambaError: If the fold is not in the state that the request expects.
        ResumableInterruptError: If the user interrupts a training that can be continued.
    """
    request, folder = training.request, training.folder
    stop = StopRequest(folder / STOP_FILE, request.hours)
    advice = resumable(lambda: how_to_go_on(folder))
    alone = only_process(folder) if rank.is_first else nullcontext()
    with request.paths.in_use(), talk_to_stderr(), alone, advice, stop.listening():
        if rank.is_first:
            _make_ready(request, folder)
        with rank.joined(str(request.device)):
            trainer = _build_trainer(training, trainer_class, rank)
            with only_safe_loading():
                _load(trainer, request, folder)
            trainer.stop = stop
            if not request.only_validate:
                trainer.run_training()
            _validate(trainer, request, folder)


def _make_ready(request: TrainingRequest, folder: Path) -> None:
    """Check and clear the folder of the fold, which no other process works in now."""
    check_state(request, folder)  # another training may have ended meanwhile
    if request.overwrite:
        _set_aside(folder)
    _remove_stale_stop_file(folder)
    if request.resume and (folder / _FINAL).is_file():
        sys.stderr.write("note: this training is finished; only its validation is done again\n")


def check_state(request: TrainingRequest, folder: Path) -> None:
    """Check that the fold is in the state that the request expects.

    Raises:
        UMambaError: If it is not.
    """
    finished = (folder / _FINAL).is_file()
    begun = _is_begun(folder)
    if request.only_validate and not finished:
        msg = f"{folder} holds no finished training to validate; train it first"
        raise UMambaError(msg)
    if request.pretrained_weights is not None:
        read_checkpoint(Path(request.pretrained_weights))
    if request.resume and not begun:
        msg = f"there is nothing to continue in {folder}; leave --resume out"
        raise UMambaError(msg)
    if not begun or request.resume or request.only_validate or request.overwrite:
        return
    what = (
        "a finished training; --val validates it again"
        if finished
        else "an unfinished training; --resume goes on"
    )
    msg = f"{folder} holds {what}, --overwrite begins anew (the old one is kept)"
    raise UMambaError(msg)


def _is_begun(folder: Path) -> bool:
    return any((folder / name).is_file() for name in CHECKPOINTS)


def _set_aside(folder: Path) -> None:
    """Rename the folder of an earlier training, if there is one."""
    if not _is_begun(folder):
        return
    kept = folder.with_name(f"replaced_{time.strftime('%Y%m%d-%H%M%S')}_{folder.name}")
    folder.rename(kept)
    sys.stderr.write(f"the earlier training is kept as {kept}\n")


def _remove_stale_stop_file(folder: Path) -> None:
    stop_file = folder / STOP_FILE
    if stop_file.exists():
        stop_file.unlink()
        sys.stderr.write(f"{stop_file} is older than this training, and was removed\n")


def _load(trainer: Any, request: TrainingRequest, folder: Path) -> None:
    """Load what the request starts from: a checkpoint, other weights, or nothing."""
    if request.resume:
        trainer.load_checkpoint(str(newest_checkpoint(folder)))
    elif request.only_validate:
        trainer.load_checkpoint(str(folder / _FINAL))
    elif request.pretrained_weights is not None:
        trainer.initialize()
        load_pretrained(trainer, Path(request.pretrained_weights))


def _build_trainer(training: CheckedTraining, trainer_class: Any, rank: Rank) -> Any:
    request, device = training.request, str(training.request.device)
    if device == "cpu":
        torch.set_num_threads(computing_threads(rank.size))
    elif device == "cuda":
        torch.set_num_threads(1)
        torch.backends.cudnn.benchmark = request.seed is None
    trainer = trainer_class(
        deepcopy(training.plans) | {"continue_training": request.resume},
        request.configuration,
        training.fold,
        training.description,
        torch.device(device),
    )
    trainer.preprocessed_dataset_folder = str(training.data)
    if request.tensorboard:
        trainer.tensorboard = True
    if hasattr(trainer, "set_budget"):
        trainer.quiet_console = True
        trainer.set_budget(request.epochs, request.iterations)
        if request.seed is not None:
            trainer.set_seed(request.seed)
    return trainer


def _validate(trainer: Any, request: TrainingRequest, folder: Path) -> None:
    """Predict and score the validation cases; the checkpoint keeps the axes for mirroring."""
    mirroring = request.validation_tta == "on"
    if not mirroring:
        trainer.inference_allowed_mirroring_axes = None
    if request.validation_cases is not None:
        trainer.validation_cases = request.validation_cases
    if trainer.local_rank == 0:
        _note_validation(folder / "validation", request)
    trainer.perform_actual_validation(request.save_probabilities)


def _note_validation(validation: Path, request: TrainingRequest) -> None:
    make_folder(validation)
    (validation / "summary.json").unlink(missing_ok=True)  # of other predictions
    noted = {"mirroring": request.validation_tta == "on", "cases": request.validation_cases}
    write_whole(validation / _VALIDATED_AS, json.dumps(noted) + "\n")


def is_validated_as(validation: Path, request: TrainingRequest) -> bool:
    """Return whether a validation has ended that was done as a request says."""
    if not (validation / "summary.json").is_file():  # the last file written
        return False
    cases = _noted(validation).get("cases")
    mirroring = request.validation_tta == "on"
    return cases == request.validation_cases and is_mirrored(validation) == mirroring


def is_mirrored(validation: Path) -> bool:
    """Return whether the validation cases in a folder were predicted with mirroring."""
    return bool(_noted(validation).get("mirroring", True))


def _noted(validation: Path) -> dict[str, Any]:
    try:
        return load_json(validation / _VALIDATED_AS)
    except UMambaError:
        return {}  # as by nnU-Net, which writes no such file
