"""Prediction and evaluation of a test set by one training, or by an ensemble of a model's folds."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umamba.comparison.external_records import TEST_FOLDER, test_predictions
from umamba.comparison.results import from_plain, to_plain
from umamba.comparison.rows import CaseRow, Ensemble, EnsembleRow
from umamba.comparison.runs.evaluated import evaluate_predictions
from umamba.comparison.runs.existing import StockTraining
from umamba.comparison.runs.finished import file_marks
from umamba.comparison.runs.state import Comparison, Tester
from umamba.comparison.runs.training_states import FINAL
from umamba.errors import UMambaError
from umamba.evaluation.cases import Labels
from umamba.evaluation.metrics import chosen_metrics
from umamba.evaluation.settings import EvaluationSettings
from umamba.images.file_names import visible_files
from umamba.nnunet.fold_folders import fold_folder
from umamba.system.atomic_files import make_folder, write_whole
from umamba.system.json_files import load_json

__all__ = [
    "ExternalTask",
    "ensemble_rows",
    "external_task",
    "predict_and_evaluate",
    "training_rows",
]

_VERSION = 1


@dataclass(frozen=True)
class ExternalTask:
    """A test set to predict and to evaluate.

    Attributes:
        checkpoints: The networks that predict.
        command: The arguments of `umamba` that predict.
        predictions: Folder for the predicted masks.
        cache: File for the result.
        references: Folder of the reference masks.
        cases: The cases.
        file_ending: File ending of all masks.
        labels: Labels and regions.
        settings: Settings that the numbers depend on.
        evaluated_as: Everything except the networks that the numbers depend on.
    """

    checkpoints: tuple[Path, ...]
    command: tuple[str, ...]
    predictions: Path
    cache: Path
    references: Path
    cases: frozenset[str]
    file_ending: str
    labels: Labels
    settings: EvaluationSettings
    evaluated_as: Mapping[str, Any]

    @property
    def n_predicted(self) -> int:
        """Number of masks that are there."""
        return len(visible_files(self.predictions)) if self.predictions.is_dir() else 0

    def recall(self) -> list[dict[str, Any]] | None:
        """Return a row per case and label that an earlier call kept; `None` if anything changed."""
        try:
            kept = load_json(self.cache)
            rows: list[dict[str, Any]] = kept["rows"]
            return rows if kept["key"] == self._key() else None
        except (UMambaError, OSError, LookupError, TypeError):
            return None

    def _key(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "files": file_marks(self.checkpoints),
            "evaluated_as": dict(self.evaluated_as),
        }

    def keep(self, key: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the result."""
        make_folder(self.cache.parent)
        write_whole(self.cache, json.dumps(to_plain({"key": key, "rows": rows})) + "\n")

    def key(self) -> dict[str, Any]:
        """Return a fingerprint that shows whether the networks, or the evaluation, have changed.

        Raises:
            UMambaError: If a checkpoint is missing.
        """
        try:
            return self._key()
        except OSError as error:
            msg = f"{error.filename} cannot be read: {error.strerror}"
            raise UMambaError(msg) from None


def predict_and_evaluate(task: ExternalTask, predict: Callable[[Sequence[str]], int]) -> None:
    """Predict and evaluate a test set, unless that was done before.

    Args:
        task: What to do.
        predict: Runs a command of `umamba`, and returns its exit code.

    Raises:
        UMambaError: If a case cannot be predicted or evaluated.
        ResumableInterruptError: If it was interrupted; predicted cases are kept.
    """
    if task.recall() is not None:
        return
    key = task.key()
    make_folder(task.predictions)
    if predict(task.command):
        msg = "the test set could not be predicted as a whole; the lines above say why"
        raise UMambaError(msg)
    rows = evaluate_predictions(
        task.predictions,
        task.references,
        task.cases,
        task.file_ending,
        task.labels,
        task.settings,
    )
    task.keep(key, rows["cases"])


def external_task(comparison: Comparison, tester: Tester) -> ExternalTask | None:
    """Return the test of a training or an ensemble; `None` if there is no test set."""
    external, source = comparison.external, comparison.planned.source
    if external is None:
        return None
    checkpoints = [folder / FINAL for folder in _folders(comparison, tester)]
    output = comparison.request.output
    predictions = test_predictions(output, tester)
    evaluation = comparison.request.evaluation
    return ExternalTask(
        checkpoints=tuple(checkpoints),
        command=_command(comparison, checkpoints, external.images, predictions),
        predictions=predictions,
        cache=output / TEST_FOLDER / f"{tester}.json",
        references=external.labels,
        cases=external.case_ids,
        file_ending=source.file_ending,
        labels=source.labels,
        settings=evaluation,
        evaluated_as={
            "test_set": external.files,
            "labels": source.dataset_json["labels"],
            "options": evaluation.to_dict(),
            "metrics": list(chosen_metrics(evaluation)),
            "mirroring": comparison.request.mirroring,
        },
    )


def _folders(comparison: Comparison, tester: Tester) -> list[Path]:
    if isinstance(tester, StockTraining):
        return [tester.folder]
    if isinstance(tester, Ensemble):
        first = comparison.folder(tester.trainings[0])
        return [fold_folder(first.parent, fold) for fold in tester.folds]
    return [comparison.folder(tester)]


def _command(
    comparison: Comparison, checkpoints: Sequence[Path], images: Path, predictions: Path
) -> tuple[str, ...]:
    request, model = comparison.request, checkpoints[0].parents[1]
    folds = [file.parent.name.removeprefix("fold_") for file in checkpoints]
    command = ["predict", "-i", str(images), "-o", str(predictions), "-m", str(model)]
    command += ["-f", *folds, "-device", request.device]
    if not request.mirroring:
        command.append("--disable_tta")
    if request.trust_plans:
        command.append("--trust-plans")
    return tuple(command)


@dataclass(frozen=True)
class _OfTrainings:
    rows: tuple[CaseRow, ...]


@dataclass(frozen=True)
class _OfEnsembles:
    rows: tuple[EnsembleRow, ...]


def training_rows(
    name: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> tuple[CaseRow, ...]:
    """Return the rows of a training.

    Args:
        name: Its model, fold and seed.
        rows: What `ExternalTask.recall` returned.
    """
    return from_plain({"rows": [{**name, **row} for row in rows]}, _OfTrainings).rows


def ensemble_rows(ensemble: Ensemble, rows: Sequence[Mapping[str, Any]]) -> tuple[EnsembleRow, ...]:
    """Return the rows of an ensemble, given what `ExternalTask.recall` returned."""
    name = to_plain(ensemble)
    return from_plain({"rows": [{**name, **row} for row in rows]}, _OfEnsembles).rows
