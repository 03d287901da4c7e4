"""Start or resume one fold, on nnU-Net's own functions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from umamba.datasets.description import names_by_values, values_of
from umamba.errors import UMambaError, closest
from umamba.nnunet.fold_folders import fold_folder
from umamba.nnunet.plans.derivation import Plans, next_stages, resolve
from umamba.nnunet.plans.networks import build_network
from umamba.nnunet.preparation import ensure_preprocessed, find_dataset
from umamba.nnunet.requests import TrainingRequest
from umamba.nnunet.training.ranks import Rank, Ranks, read_work
from umamba.nnunet.training.record import check_other_folds
from umamba.nnunet.training.running import CheckedTraining, check_state, run_training
from umamba.nnunet.training.tensorboard_log import require_tensorboard
from umamba.nnunet.trust import read_trusted_plans
from umamba.system.json_files import load_json, load_json_list
from umamba.system.numerals import whole_number
from umamba.system.path_names import check_writable
from umamba.system.run_lock import refuse_if_at_work
from umamba.system.staging import staged
from umamba.system.terminal import talk_to_stderr

__all__ = [
    "checked_training",
    "ext_trainer_folder",
    "find_trainer",
    "pick_device",
    "train",
    "train_with_others",
    "validation_dice",
]


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
    trainer_class = find_trainer(request.trainer)
    training = checked_training(request, trainer_class)
    if request.num_gpus > 1:
        Ranks(request.num_gpus).run(training, training.folder)
    else:
        run_training(training, trainer_class)
    return training.folder


def train_with_others(rank: Rank) -> None:
    """Train as one of the processes that `train` has begun."""
    training: CheckedTraining = read_work(rank)
    run_training(training, find_trainer(training.request.trainer), rank)


def checked_training(request: TrainingRequest, trainer_class: Any) -> CheckedTraining:
    """Check all that a training needs, preprocess what is missing, and copy it where asked to.

    Args:
        request: The training.
        trainer_class: The class of its trainer.

    Raises:
        UMambaError: If anything that the request names is missing or does not fit.
    """
    paths = request.paths.completed()
    request = replace(request, paths=paths, device=pick_device(request.device))
    dataset = find_dataset(str(request.dataset), paths)
    preprocessed = paths.require("preprocessed") / dataset
    fold = _parse_fold(str(request.fold), preprocessed)
    _check_length(request, trainer_class)
    results = paths.require("results") / dataset
    name = f"{trainer_class.__name__}__{request.plans}__{request.configuration}"
    folder = fold_folder(results / name, fold)
    refuse_if_at_work(folder)  # whose state changes meanwhile
    check_state(request, folder)
    check_writable(folder, "--results")
    # Read once: what was checked is what is trained.
    plans = read_trusted_plans(preprocessed, request.plans, trusted=request.trust_plans)
    _check_number(request, trainer_class, plans)
    _check_validation(request, trainer_class, plans)
    _check_tensorboard(request, trainer_class)
    _prepare(request, dataset, plans, with_splits=fold != "all")
    description = load_json(preprocessed / "dataset.json")
    check_other_folds(folder.parent, fold, request.configuration, plans, description)
    _check_first_stage(request, plans, results, preprocessed)
    data = preprocessed / resolve(plans, request.configuration)["data_identifier"]
    if request.stage is not None:
        # nnU-Net unpacks .npz to .npy beside them, in the copy, too.
        name = f"{dataset}-{data.name}"
        data = staged(
            data, Path(request.stage), name, wanted=lambda file: not file.endswith(".npy")
        )
    return CheckedTraining(request, fold, folder, plans, description, data)


def _prepare(request: TrainingRequest, dataset: str, plans: Plans, *, with_splits: bool) -> None:
    """Build the network once, and preprocess what is missing."""
    following = next_stages(plans, request.configuration)  # which are predicted for
    preprocessed = request.paths.require("preprocessed") / dataset
    if not request.trust_plans:  # else the trainer may build another network
        description = load_json(preprocessed / "dataset.json")
        file = preprocessed / f"{request.plans}.json"
        build_network(plans, description, request.configuration, file=file)
    for configuration in (request.configuration, *following):
        ensure_preprocessed(
            dataset,
            request.plans,
            configuration,
            request.paths,
            plans=plans,
            with_splits=with_splits,
        )


def _check_validation(request: TrainingRequest, trainer_class: Any, plans: Plans) -> None:
    """Check that some of the validation cases may be left out."""
    from umamba.nnunet.training.distributed_trainer import DistributedTrainer

    if request.validation_cases is None:
        return
    if not issubclass(trainer_class, DistributedTrainer):
        msg = (
            "--validation-cases is for nnUNetTrainerUMamba and what derives from it, not "
            f"{request.trainer}; leave it out"
        )
        raise UMambaError(msg)
    if following := next_stages(plans, request.configuration):
        msg = (
            f"{', '.join(following)} is trained on what {request.configuration} predicts of all "
            "validation cases; leave --validation-cases out"
        )
        raise UMambaError(msg)


def _check_tensorboard(request: TrainingRequest, trainer_class: Any) -> None:
    if not request.tensorboard:
        return
    require_tensorboard()
    if not hasattr(trainer_class, "tensorboard"):
        msg = f"--tensorboard is for nnUNetTrainerUMamba, not {request.trainer}; leave it out"
        raise UMambaError(msg)


def _check_number(request: TrainingRequest, trainer_class: Any, plans: Plans) -> None:
    """Check that as many processes can train together as the request says."""
    from umamba.nnunet.training.distributed_trainer import DistributedTrainer

    number = request.num_gpus
    if number == 1:
        return
    patches = resolve(plans, request.configuration)["batch_size"]
    n_gpus = torch.cuda.device_count()
    if request.device == "mps":
        msg = "-num_gpus is for -device cuda, and for processes on -device cpu; leave it out"
    elif not issubclass(trainer_class, DistributedTrainer):
        msg = (
            f"-num_gpus is for nnUNetTrainerUMamba and what derives from it, not {request.trainer};"
            " train that one by nnUNetv2_train -num_gpus"
        )
    elif request.device == "cuda" and number > n_gpus:
        msg = f"-num_gpus {number} is more than the GPUs here, {n_gpus}; give {n_gpus} or fewer"
    elif number > patches:
        msg = (
            f"-num_gpus {number} is more than the patches in a batch of {request.configuration}, "
            f"{patches}; give {patches} or fewer, or plan a larger --batch-size"
        )
    else:
        return
    raise UMambaError(msg)


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
