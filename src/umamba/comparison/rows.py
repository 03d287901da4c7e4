"""The rows of a comparison's results: trainings, cases, objects, curves, models and data set."""

from dataclasses import dataclass
from typing import Any, Literal

from umamba.nnunet.training.seed_streams import SHARED

__all__ = [
    "CaseRow",
    "ComparedDataset",
    "ComparedModel",
    "Cost",
    "Ensemble",
    "EnsembleRow",
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
        seed: Seed; `None` if none is on record, as for trainings of stock nnU-Net.
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
        """Return the training that this row belongs to."""
        return Training(self.model, self.fold, self.seed)


@dataclass(frozen=True)
class TrainingRow(_OfTraining):
    """The state of a training.

    Attributes:
        status: `done`, `failed`, `interrupted`, `pending`, or `running`.
        reason: Reason why it failed or is not compared.
        seeds: Whether trainings of that seed in other folds are `independent` of it, or used the
            same random numbers (`shared by folds`, in older versions); `None` if it has no seed or
            has not finished.
        folder: The folder of the fold.
        source: The program that trained it.
        train_hours: Hours of all epochs, without the final validation.
        epochs: Number of epochs.
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
        """True if trainings of its seed have something in common in all folds."""
        return self.seed is not None and self.seeds == SHARED


@dataclass(frozen=True)
class _Scored:
    """The metrics of a label in a case.

    Attributes:
        case: Name of the case.
        label: Name of the label.
        metrics: Metrics by name, in their own units; `None` where undefined.
        empty: The empty mask: `reference`, `prediction`, `both`, or `None`.
        reference_volume: Volume in cubes of the unit of the spacing; squares in 2D.
        prediction_volume: The same for the prediction.
    """

    case: str
    label: str
    metrics: dict[str, float | None]
    empty: Literal["reference", "prediction", "both"] | None
    reference_volume: float
    prediction_volume: float


@dataclass(frozen=True)
class CaseRow(_Scored, _OfTraining):
    """The metrics of a label in a case that a training predicted."""


@dataclass(frozen=True)
class Ensemble:
    """The trainings of a model from one seed, which predict together.

    Attributes:
        model: Name of the model.
        folds: Folds of the trainings, in order.
        seed: Their seed.
    """

    model: str
    folds: tuple[int, ...]
    seed: int

    @property
    def trainings(self) -> tuple[Training, ...]:
        """The trainings that predict."""
        return tuple(Training(self.model, fold, self.seed) for fold in self.folds)

    def __str__(self) -> str:
        return f"{self.model}_folds{'-'.join(map(str, self.folds))}_seed{self.seed}"


@dataclass(frozen=True)
class EnsembleRow(_Scored, Ensemble):
    """The metrics of a label in a case that an ensemble predicted."""


@dataclass(frozen=True)
class ObjectRow(_OfTraining):
    """Scores of the objects of one size in a case.

    Attributes:
        case: Name of the case.
        label: Name of the label.
        stratum: Name of their size: `all`, `small`, ...
        n_reference: Number of objects in the reference.
        n_prediction: Number of objects in the prediction.
        n_matched: Number of matching pairs.
        f1: F1 of the objects; `None` if there are none.
        dice: Mean Dice of the pairs; `None` if there are none.
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
    """The log of a training, with one value per epoch; undefined values are nan.

    Attributes:
        epoch: Epochs completed.
        hours: Hours trained.
        dice: nnU-Net's pseudo Dice on validation patches, not smoothed.
        train_loss: Training loss.
        val_loss: Loss on validation patches.
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
        n_parameters: Number of weights.
        multiply_adds: Multiply-adds for predicting one patch.
        memory_bytes: Estimated memory of a training step: activations, weights, gradients and what
            the optimiser keeps, in float32.
        peak_memory_bytes: Measured peak memory of a training step; `None` if it cannot be measured.
        seconds_per_iteration: Median time of a training step; `None` if it does not fit into
            memory.
        seconds_per_case: Time for predicting the median case with mirroring: the median time of a
            patch multiplied by the number of patches, without reading, resampling and writing,
            which are the same for all.
        problem: Reason why nothing was measured.
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
        name: Name, as in `umamba models`.
        plans_name: Default name of its plans.
        control_of: The model that it is a control of.
        paper: Publication.
        epochs: Epochs of a training.
        iterations: Iterations of a training.
        recipe: The recipe that it was trained by.
    """

    name: str
    plans_name: str
    control_of: str | None
    paper: str
    epochs: int | None = None
    iterations: int | None = None
    recipe: str = "nnunet"


@dataclass(frozen=True)
class ComparedDataset:
    """The data set of a comparison.

    Attributes:
        name: Full name.
        configuration: nnU-Net's configuration that was trained.
        labels: Labels of `dataset.json`.
        n_cases: Number of validation cases in the compared folds.
        spacing_unit: `mm`, or `px` for images without a spacing.
        credit: Origin and licence of the data; "" if nothing need be said.
        n_dims: Number of dimensions of the images; `None` if nnU-Net's reader and the configuration
            do not tell.
    """

    name: str
    configuration: str
    labels: dict[str, Any]
    n_cases: int
    spacing_unit: str
    credit: str = ""
    n_dims: int | None = None
