"""A small data set as nnU-Net preprocesses it, and an executor that trains nothing."""

import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from plans_factory import stock_plans
from umamba.comparison.runs.cells import Cell, evaluate_training, read_cell, training_command
from umamba.comparison.runs.collecting import Outcome
from umamba.comparison.runs.external_tasks import predict_and_evaluate
from umamba.errors import UMambaError
from umamba.executors.jobs import Event, Job
from umamba.nnunet.checkpoints.files import write_checkpoint
from umamba.nnunet.paths import Paths
from umamba.nnunet.training.state import STATE
from umamba.system.interruption import StopRequest

NAME = "Dataset901_Toy"
CASES = [f"case_{i:02d}" for i in range(10)]
SHAPE = (8, 14, 12)


def write_mask(path: Path, shift: int = 0, depth: int = 3) -> None:
    """Write a mask of two boxes, the smaller inside the larger, moved along the last axis."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:7, 2:10, 1:8] = 1
    mask[2 : 2 + depth, 3:6, 2:5] = 2
    image = SimpleITK.GetImageFromArray(np.roll(mask, shift, axis=2))
    image.SetSpacing((1.0, 1.0, 2.0))
    SimpleITK.WriteImage(image, str(path))


def write_dataset(root: Path) -> Paths:
    """Write the preprocessed folder of a data set, without images, which nothing here reads."""
    paths = Paths(preprocessed=root / "preprocessed", results=root / "results")
    folder = root / "preprocessed" / NAME
    data = folder / "nnUNetPlans_3d_fullres"
    data.mkdir(parents=True)
    for i, case in enumerate(CASES):
        (data / f"{case}.pkl").touch()
        write_mask(folder / "gt_segmentations" / f"{case}.nii.gz", depth=2 + i // 4)
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "big": 1, "small": 2},
        "numTraining": len(CASES),
        "file_ending": ".nii.gz",
    }
    for name, content in (
        ("dataset", description),
        ("dataset_fingerprint", {}),
        ("nnUNetPlans", stock_plans()),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return paths


def validation_cases(paths: Paths, fold: int) -> list[str]:
    splits = json.loads((paths.require("preprocessed") / NAME / "splits_final.json").read_text())
    return splits[fold]["val"]


def write_training(
    folder: Path,
    cases: Sequence[str],
    settings: dict[str, Any] | None,
    epochs: int = 1,
    name: str = "checkpoint_final.pth",
    shift: int = 1,
) -> None:
    """Write what a training leaves: a checkpoint, and masks if it is the final one."""
    folder.mkdir(parents=True, exist_ok=True)
    logging = {
        "epoch_start_timestamps": [100.0 * i for i in range(epochs)],
        "epoch_end_timestamps": [100.0 * i + 36 for i in range(epochs)],
        "mean_fg_dice": [0.1 * i for i in range(epochs)],
        "train_losses": [1.0 / (i + 1) for i in range(epochs)],
        "val_losses": [1.0 / (i + 1) for i in range(epochs)],
    }
    checkpoint: dict[str, Any] = {
        "network_weights": {},
        "current_epoch": epochs,
        "logging": logging,
        STATE: {"unfinished_epoch": None},
    }
    if settings is not None:
        checkpoint["umamba"] = settings
    write_checkpoint(checkpoint, folder / name, keep_previous=False)
    if name == "checkpoint_final.pth":
        for case in cases:
            depth = 2 + CASES.index(case) // 4
            write_mask(folder / "validation" / f"{case}.nii.gz", shift, depth)
        (folder / "validation" / "summary.json").write_text("{}")


def option(command: Sequence[str], name: str) -> str:
    return command[command.index(name) + 1]


class FakeExecutor:
    """Do what trainings leave behind, and evaluate them.

    Args:
        paths: nnU-Net's folders.
        failing: Names of jobs that fail.
        stop_after: How many jobs end before one is stopped in its middle.

    Attributes:
        jobs: The jobs that train.
        commands: What each of them runs.
        evaluating: Names of the jobs that only evaluate.
        predictions: What predicts a test set.
        unpredictable: Cases of the test set that cannot be predicted.
    """

    def __init__(
        self, paths: Paths, failing: Sequence[str] = (), stop_after: int | None = None
    ) -> None:
        self.paths, self.failing, self.stop_after = paths, failing, stop_after
        self.jobs: list[Job] = []
        self.commands: list[Sequence[str]] = []
        self.evaluating: list[str] = []
        self.predictions: list[Sequence[str]] = []
        self.unpredictable: Sequence[str] = ()

    def run(self, jobs: Sequence[Job], stop: StopRequest) -> Generator[Event, None, None]:
        for job in jobs:
            if stop.reason() is not None:
                return
            cell = read_cell(Path(job.command[1]))
            command, _ = training_command(cell)
            if command is None:
                self.evaluating.append(job.name)
            else:
                self.jobs.append(job)
                self.commands.append(command)
            yield Event(job, "started")
            yield Event(job, "running")
            job.log.parent.mkdir(parents=True, exist_ok=True)
            if command and self.stop_after is not None and len(self.jobs) > self.stop_after:
                self._train(command, "checkpoint_latest.pth")
                stop.ask("SIGTERM")
                yield Event(job, "ended", 75)
                continue
            if job.name in self.failing:
                job.log.write_text("working\numamba train: out of luck\n\n")
                yield Event(job, "ended", 2)
                continue
            if command:
                self._train(command, "checkpoint_final.pth")
            try:
                self._evaluate(cell)
            except UMambaError as error:
                line = str(error).splitlines()[0]
                job.log.write_text(f"umamba cell: {line}\n")
                yield Event(job, "ended", 2)
            else:
                yield Event(job, "ended", 0)

    def _evaluate(self, cell: Cell) -> None:
        if cell.evaluation is not None:
            evaluate_training(cell.evaluation)
        if cell.external is not None:
            predict_and_evaluate(cell.external, self._predict)

    def _predict(self, command: Sequence[str]) -> int:
        """Predict a test set, the better the more folds do; a mask that is there stays."""
        self.predictions.append(command)
        output, folds = Path(option(command, "-o")), command[command.index("-f") + 1 :]
        n_folds = folds.index("-device")
        for image in sorted(Path(option(command, "-i")).iterdir()):
            case = image.name.removesuffix("_0000.nii.gz")
            if case in self.unpredictable:
                return 1
            if not (output / f"{case}.nii.gz").exists():
                is_better = "nnUNetUMamba" in option(command, "-m") or n_folds > 1
                write_mask(output / f"{case}.nii.gz", shift=1 if is_better else 2)
        return 0

    def _train(self, command: Sequence[str], name: str) -> None:
        model = f"nnUNetTrainerUMamba__{option(command, '-p')}__{command[2]}"
        folder = self.paths.require("results") / NAME / model / f"fold_{command[3]}"
        settings = {"epochs": 0}
        if "--epochs" in command:
            epochs, iterations = (int(option(command, o)) for o in ("--epochs", "--iterations"))
            settings = {
                "epochs": epochs,
                "iterations_per_epoch": iterations // epochs,
                "seed": int(option(command, "--seed")),
                "seeds": "independent",
            }
            (folder / "settings").mkdir(parents=True, exist_ok=True)
            (folder / "settings" / "begun.json").write_text(json.dumps(settings))
        else:
            settings = json.loads((folder / "settings" / "begun.json").read_text())
        shift = 1 if "UMamba" in option(command, "-p") else 2
        cases = validation_cases(self.paths, int(command[3]))
        write_training(folder, cases, settings, settings["epochs"], name, shift)


class InlineProcess:
    """Do a collector's tasks here and now."""

    outcome: Outcome | None = None

    def begin(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            self.outcome = Outcome(function(*arguments))
        except UMambaError as error:
            self.outcome = Outcome(error=error)

    def ended(self) -> Outcome | None:
        return self.outcome

    def is_alive(self) -> bool:
        return True

    def kill(self) -> None:
        pass
