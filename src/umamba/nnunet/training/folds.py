"""Start or resume one fold, on nnU-Net's own functions."""

import json
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from umamba.datasets.description import names_by_values, values_of
from umamba.errors import UMambaError, closest
from umamba.nnunet.checkpoints.files import only_safe_loading, read_checkpoint
from umamba.nnunet.fold_folders import fold_folder
from umamba.nnunet.plans.derivation import Plans, next_stages, resolve
from umamba.nnunet.plans.networks import build_network
from umamba.nnunet.preparation import ensure_preprocessed, find_dataset
from umamba.nnunet.requests import TrainingRequest
from umamba.nnunet.training.pretrained import load_pretrained
from umamba.nnunet.training.record import check_other_folds
from umamba.nnunet.training.state import CHECKPOINTS, newest_checkpoint
from umamba.nnunet.trust import read_trusted_plans
from umamba.system.atomic_files import make_folder, write_whole
from umamba.system.interruption import STOP_FILE, StopRequest, how_to_go_on, resumable
from umamba.system.json_files import load_json, load_json_list
from umamba.system.limits import available_cores
from umamba.system.numerals import whole_number
from umamba.system.path_names import check_writable
from umamba.system.run_lock import only_training, refuse_if_at_work
from umamba.system.terminal import talk_to_stderr

__all__ = [
    "ext_trainer_folder",
    "find_trainer",
    "is_mirrored",
    "pick_device",
    "train",
    "validation_dice",
]


_FINAL = CHECKPOINTS[0]
_VALIDATED_AS = "settings.json"
_FOLDS = 5  # of the splits that nnU-Net makes


def pick_device(name: str | None) -> str:
    """Return the device to run on: the requested one, or else CUDA if available, or else CPU.

    Raises:
        UMambaError: If the requested device is not available.
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
    return Path(__file__).parents[1] / "ext_trainers"


def our_trainers() -> dict[str, type]:
    """Return our trainers by their names."""
    from umamba.nnunet.training import trainers

    return {name: getattr(trainers, name) for name in trainers.__all__}


def find_trainer(name: str) -> Any:
    """Return a trainer class by name: one of ours, or one that nnU-Net finds.

    Raises:
        UMambaError: If there is none of that name.
    """
    ours = our_trainers()
    if name in ours:
        return ours[name]
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        with talk_to_stderr():
            return recursive_find_trainer_class_by_name(name)
    except (RuntimeError, TypeError, AssertionError) as error:
        # Found, but no class or no trainer, or the user's own file fails: the reason tells which.
        first = str(error).partition("\n")[0] or type(error).__name__
        reason = "" if isinstance(error, RuntimeError) else f" ({first})"
        msg = (
            f"trainer {name!r} does not exist{reason}; {closest(name, ours)}ours are "
            f"{', '.join(ours)}, and nnU-Net looks for others in the folders of "
            "nnUNet_extTrainer"
        )
        raise UMambaError(msg) from None


def train(request: TrainingRequest) -> Path:
    """Train one fold and predict its validation cases.

    Args:
        request: The training.

    Returns:
        The folder of the fold.

    Raises:
        UMambaError: If anything that the request names is missing or does not fit.
        ResumableInterruptError: If the user interrupts a training that can be continued.
    """
    paths = request.paths.completed()
    dataset = find_dataset(str(request.dataset), paths)
    preprocessed = paths.require("preprocessed") / dataset
    fold = _parse_fold(str(request.fold), preprocessed)
    device = pick_device(request.device)
    trainer_class = find_trainer(request.trainer)
    _check_length(request, trainer_class)
    results = paths.require("results") / dataset
    name = f"{trainer_class.__name__}__{request.plans}__{request.configuration}"
    folder = fold_folder(results / name, fold)
    refuse_if_at_work(folder)  # whose state changes meanwhile
    _check_state(request, folder)
    check_writable(folder, "--results")
    # Read once: what was checked is what is trained.
    plans = read_trusted_plans(preprocessed, request.plans, trusted=request.trust_plans)
    following = next_stages(plans, request.configuration)  # which are predicted for
    if not request.trust_plans:  # else the trainer may build another network
        description = load_json(preprocessed / "dataset.json")
        file = preprocessed / f"{request.plans}.json"
        build_network(plans, description, request.configuration, file=file)
    for configuration in (request.configuration, *following):
        ensure_preprocessed(
            dataset, request.plans, configuration, paths, plans=plans, with_splits=fold != "all"
        )
    check_other_folds(
        folder.parent,
        fold,
        request.configuration,
        plans,
        load_json(preprocessed / "dataset.json"),
    )
    _check_first_stage(request, plans, results, preprocessed)
    stop = StopRequest(folder / STOP_FILE, request.hours)
    advice = resumable(lambda: how_to_go_on(folder))
    with paths.in_use(), talk_to_stderr(), only_training(folder), advice, stop.listening():
        _check_state(request, folder)  # another training may have ended meanwhile
        if request.overwrite:
            _set_aside(folder)
        _remove_stale_stop_file(folder)
        if request.resume and (folder / _FINAL).is_file():
            sys.stderr.write("note: this training is finished; only its validation is done again\n")
        description = load_json(preprocessed / "dataset.json")
        trainer = _build_trainer(request, trainer_class, fold, (plans, description), device)
        with only_safe_loading():
            _load(trainer, request, folder)
        trainer.stop = stop
        if not request.only_validate:
            trainer.run_training()
        _validate(trainer, request, folder)
    return folder


def is_mirrored(validation: Path) -> bool:
    """Return whether the validation cases in a folder were predicted with mirroring."""
    try:
        return bool(load_json(validation / _VALIDATED_AS).get("mirroring", True))
    except UMambaError:
        return True  # as by nnU-Net, which writes no such file


def _validate(trainer: Any, request: TrainingRequest, folder: Path) -> None:
    """Predict and score the validation cases; the checkpoint keeps the axes for mirroring."""
    mirroring = request.validation_tta == "on"
    if not mirroring:
        trainer.inference_allowed_mirroring_axes = None
    make_folder(folder / "validation")
    (folder / "validation" / "summary.json").unlink(missing_ok=True)  # of other predictions
    write_whole(folder / "validation" / _VALIDATED_AS, json.dumps({"mirroring": mirroring}) + "\n")
    trainer.perform_actual_validation(request.save_probabilities)


def validation_dice(folder: Path) -> tuple[dict[str, float], float]:
    """Return the mean Dice of a fold's validation, per label or region, and over the foreground.

    Args:
        folder: The folder of a fold whose validation is done.

    Returns:
        Dice by name, NaN for a label that is in no validation case, and the mean, as nnU-Net writes
        it.
    """
    summary = load_json(folder / "validation" / "summary.json")
    names = names_by_values(load_json(folder.parent / "dataset.json"))
    dice = {
        names.get(values_of(key), key): float(row["Dice"]) for key, row in summary["mean"].items()
    }
    return dice, float(summary["foreground_mean"]["Dice"])


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


def _parse_fold(fold: str, preprocessed: Path) -> int | str:
    """Return the fold as nnU-Net expects it, if the splits have it."""
    if fold == "all":
        return fold
    number = whole_number(fold)
    if number is None:
        msg = f"fold {fold!r} is neither a number nor 'all'"
        raise UMambaError(msg)
    splits = preprocessed / "splits_final.json"
    if splits.is_file():
        n_folds = len(load_json_list(splits))
    else:
        check_writable(preprocessed, "--preprocessed")  # nnU-Net will write them there
        n_folds = _FOLDS
    if number >= n_folds:
        msg = f"there is no fold {fold}: the splits have {n_folds}, 0 to {n_folds - 1}; or give all"
        raise UMambaError(msg)
    return number


def _check_length(request: TrainingRequest, trainer_class: Any) -> None:
    """Check the length and the seed before anything is written."""
    if all(value is None for value in (request.epochs, request.iterations, request.seed)):
        return
    if request.resume:
        msg = (
            "--resume keeps the length and the seed that the training was begun with; leave "
            "--epochs, --iterations and --seed out"
        )
        raise UMambaError(msg)
    if not hasattr(trainer_class, "set_budget"):
        msg = (
            f"--epochs, --iterations and --seed are for nnUNetTrainerUMamba; {request.trainer} "
            "sets its own, so leave them out"
        )
        raise UMambaError(msg)
    if request.iterations is not None:
        from umamba.nnunet.training.trainers import spread

        spread(request.iterations, request.epochs)


def _check_state(request: TrainingRequest, folder: Path) -> None:
    """Check that the fold is in the state that the request expects."""
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


def _check_first_stage(
    request: TrainingRequest, plans: Plans, results: Path, preprocessed: Path
) -> None:
    """Check that a cascade's first stage has predicted the cases that the second one needs."""
    stage = resolve(plans, request.configuration).get("previous_stage")
    if stage is None:
        return
    model = f"{request.trainer}__{request.plans}__{stage}"
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
    request: TrainingRequest,
    trainer_class: Any,
    fold: int | str,
    planned: tuple[Plans, dict[str, Any]],
    device: str,
) -> Any:
    if device == "cpu":
        torch.set_num_threads(available_cores())
    elif device == "cuda":
        torch.set_num_threads(1)
        torch.backends.cudnn.benchmark = request.seed is None
    plans, description = planned
    plans = deepcopy(plans) | {"continue_training": request.resume}
    trainer = trainer_class(plans, request.configuration, fold, description, torch.device(device))
    if hasattr(trainer, "set_budget"):
        trainer.quiet_console = True
        trainer.set_budget(request.epochs, request.iterations)
        if request.seed is not None:
            trainer.set_seed(request.seed)
    return trainer
