"""The rows of a comparison's results: trainings, cases, objects, curves, and what they are of."""

from dataclasses import dataclass
from typing import Any, Literal

from umamba.nnunet.training.seed_streams import SHARED

__all__ = [
    "CaseRow",
    "ComparedDataset",
    "ComparedModel",
    "Cost",
    "LearningCurve",
    "ObjectRow",
    "Training",
    "TrainingRow",
]


@dataclass(frozen=True)
class Training:
    """One training of a comparison: a model, on one fold, from one seed.

    Attributes:
        model: Name of the model.
        fold: Fold whose validation set it predicts.
        seed: Seed; `None` if none is on record, as of trainings of stock nnU-Net.
    """

    model: str
    fold: int
    seed: int | None

    def __str__(self) -> str:
        return f"{self.model}_fold{self.fold}_seed{self.seed}"


@dataclass(frozen=True)
class _OfTraining:
    """A row that belongs to a training."""

    model: str
    fold: int
    seed: int | None

    @property
    def training(self) -> Training:
        """Return the training that this belongs to."""
        return Training(self.model, self.fold, self.seed)


@dataclass(frozen=True)
class TrainingRow(_OfTraining):
    """The state of a training.

    Attributes:
        status: `done`, `failed`, `interrupted`, `pending`, or `running`.
        reason: Why it failed, or is not compared.
        seeds: Whether trainings of that seed in other folds are `independent` of it, or drew the
            same (`shared by folds`, of older versions); `None` without a seed or an end.
        folder: The folder of the fold.
        source: Who trained it.
        train_hours: Hours of all epochs, without the final validation.
        epochs: How many.
        compared: Whether it counts in the statistics.
    """

    status: str
    reason: str | None
    seeds: str | None
    folder: str
    source: Literal["compare", "stock"]
    train_hours: float | None
    epochs: int
    compared: bool

    @property
    def shares_seed(self) -> bool:
        """Tell whether trainings of its seed have something in common in all folds."""
        return self.seed is not None and self.seeds == SHARED


@dataclass(frozen=True)
class CaseRow(_OfTraining):
    """The metrics of a label in a validation case.

    Attributes:
        case: Name of the case.
        label: Name of the label.
        metrics: By name, in their own units; `None` where undefined.
        empty: Which of the two masks is empty: `reference`, `prediction`, `both`, or `None`.
        reference_volume: In cubes of the unit of the spacing; squares in 2D.
        prediction_volume: The same of the prediction.
    """

    case: str
    label: str
    metrics: dict[str, float | None]
    empty: Literal["reference", "prediction", "both"] | None
    reference_volume: float
    prediction_volume: float


@dataclass(frozen=True)
class ObjectRow(_OfTraining):
    """The objects of one size in a case, and how well they were found.

    Attributes:
        case: Name of the case.
        label: Name of the label.
        stratum: Their size: `all`, `small`, ...
        n_reference: Objects in the reference.
        n_prediction: Objects in the prediction.
        n_matched: Pairs of them that match.
        f1: F1 of the objects; `None` where there are none.
        dice: Mean Dice of the pairs; `None` where there are none.
    """

    case: str
    label: str
    stratum: str
    n_reference: int
    n_prediction: int
    n_matched: int
    f1: float | None
    dice: float | None


@dataclass(frozen=True)
class LearningCurve(_OfTraining):
    """The log of a training, a value per epoch; what is undefined is nan.

    Attributes:
        epoch: Epochs completed.
        hours: Hours trained.
        dice: nnU-Net's pseudo Dice on validation patches, not smoothed.
        train_loss: Its loss.
        val_loss: Its loss on validation patches.
    """

    epoch: tuple[int, ...]
    hours: tuple[float, ...]
    dice: tuple[float, ...]
    train_loss: tuple[float, ...] = ()
    val_loss: tuple[float, ...] = ()


@dataclass(frozen=True)
class Cost:
    """The cost of a model: its size, work, memory and time.

    Attributes:
        n_parameters: Weights.
        multiply_adds: Of predicting one patch.
        memory_bytes: What a training step holds, estimated: saved activations, weights, gradients
            and momentum, in float32.
        peak_memory_bytes: What a training step needs at its peak, measured; `None` where it
            cannot be.
        seconds_per_iteration: Median of a training step; `None` if it does not fit into memory.
        seconds_per_case: Of predicting the median case with mirroring: the median of a patch times
            the number of patches; without reading, resampling and writing, alike for all.
        problem: Why nothing was measured.
    """

    n_parameters: int
    multiply_adds: int
    memory_bytes: int
    peak_memory_bytes: int | None = None
    seconds_per_iteration: float | None = None
    seconds_per_case: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class ComparedModel:
    """A model of a comparison.

    Attributes:
        name: As `umamba models` has it.
        plans_name: Default name of its plans.
        control_of: The model that it is a control of.
        paper: Where it is from.
        epochs: How long it trains.
        iterations: The same in iterations.
    """

    name: str
    plans_name: str
    control_of: str | None
    paper: str
    epochs: int | None = None
    iterations: int | None = None


@dataclass(frozen=True)
class ComparedDataset:
    """The data set of a comparison.

    Attributes:
        name: Full name.
        configuration: The configuration of nnU-Net that was trained.
        labels: Those of `dataset.json`.
        n_cases: Validation cases of the compared folds.
        spacing_unit: `mm`, or `px` for images without a spacing.
    """

    name: str
    configuration: str
    labels: dict[str, Any]
    n_cases: int
    spacing_unit: str
