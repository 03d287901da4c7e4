"""Records on the speed of training, as `results.json` holds them; undefined numbers are nan."""

from dataclasses import dataclass

__all__ = ["Dynamics", "Reached", "Spread"]


@dataclass(frozen=True)
class Spread:
    """A summary of one number over trainings; nan if no training has it.

    Attributes:
        n: Number of trainings that have it.
        mean: Their mean.
        minimum: The smallest value.
        maximum: The largest value.
        seed_standard_deviation: Standard deviation between trainings of one fold that differ in the
            seed, pooled over folds; trainings without a seed are left out.
    """

    n: int
    mean: float
    minimum: float
    maximum: float
    seed_standard_deviation: float


@dataclass(frozen=True)
class Reached:
    """The time until a share of the best Dice was reached.

    Attributes:
        share: Share of the best Dice.
        n_trainings: Number of the model's trainings for which a best Dice is known.
        epochs: Epochs until then. The shares of one kind are all averaged over the same trainings:
            those that reached the highest share that any of them did.
        hours: Hours until then, over the same trainings.
        n_reached: Number of trainings that reached this share; `None` in earlier results, whose
            averages are over just these.
    """

    share: float
    n_trainings: int
    epochs: Spread
    hours: Spread
    n_reached: int | None = None


@dataclass(frozen=True)
class Dynamics:
    """The course of one model's trainings; Dice is smoothed by `smooth`.

    Attributes:
        model: Name.
        best: Best Dice of each training.
        own_best: Time at which each training reached shares of its own best.
        baseline_best: Time at which it reached shares of the baseline's best, which is the mean
            over the baseline's trainings of the same fold.
        area_over_epochs: Mean Dice up to `epochs_compared`: the area under the curve divided by its
            length.
        area_over_hours: Mean Dice up to `hours_compared`.
        epochs_compared: Number of epochs that all trainings of all models have.
        hours_compared: Number of hours that all trainings with known hours have.
    """

    model: str
    best: Spread
    own_best: tuple[Reached, ...]
    baseline_best: tuple[Reached, ...]
    area_over_epochs: Spread
    area_over_hours: Spread
    epochs_compared: float
    hours_compared: float
