"""Plan, preprocess and train one fold, on nnU-Net's own functions."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from umamba.errors import DatasetError, PlansError, ResumableInterruptError, UMambaError
from umamba.nnunet.checkpoints import read_checkpoint
from umamba.nnunet.paths import Paths, available_cores, environment
from umamba.nnunet.plans import check_patch, read_plans, resolve

__all__ = [
    "TrainingRequest",
    "ensure_plans",
    "ensure_preprocessed",
    "ext_trainer_folder",
    "find_dataset",
    "find_trainer",
    "is_running",
    "load_json",
    "pick_device",
    "talk_to_stderr",
    "train",
]


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
        continue_training: Whether to go on from the newest checkpoint.
        only_validate: Whether to validate a finished training again.
        overwrite: Whether a finished training is trained anew.
        pretrained_weights: Checkpoint to start from.
        save_probabilities: Whether validation writes probabilities, for ensembles.
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
    continue_training: bool = False
    only_validate: bool = False
    overwrite: bool = False
    pretrained_weights: Path | None = None
    save_probabilities: bool = False


@contextlib.contextmanager
def talk_to_stderr() -> Iterator[None]:
    """Send what nnU-Net prints to stderr; stdout is for results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


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


def find_dataset(dataset: str, paths: Paths) -> str:
    """Return the full name of a data set given by name or number.

    Raises:
        DatasetError: If there is none, or more than one.
    """
    folders = [folder for folder in (paths.raw, paths.preprocessed, paths.results) if folder]
    there = {p.name for folder in folders for p in folder.glob("Dataset*_*") if p.is_dir()}
    prefix = f"Dataset{int(dataset):03d}_" if dataset.isdigit() else None
    found = sorted(n for n in there if n == dataset or (prefix and n.startswith(prefix)))
    if len(found) == 1:
        return found[0]
    looked = ", ".join(str(folder) for folder in folders) or "no folder at all"
    if found:
        msg = f"{dataset} names more than one data set: {', '.join(found)}; give the full name"
        raise DatasetError(msg)
    listing = f"there are {', '.join(sorted(there))}" if there else "there is none yet"
    msg = f"data set {dataset!r} was not found in {looked}; {listing}"
    raise DatasetError(msg)


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UMambaError: If the file is missing or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path} does not exist"
        raise UMambaError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read: {error}"
        raise UMambaError(msg) from None
    if not isinstance(content, dict):
        msg = f"{path} is not a JSON object"
        raise UMambaError(msg)
    return content


def ensure_plans(dataset: str, plans_name: str, paths: Paths) -> bool:
    """Run nnU-Net's fingerprint and planning where the plans are missing.

    Args:
        dataset: Full name of the data set.
        plans_name: The plans that are needed; only `nnUNetPlans` can be made here.
        paths: nnU-Net's folders.

    Returns:
        Whether anything was planned.

    Raises:
        PlansError: If other plans than nnU-Net's default are missing.
        UMambaError: If a folder is not known, or nnU-Net refuses the data set.
    """
    folder = paths.require("preprocessed") / dataset
    if (folder / f"{plans_name}.json").is_file():
        return False
    if plans_name != "nnUNetPlans":
        read_plans(folder, plans_name)  # raises, naming what is there
    raw = paths.require("raw") / dataset
    if not (raw / "dataset.json").is_file():
        msg = f"{dataset} has neither plans in {folder} nor raw data in {raw}"
        raise PlansError(msg)
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
    )

    sys.stderr.write(f"{dataset} has no plans yet: running nnU-Net's fingerprint and planning\n")
    number = int(dataset[7:10])
    # nnU-Net's planner takes torch's threads from this variable, and fails on its legal zero.
    with talk_to_stderr(), environment(nnUNet_n_proc_DA="1"):
        try:
            extract_fingerprint_dataset(
                number,
                num_processes=default_num_processes,
                check_dataset_integrity=True,
                verbose=False,
            )
            plan_experiment_dataset(number)
        except (RuntimeError, AssertionError, ValueError) as error:
            first = next((line for line in str(error).splitlines() if line.strip()), "")
            msg = (
                f"nnU-Net refuses {raw}: {first.strip() or type(error).__name__}. What it printed "
                "above says more; `umamba dataset` lists every problem of images and masks."
            )
            raise DatasetError(msg) from error
    return True


def ensure_preprocessed(dataset: str, plans_name: str, configuration: str, paths: Paths) -> None:
    """Run nnU-Net's preprocessing where it is missing or was not finished.

    Args:
        dataset: Full name of the data set.
        plans_name: Name of the plans.
        configuration: The configuration to train.
        paths: nnU-Net's folders.

    Raises:
        PlansError: If the plans lack the configuration.
        DatasetError: If raw data are needed and missing.
    """
    folder = paths.require("preprocessed") / dataset
    plans = read_plans(folder, plans_name)
    if configuration not in plans["configurations"]:
        known = ", ".join(plans["configurations"])
        msg = f"configuration {configuration!r} is not in plans {plans_name!r}; they have {known}"
        raise PlansError(msg)
    resolved = resolve(plans, configuration)
    check_patch(configuration, resolved)
    wanted = load_json(folder / "dataset.json").get("numTraining")
    data = folder / resolved["data_identifier"]
    unfinished = folder / f".{data.name}.umamba-unfinished"
    done = len(list(data.glob("*.pkl"))) if data.is_dir() else 0
    if done and not unfinished.exists():
        # Others may train on these data, so they are never made again unasked.
        if wanted is not None and done < wanted:
            sys.stderr.write(f"note: {data} holds {done} cases, dataset.json says {wanted}\n")
        return
    if paths.raw is None or not (paths.raw / dataset / "dataset.json").is_file():
        msg = (
            f"{data} holds no finished preprocessed data, and the raw data to make them were not "
            f"found; give --raw DIR with {dataset} in it"
        )
        raise DatasetError(msg)
    _preprocess(dataset, plans_name, configuration, unfinished)


def _preprocess(dataset: str, plans_name: str, configuration: str, unfinished: Path) -> None:
    """Run nnU-Net's preprocessing, leaving a mark while it is not finished."""
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess_dataset

    if unfinished.exists() and is_running(int(unfinished.read_text() or 0)):
        msg = (
            f"process {unfinished.read_text()} is preprocessing {configuration} of {dataset}; "
            "start again when it has finished"
        )
        raise UMambaError(msg)
    unfinished.write_text(str(os.getpid()))
    sys.stderr.write(f"preprocessing {configuration} of {dataset}\n")
    with talk_to_stderr():
        preprocess_dataset(
            int(dataset[7:10]),
            plans_name,
            configurations=[configuration],
            num_processes=[default_num_processes],
            show_progress_bar=sys.stderr.isatty(),
        )
    unfinished.unlink()


def is_running(process_id: int) -> bool:
    """Return whether a process of that number is alive on this machine."""
    if process_id <= 0:
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


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
    except RuntimeError:
        msg = (
            f"trainer {name!r} does not exist; ours are {', '.join(trainers.__all__)}, and "
            "nnU-Net looks for others in the folders of nnUNet_extTrainer"
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
    if request.fold != "all" and not request.fold.isdigit():
        msg = f"fold {request.fold!r} is neither a number nor all"
        raise UMambaError(msg)
    trainer_class = find_trainer(request.trainer)
    _check_length(request, trainer_class)
    results = paths.require("results") / dataset
    ensure_preprocessed(dataset, request.plans_name, request.configuration, paths)
    name = f"{trainer_class.__name__}__{request.plans_name}__{request.configuration}"
    folder = results / name / f"fold_{request.fold}"
    _check_state(request, folder)
    _check_first_stage(request, results, paths.require("preprocessed") / dataset)
    with talk_to_stderr():
        trainer = _build_trainer(request, trainer_class, dataset, paths)
        from nnunetv2.run.run_training import maybe_load_checkpoint

        weights = None if request.pretrained_weights is None else str(request.pretrained_weights)
        try:
            maybe_load_checkpoint(
                trainer, request.continue_training, request.only_validate, weights
            )
            if not request.only_validate:
                trainer.run_training()
        except KeyboardInterrupt:
            if not (folder / "checkpoint_latest.pth").is_file():
                raise
            msg = f"interrupted; the same command with --c continues from {folder}"
            raise ResumableInterruptError(msg) from None
        trainer.perform_actual_validation(request.save_probabilities)
    return folder


def _check_length(request: TrainingRequest, trainer_class: Any) -> None:
    """Check the length and the seed before anything is written."""
    if all(value is None for value in (request.epochs, request.iterations, request.seed)):
        return
    if request.continue_training:
        msg = (
            "--c goes on with the length and the seed that the training was begun with; leave "
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
    """Check that the fold is in the state that the request expects; set an old one aside."""
    finished = (folder / "checkpoint_final.pth").is_file()
    if request.only_validate and not finished:
        msg = f"{folder} holds no finished training to validate; train it first"
        raise UMambaError(msg)
    if request.pretrained_weights is not None:
        read_checkpoint(request.pretrained_weights)
    if not finished or request.continue_training or request.only_validate:
        return
    if not request.overwrite:
        msg = (
            f"{folder} holds a finished training; --val validates it again, --overwrite trains it "
            "anew"
        )
        raise UMambaError(msg)
    kept = folder.with_name(f"replaced_{time.strftime('%Y%m%d-%H%M%S')}_{folder.name}")
    folder.rename(kept)
    sys.stderr.write(f"the finished training is kept as {kept}\n")


def _check_first_stage(request: TrainingRequest, results: Path, preprocessed: Path) -> None:
    """Check that a cascade's first stage has predicted what the second one needs."""
    plans = read_plans(preprocessed, request.plans_name)
    stage = resolve(plans, request.configuration).get("previous_stage")
    if stage is None:
        return
    model = f"{request.trainer}__{request.plans_name}__{stage}"
    folder = results / model / "predicted_next_stage" / request.configuration
    if not folder.is_dir() or not any(folder.iterdir()):
        msg = (
            f"{request.configuration} is the second stage of a cascade and needs what {stage} "
            f"predicts, but {folder} is empty; train every fold of {stage} first"
        )
        raise UMambaError(msg)


def _build_trainer(request: TrainingRequest, trainer_class: Any, dataset: str, paths: Paths) -> Any:
    if request.device == "cpu":
        torch.set_num_threads(available_cores())
    elif request.device == "cuda":
        torch.set_num_threads(1)
        torch.backends.cudnn.benchmark = request.seed is None
    preprocessed = paths.require("preprocessed") / dataset
    plans = read_plans(preprocessed, request.plans_name)
    plans["continue_training"] = request.continue_training
    fold = request.fold if request.fold == "all" else int(request.fold)
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
