"""Cells of a comparison: a job each, which trains, predicts, evaluates and keeps what it finds.

A cell's file says all that the job needs, so that it can run on any machine that sees the folders,
and run again wherever it was interrupted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from umamba.comparison.rows import Training
from umamba.comparison.runs.budget import Length
from umamba.comparison.runs.evaluated import evaluate_predictions
from umamba.comparison.runs.external_tasks import ExternalTask
from umamba.comparison.runs.finished import Finished, read_finished, recall_finished
from umamba.comparison.runs.training_states import Validated, inspect_training
from umamba.errors import UMambaError
from umamba.evaluation.cases import Labels
from umamba.evaluation.settings import EvaluationSettings
from umamba.system.atomic_files import make_folder, write_whole

__all__ = [
    "Cell",
    "CellTraining",
    "EvaluationTask",
    "evaluate_training",
    "read_cell",
    "training_command",
    "write_cell",
]


@dataclass(frozen=True)
class EvaluationTask:
    """A finished training to evaluate.

    Attributes:
        folder: The folder of the fold.
        cache: File for the result.
        references: Folder of the reference masks.
        cases: The validation cases.
        file_ending: File ending of all masks.
        labels: Labels and regions.
        settings: Settings that the numbers depend on.
        evaluated_as: Everything except the predictions that the evaluation depends on.
    """

    folder: Path
    cache: Path
    references: Path
    cases: frozenset[str]
    file_ending: str
    labels: Labels
    settings: EvaluationSettings
    evaluated_as: Mapping[str, Any]

    def recall(self) -> Finished | None:
        """Return what an earlier evaluation kept, if it is still of the same files."""
        return recall_finished(self.folder, self.cache, self.evaluated_as)


@dataclass(frozen=True)
class CellTraining:
    """The training of a cell.

    Attributes:
        training: Its model, fold and seed.
        length: Its length.
        command: The arguments of `umamba` that train it, without those of its beginning.
        validated: How its validation cases are predicted.
    """

    training: Training
    length: Length
    command: tuple[str, ...]
    validated: Validated = field(default_factory=Validated)


@dataclass(frozen=True)
class Cell:
    """A training to finish and evaluate, or a finished one to evaluate, or an ensemble to test.

    Attributes:
        evaluation: The evaluation of its validation cases; `None` for an ensemble.
        trained: Its training; `None` if another program has trained it.
        external: Its test on another data set; `None` if there is none.
    """

    evaluation: EvaluationTask | None
    trained: CellTraining | None = None
    external: ExternalTask | None = None


def write_cell(file: Path, cell: Cell) -> None:
    """Write a cell's file.

    Raises:
        UMambaError: If it cannot be written.
    """
    make_folder(file.parent)
    write_whole(file, msgspec.json.encode(cell, enc_hook=str).decode())


def read_cell(file: Path) -> Cell:
    """Read a cell's file.

    Raises:
        UMambaError: If it cannot be read.
    """
    try:
        return msgspec.json.decode(
            file.read_bytes(), type=Cell, dec_hook=lambda kind, value: kind(value)
        )
    except (OSError, msgspec.MsgspecError) as error:
        msg = f"{file} cannot be read: {error}; run `umamba compare` again, which writes it"
        raise UMambaError(msg) from None


def training_command(cell: Cell) -> tuple[tuple[str, ...] | None, tuple[int, int]]:
    """Return the arguments of `umamba` that begin or continue a cell's training.

    Returns:
        The arguments, `None` if nothing is left to train or predict; and how far the training is,
        in finished epochs and finished iterations of the next one.

    Raises:
        UMambaError: If the folder holds another training.
    """
    todo, trained = cell.evaluation, cell.trained
    if trained is None or todo is None:
        return None, (0, 0)
    state = inspect_training(
        todo.folder,
        trained.training,
        trained.length,
        todo.cases,
        todo.file_ending,
        trained.validated,
    )
    if state.status == "done":
        return None, state.progress
    if state.option is not None:
        return (*trained.command, state.option), state.progress
    length = ["--epochs", trained.length.epochs, "--iterations", trained.length.iterations]
    begin = [*length, "--seed", trained.training.seed]
    return (*trained.command, *map(str, begin)), state.progress


def evaluate_training(task: EvaluationTask) -> Finished:
    """Evaluate a training, unless that was done before.

    Raises:
        UMambaError: If a file cannot be read or written.
    """
    known = task.recall()
    if known is not None:
        return known

    def evaluate(predictions: Path) -> dict[str, list[dict[str, Any]]]:
        return evaluate_predictions(
            predictions, task.references, task.cases, task.file_ending, task.labels, task.settings
        )

    return read_finished(task.folder, task.cache, task.evaluated_as, evaluate)
