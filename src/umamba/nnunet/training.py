"""Start or resume one fold, on nnU-Net's own functions."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from umamba.errors import UMambaError, closest
from umamba.nnunet.checkpoints import only_safe_loading, read_checkpoint
from umamba.nnunet.interruption import STOP_FILE, StopRequest, how_to_go_on, resumable
from umamba.nnunet.json_files import load_json, load_json_list
from umamba.nnunet.paths import Paths, check_writable
from umamba.nnunet.planned_networks import build_network
from umamba.nnunet.plans import next_stages, resolve
from umamba.nnunet.plans_files import read_plans
from umamba.nnunet.preparation import ensure_preprocessed, find_dataset, talk_to_stderr
from umamba.nnunet.pretrained import load_pretrained
from umamba.nnunet.run_lock import only_training, refuse_if_at_work
from umamba.nnunet.training_record import check_other_folds
from umamba.nnunet.training_state import CHECKPOINTS, newest_checkpoint
from umamba.nnunet.trust import read_trusted_plans
from umamba.numerals import whole_number
from umamba.system.limits import available_cores

__all__ = [
    "TrainingRequest",
    "ext_trainer_folder",
    "find_trainer",
    "pick_device",
    "train",
]


_FINAL = CHECKPOINTS[0]
_FOLDS = 5  # of the splits that nnU-Net makes


@dataclass(frozen=True)
class TrainingRequest:
    """One fold to train.

    Args:
        dataset: `DatasetXXX_Name` or its number.
        configuration: `2d`, `3d_fullres`, ...
        fold: A number, or `all`.
        plans_name: Name of the plans.
        trainer: Name of a trainer, ours or nnU-Net's.
        device: `cpu`, `cuda` or `mps`.
        epochs: Number of epochs; our recipe only.
        iterations: Training iterations in all; our recipe only.
        seed: Seed; our recipe only.
        hours: After how many hours to save and stop; `None` is without limit.
        continue_training: Whether to go on from the newest checkpoint.
        only_validate: Whether to validate a finished training again.
        overwrite: Whether a training that is there is begun anew.
        pretrained_weights: Checkpoint to start from.
        save_probabilities: Whether validation writes probabilities, for ensembles.
        trust_plans: Whether plans may have anything imported.
    """

    dataset: str
    configuration: str
    fold: str
    plans_name: str
    trainer: str = "nnUNetTrainerUMamba"
    device: str = "cpu"
    epochs: int | None = None
    iterations: int | None = None
    seed: int | None = None
    hours: float | None = None
    continue_training: bool = False
    only_validate: bool = False
    overwrite: bool = False
    pretrained_weights: Path | None = None
    save_probabilities: bool = False
    trust_plans: bool = False


def pick_device(name: str | None) -> str:
    """Return the device to run on: the one asked for, else CUDA where there is one, else CPU.

    Raises:
        UMambaError: If the device asked for is not there.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(name):
        usable = ", ".join(device for device, usable in there.items() if usable)
        msg = f"-device {name} is not available here; use {usable}"
        raise UMambaError(msg)
    return name


def ext_trainer_folder() -> Path:
    """Return the folder for `nnUNet_extTrainer`, where stock nnU-Net finds our trainers."""
    return Path(__file__).parent / "ext_trainers"


def find_trainer(name: str) -> Any:
    """Return a trainer class by name: one of ours, or one that nnU-Net finds.

    Raises:
        UMambaError: If there is none of that name.
    """
    from umamba.nnunet import trainers

    if name in trainers.__all__:
        return getattr(trainers, name)
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        with talk_to_stderr():
            return recursive_find_trainer_class_by_name(name)
    except (RuntimeError, TypeError, AssertionError) as error:
        # Found, but no class or no trainer, or the user's own file fails: the reason tells which.
        first = str(error).partition("\n")[0] or type(error).__name__
        reason = "" if isinstance(error, RuntimeError) else f" ({first})"
        msg = (
            f"trainer {name!r} does not exist{reason}; {closest(name, trainers.__all__)}ours are "
            f"{', '.join(trainers.__all__)}, and nnU-Net looks for others in the folders of "
            "nnUNet_extTrainer"
        )
        raise UMambaError(msg) from None


def train(request: TrainingRequest, paths: Paths) -> Path:
    """Train one fold and predict its validation cases.

    Args:
        request: What to train.
        paths: nnU-Net's folders.

    Returns:
        The folder of the fold.

    Raises:
        UMambaError: If anything that the request names is missing or does not fit.
        ResumableInterruptError: If the user interrupts a training that can be continued.
    """
    dataset = find_dataset(request.dataset, paths)
    preprocessed = paths.require("preprocessed") / dataset
    fold = _parse_fold(request.fold, preprocessed)
    trainer_class = find_trainer(request.trainer)
    _check_length(request, trainer_class)
    results = paths.require("results") / dataset
    name = f"{trainer_class.__name__}__{request.plans_name}__{request.configuration}"
    folder = results / name / f"fold_{fold}"
    refuse_if_at_work(folder)  # whose state changes meanwhile
    _check_state(request, folder)
    check_writable(folder, "--results")
    read_trusted_plans(preprocessed, request.plans_name, trusted=request.trust_plans)
    plans = read_plans(preprocessed, request.plans_name)
    following = next_stages(plans, request.configuration)  # which are predicted for
    if not request.trust_plans:  # else the trainer may build another network
        description = load_json(preprocessed / "dataset.json")
        file = preprocessed / f"{request.plans_name}.json"
        build_network(plans, description, request.configuration, file=file)
    for configuration in (request.configuration, *following):
        ensure_preprocessed(
            dataset, request.plans_name, configuration, paths, with_splits=fold != "all"
        )
    check_other_folds(
        folder.parent,
        fold,
        request.configuration,
        plans,
        load_json(preprocessed / "dataset.json"),
    )
    _check_first_stage(request, results, preprocessed)
    stop = StopRequest(folder / STOP_FILE, request.hours)
    advice = resumable(lambda: how_to_go_on(folder))
    with paths.in_use(), talk_to_stderr(), only_training(folder), advice, stop.listening():
        _check_state(request, folder)  # another training may have ended meanwhile
        if request.overwrite:
            _set_aside(folder)
        _remove_stale_stop_file(folder)
        if request.continue_training and (folder / _FINAL).is_file():
            sys.stderr.write("note: this training is finished; only its validation is done again\n")
        trainer = _build_trainer(request, trainer_class, fold, preprocessed)
        with only_safe_loading():
            _load(trainer, request, folder)
        trainer.stop = stop
        if not request.only_validate:
            trainer.run_training()
        trainer.perform_actual_validation(request.save_probabilities)
    return folder


def _remove_stale_stop_file(folder: Path) -> None:
    stop_file = folder / STOP_FILE
    if stop_file.exists():
        stop_file.unlink()
        sys.stderr.write(f"{stop_file} is older than this training, and was removed\n")


def _load(trainer: Any, request: TrainingRequest, folder: Path) -> None:
    """Load what the request begins with: a checkpoint, other weights, or nothing."""
    if request.continue_training:
        trainer.load_checkpoint(str(newest_checkpoint(folder)))
    elif request.only_validate:
        trainer.load_checkpoint(str(folder / _FINAL))
    elif request.pretrained_weights is not None:
        trainer.initialize()
        load_pretrained(trainer, request.pretrained_weights)


def _parse_fold(fold: str, preprocessed: Path) -> int | str:
    """Return the fold as nnU-Net takes it, if the splits have it."""
    if fold == "all":
        return fold
    number = whole_number(fold)
    if number is None:
        msg = f"fold {fold!r} is neither a number nor all"
        raise UMambaError(msg)
    splits = preprocessed / "splits_final.json"
    if splits.is_file():
        n_folds = len(load_json_list(splits))
    else:
        check_writable(preprocessed, "--preprocessed")  # nnU-Net will write them there
        n_folds = _FOLDS
    if number >= n_folds:
        msg = f"there is no fold {fold}: the splits have {n_folds}, 0 to {n_folds - 1}; or say all"
        raise UMambaError(msg)
    return number


def _check_length(request: TrainingRequest, trainer_class: Any) -> None:
    """Check the length and the seed before anything is written."""
    if all(value is None for value in (request.epochs, request.iterations, request.seed)):
        return
    if request.continue_training:
        msg = (
            "--resume goes on with the length and the seed that the training was begun with; leave "
            "--epochs, --iterations and --seed out"
        )
        raise UMambaError(msg)
    if not hasattr(trainer_class, "set_budget"):
        msg = (
            f"--epochs, --iterations and --seed belong to nnUNetTrainerUMamba; {request.trainer} "
            "has its own"
        )
        raise UMambaError(msg)
    if request.iterations is not None:
        from umamba.nnunet.trainers import spread

        spread(request.iterations, request.epochs)


def _check_state(request: TrainingRequest, folder: Path) -> None:
    """Check that the fold is in the state that the request expects."""
    finished = (folder / _FINAL).is_file()
    begun = _is_begun(folder)
    if request.only_validate and not finished:
        msg = f"{folder} holds no finished training to validate; train it first"
        raise UMambaError(msg)
    if request.pretrained_weights is not None:
        read_checkpoint(request.pretrained_weights)
    if request.continue_training and not begun:
        msg = f"there is nothing to continue in {folder}; leave --resume out"
        raise UMambaError(msg)
    if not begun or request.continue_training or request.only_validate or request.overwrite:
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
    """Rename what an earlier training has left, if there is one."""
    if not _is_begun(folder):
        return
    kept = folder.with_name(f"replaced_{time.strftime('%Y%m%d-%H%M%S')}_{folder.name}")
    folder.rename(kept)
    sys.stderr.write(f"the earlier training is kept as {kept}\n")


def _check_first_stage(request: TrainingRequest, results: Path, preprocessed: Path) -> None:
    """Check that a cascade's first stage has predicted what the second one needs."""
    plans = read_plans(preprocessed, request.plans_name)
    stage = resolve(plans, request.configuration).get("previous_stage")
    if stage is None:
        return
    model = f"{request.trainer}__{request.plans_name}__{stage}"
    folder = results / model / "predicted_next_stage" / request.configuration
    data = preprocessed / resolve(plans, request.configuration)["data_identifier"]
    there = {path.stem for path in folder.iterdir()} if folder.is_dir() else set()
    missing = sorted({path.stem for path in data.glob("*.pkl")} - there)
    if missing:
        more = ", ..." if len(missing) > 3 else ""
        msg = (
            f"{request.configuration} is the second stage of a cascade and needs what {stage} "
            f"predicts, but {folder} lacks {len(missing)} cases ({', '.join(missing[:3])}{more}); "
            f"train every fold of {stage} first, or validate a trained fold again with --val"
        )
        raise UMambaError(msg)


def _build_trainer(
    request: TrainingRequest, trainer_class: Any, fold: int | str, preprocessed: Path
) -> Any:
    if request.device == "cpu":
        torch.set_num_threads(available_cores())
    elif request.device == "cuda":
        torch.set_num_threads(1)
        torch.backends.cudnn.benchmark = request.seed is None
    plans = read_plans(preprocessed, request.plans_name)
    plans["continue_training"] = request.continue_training
    trainer = trainer_class(
        plans,
        request.configuration,
        fold,
        load_json(preprocessed / "dataset.json"),
        torch.device(request.device),
    )
    if hasattr(trainer, "set_budget"):
        trainer.quiet_console = True
        trainer.set_budget(request.epochs, request.iterations)
        if request.seed is not None:
            trainer.set_seed(request.seed)
    return trainer
