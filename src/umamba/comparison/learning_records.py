"""Findings on the speed of training, as `results.json` holds them; undefined numbers are nan."""

from dataclasses import dataclass

__all__ = ["Dynamics", "Reached", "Spread"]


@dataclass(frozen=True)
class Spread:
    """A number of every training, in short; nan where there is none.

    Attributes:
        n: Trainings that have it.
        mean: Their mean.
        minimum: The least.
        maximum: The largest.
        seed_standard_deviation: Between trainings of one fold that differ in the seed, pooled over
            folds; trainings without a seed are left out.
    """

    n: int
    mean: float
    minimum: float
    maximum: float
    seed_standard_deviation: float


@dataclass(frozen=True)
class Reached:
    """The time until a share of a best Dice was reached.

    Attributes:
        share: Share of the best.
        n_trainings: Trainings of the model that there is a best for.
        epochs: Epochs until then, of the trainings that got there: `epochs.n` of `n_trainings`.
        hours: Hours until then.
    """

    share: float
    n_trainings: int
    epochs: Spread
    hours: Spread


@dataclass(frozen=True)
class Dynamics:
    """The course of one model's trainings; Dice is smoothed as by `smooth`.

    Attributes:
        model: Name.
        best: Best Dice of each training.
        own_best: When each training reached shares of its own best.
        baseline_best: When it reached shares of the baseline's best, the mean over the baseline's
            trainings of the same fold.
        area_over_epochs: Mean Dice up to `epochs_compared`: area under the curve over its length.
        area_over_hours: Mean Dice up to `hours_compared`.
        epochs_compared: Epochs that all trainings of all models have.
        hours_compared: Hours that all trainings with known hours have.
    """

    model: str
    best: Spread
    own_best: tuple[Reached, ...]
    baseline_best: tuple[Reached, ...]
    area_over_epochs: Spread
    area_over_hours: Spread
    epochs_compared: float
    hours_compared: float
