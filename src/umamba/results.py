"""The results of the Python API's functions: fields, a pandas table, a table in Jupyter."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umamba.errors import UMambaError

if TYPE_CHECKING:
    import pandas

    from umamba.comparison import rows
    from umamba.comparison.ranking_records import Ranking
    from umamba.comparison.results import Results
    from umamba.costs.model_table import ModelTables
    from umamba.evaluation.folders import FolderEvaluation
    from umamba.nnunet.plans.memory import MemoryComparison

__all__ = [
    "ComparisonResult",
    "EvaluationResult",
    "FoldsResult",
    "ModelsResult",
    "PlanResult",
    "PredictionResult",
    "RankResult",
    "Tabular",
    "TrainingResult",
]

Row = Mapping[str, Any]
_GIB = 2**30


class Tabular:
    """A result that can also be shown as a table."""

    def rows(self) -> Sequence[Row]:
        """Return the rows of the table, each a mapping with the same names."""
        raise NotImplementedError

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the table as a `pandas.DataFrame`.

        Raises:
            UMambaError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            msg = "to_pandas() needs pandas, which is not installed; run `pip install pandas`"
            raise UMambaError(msg) from None
        return pandas.DataFrame([dict(row) for row in self.rows()])

    def _repr_html_(self) -> str:
        """Return the table for Jupyter."""
        rows = self.rows()
        head = "".join(f"<th>{html.escape(str(name))}</th>" for name in (rows[0] if rows else ()))
        body = "".join(
            "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>"
            for row in rows
        )
        caption = html.escape(str(self))
        return f"<table><caption>{caption}</caption><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and isnan(value)):
        return ""
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))


@dataclass(frozen=True)
class PlanResult(Tabular):
    """Plans that were written, or nnU-Net's own if a model needs no others.

    Attributes:
        dataset: Full name of the data set.
        model: Name of the model.
        path: The file of the plans.
        plans: The contents of that file.
        memory: Estimated memory of a training step of each configuration, compared with that of
            the plans that these are derived from.
    """

    dataset: str
    model: str
    path: Path
    plans: dict[str, Any] = field(repr=False)
    memory: "Mapping[str, MemoryComparison]" = field(repr=False)

    def __str__(self) -> str:
        return f"{self.model} for {self.dataset}: {self.path}"

    @property
    def plans_name(self) -> str:
        """Return the name by which training and prediction find the plans."""
        return str(self.plans["plans_name"])

    @property
    def configurations(self) -> tuple[str, ...]:
        """Return the configurations that can be trained."""
        return tuple(self.memory)

    def rows(self) -> list[Row]:
        """Return a row per configuration: patch in voxels, batch, memory in GiB."""
        return [
            {
                "configuration": name,
                "patch_size": "x".join(map(str, row.patch_size)),
                "batch_size": row.batch_size,
                "memory_gib": row.derived.total_bytes / _GIB,
                "source_memory_gib": row.source.total_bytes / _GIB,
            }
            for name, row in self.memory.items()
        ]


@dataclass(frozen=True)
class TrainingResult(Tabular):
    """A trained fold.

    Attributes:
        folder: The folder of the fold: checkpoints, log, `validation` with its segmentations.
        dice: Mean Dice over the validation cases by label or region; NaN for a label that no
            validation case contains.
        mean_dice: Their mean over the foreground, as nnU-Net computes it.
    """

    folder: Path
    dice: Mapping[str, float] = field(default_factory=dict)
    mean_dice: float = float("nan")

    def __str__(self) -> str:
        return f"{self.folder}: validation Dice {self.mean_dice:.4f}"

    def rows(self) -> list[Row]:
        """Return a row per label."""
        return [{"label": label, "dice": value} for label, value in self.dice.items()]


@dataclass(frozen=True)
class FoldsResult(TrainingResult):
    """The outcome of training several folds of a model.

    Attributes:
        folder: The folder of the model.
        dice: Means of the folds' Dice, per label or region; NaN where no fold has it.
        mean_dice: The mean of the folds' Dice over the foreground.
        folds: The result of each fold that is finished.
        failed: Folds that failed, with the reason.
    """

    folds: Mapping[str, TrainingResult] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, folder: Path, folds: Mapping[str, TrainingResult], failed: Mapping[str, str]
    ) -> "FoldsResult":
        """Return the result from those of the folds."""
        labels = {label for result in folds.values() for label in result.dice}
        dice = {
            label: _mean(result.dice.get(label, nan) for result in folds.values())
            for label in sorted(labels)
        }
        mean = _mean(result.mean_dice for result in folds.values())
        return cls(folder, dice, mean, folds, failed)

    def __str__(self) -> str:
        counts = f"{len(self.folds)} folds, {len(self.failed)} failed"
        return f"{self.folder}: {counts}, validation Dice {self.mean_dice:.4f}"

    def rows(self) -> list[Row]:
        """Return a row per fold and label."""
        return [
            {"fold": fold, **row} for fold, result in self.folds.items() for row in result.rows()
        ]


def _mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are defined; NaN if there are none."""
    defined = [value for value in values if not isnan(value)]
    return sum(defined) / len(defined) if defined else nan


@dataclass(frozen=True)
class PredictionResult(Tabular):
    """The outcome of predicting a folder of images.

    Attributes:
        output: The folder of the segmentations.
        predicted: Cases that were segmented.
        skipped: Cases that had been segmented before.
        failed: Cases that were left out, with the reason.
        notes: Oddities of the images: the first of every kind.
    """

    output: Path
    predicted: Sequence[str] = ()
    skipped: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        n_cases = len(self.predicted), len(self.skipped), len(self.failed)
        return "{}: {} predicted, {} already there, {} left out".format(self.output, *n_cases)

    def rows(self) -> list[Row]:
        """Return a row per case."""
        done = [(case, "predicted", "") for case in self.predicted]
        done += [(case, "already there", "") for case in self.skipped]
        done += [(case, "left out", why) for case, why in self.failed.items()]
        return [{"case": case, "status": what, "reason": why} for case, what, why in sorted(done)]


@dataclass(frozen=True)
class EvaluationResult(Tabular):
    """The outcome of comparing two folders of masks.

    Attributes:
        evaluation: All of it: `cases`, what `failed` and why, what is `missing`, and `notes`.
    """

    evaluation: "FolderEvaluation" = field(repr=False)

    def __str__(self) -> str:
        found = self.evaluation
        n_cases = len(found.cases), len(found.failed), len(found.missing)
        return "{} cases evaluated, {} left out, {} without prediction".format(*n_cases)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `umamba evaluate --json`: settings, cases, objects, summary."""
        from umamba.evaluation.summary import evaluation_data

        return evaluation_data(self.evaluation)

    def rows(self) -> list[Row]:
        """Return a row per case and label; `None` where a metric is undefined."""
        return [
            {"case": row["case"], "label": row["label"], "empty": row["empty"], **row["metrics"]}
            for row in self.to_dict()["cases"]
        ]


@dataclass(frozen=True)
class ComparisonResult(Tabular):
    """The outcome of a comparison.

    Attributes:
        output: The folder of the results: `summary.md`, figures, tables, gallery.
        results: Everything that was found, as `results.json` holds it.
    """

    output: Path
    results: "Results" = field(repr=False)

    def __str__(self) -> str:
        return " ".join([*self.verdicts.values(), str(self.output / "summary.md")])

    @property
    def verdicts(self) -> Mapping[str, str]:
        """Return a sentence per model that is compared with the baseline."""
        return self.results.verdicts

    @property
    def trainings(self) -> "Sequence[rows.TrainingRow]":
        """Return the trainings: model, fold, seed and status of each."""
        return self.results.trainings

    @property
    def failed(self) -> "list[rows.TrainingRow]":
        """Return the trainings that failed."""
        return [training for training in self.trainings if training.status == "failed"]

    def rows(self) -> Sequence[Row]:
        """Return the rows of `cases.csv`: one per training, case and label."""
        return self.results.case_rows()

    def _repr_html_(self) -> str:
        """Return verdicts and means for Jupyter, as there may be thousands of cases."""
        summary = html.escape(str(self.output / "summary.md"))
        return f"{self.results._repr_html_()}<p>{summary}</p>"


@dataclass(frozen=True)
class RankResult(Tabular):
    """The outcome of ranking a table of scores.

    Attributes:
        ranking: Everything that was found, as `results.json` holds it.
        output: The folder with `summary.md`, figures and tables; `None` if none was asked for.
    """

    ranking: "Ranking" = field(repr=False)
    output: Path | None = None

    def __str__(self) -> str:
        """Return verdicts and ranks as text."""
        from umamba.comparison.ranking.summary import short_text

        return short_text(self.ranking)

    @property
    def verdicts(self) -> Mapping[str, Mapping[str, str]]:
        """Return a sentence per task and model; the only task of a table without tasks is ""."""
        return {task.task: task.verdicts for task in self.ranking.tasks}

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `umamba rank --json`: that of `results.json` without the scores."""
        from umamba.comparison.results import to_plain

        content: dict[str, Any] = to_plain(self.ranking)
        del content["scores"]
        return content

    def rows(self) -> Sequence[Row]:
        """Return the rows of `models.csv`: mean, rank and pairs won, per task and model."""
        from umamba.comparison.ranking.ranking_tables import model_rows

        return model_rows(self.ranking)


@dataclass(frozen=True)
class ModelsResult(Tabular):
    """The costs of models.

    Attributes:
        tables: The plans, a table per configuration, and the machine that times were measured on.
    """

    tables: "ModelTables" = field(repr=False)

    def __str__(self) -> str:
        return f"What the models cost, derived from {self.tables.plans}"

    def rows(self) -> list[Row]:
        """Return a row per model and configuration; `None` where a value is unknown."""
        return [
            {
                "configuration": table.configuration,
                "model": row.model.name,
                "parameters": row.profile and row.profile.n_parameters,
                "multiply_adds": row.profile and row.profile.multiply_adds,
                "saved_bytes": row.profile and row.profile.saved_bytes,
                "step_seconds": row.step and row.step.seconds,
                "peak_bytes": row.step and row.step.peak_bytes,
                "purpose": row.model.purpose,
                "problem": row.problem,
            }
            for table in self.tables.tables
            for row in table.rows
        ]
