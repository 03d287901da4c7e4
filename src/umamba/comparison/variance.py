"""How far the luck of training moves a model's score: variance between repeated trainings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from umamba.comparison.scores import ScoreTable

__all__ = ["TrainingSpread", "TrainingWeights", "training_spread", "training_weights"]


@dataclass(frozen=True, eq=False)
class TrainingSpread:
    """Variance of a fold's mean score between trainings that differ in nothing but the seed.

    A training's deviation has two parts: the training as a whole is better or worse, and every case
    moves by itself. The latter averages out over cases, and the bootstrap of cases counts it
    already, so `variance` is the former alone, by the analysis of variance of trainings x cases;
    an estimate below zero counts as zero (Searle, Casella & McCulloch, Variance Components, 1992).

    Attributes:
        deviations: Each training's mean deviation from the mean of its model and fold.
        degrees_of_freedom: Repeated trainings less one, summed over models and folds; 0 where
            nothing was repeated.
        raw_variance: Variance of the deviations, both parts.
        variance: The part of whole trainings.
    """

    deviations: Float[np.ndarray, " trainings"]
    degrees_of_freedom: int
    raw_variance: float
    variance: float

    @property
    def effects(self) -> Float[np.ndarray, " trainings"]:
        """Return the deviations, scaled so that their mean square is `variance`.

        So that the bootstrap, which draws from them, has the variance it should have (Davison &
        Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
        """
        if self.variance == 0:
            return np.zeros_like(self.deviations)
        effects: np.ndarray = self.deviations * np.sqrt(self.variance / np.mean(self.deviations**2))
        return effects


@dataclass(frozen=True)
class TrainingWeights:
    """How a model's mean over cases is made of trainings: per fold its share and trainings."""

    shares: tuple[float, ...]
    n_trainings: tuple[int, ...]

    @property
    def factor(self) -> float:
        """Return the variance of the mean, in units of the variance of one training."""
        return sum(share**2 / n for share, n in zip(self.shares, self.n_trainings, strict=True))


def training_spread(table: ScoreTable, models: Sequence[str]) -> TrainingSpread:
    """Estimate the variance between trainings, pooled over folds and models.

    Trainings without a seed are left out.

    Args:
        table: Scores of one metric.
        models: Models that are taken to have the same variance.

    Returns:
        The variance; zero, with no degrees of freedom, where no training was repeated.
    """
    residuals = [
        block - block.mean(axis=0)
        for model in models
        for fold in sorted(set(table.folds.tolist()))
        if (block := _repeated_trainings(table, model, fold)) is not None
    ]
    if not residuals:
        return TrainingSpread(np.empty(0), 0, 0.0, 0.0)
    deviations = [block.mean(axis=1) for block in residuals]
    degrees = np.array([len(block) - 1 for block in residuals])
    n_cases = np.array([block.shape[1] for block in residuals])
    raw_variance = sum(float((row**2).sum()) for row in deviations) / degrees.sum()
    square_sum = sum(
        float(((block - row[:, None]) ** 2).sum())
        for block, row in zip(residuals, deviations, strict=True)
    )
    case_degrees = (degrees * (n_cases - 1)).sum()
    case_variance = square_sum / case_degrees if case_degrees else 0.0
    part_of_cases = case_variance * (degrees / n_cases).sum() / degrees.sum()
    return TrainingSpread(
        deviations=np.concatenate(deviations),
        degrees_of_freedom=int(degrees.sum()),
        raw_variance=raw_variance,
        variance=max(raw_variance - part_of_cases, 0.0),
    )


def training_weights(
    table: ScoreTable, model: str, used: Bool[np.ndarray, " cases"]
) -> TrainingWeights:
    """Count the trainings behind a model's mean.

    Args:
        table: Scores of one metric.
        model: Name of the model.
        used: The cases that the mean is taken over; the model has scores of all of them.

    Returns:
        Per fold its share of the cases, and the trainings with scores in it, those without a seed
        included.
    """
    shares, n_trainings = [], []
    for fold in sorted(set(table.folds[used].tolist())):
        in_fold = used & (table.folds == fold)
        shares.append(float(in_fold.sum() / used.sum()))
        n_trainings.append(int(np.isfinite(table.values[model][:, in_fold]).any(axis=1).sum()))
    return TrainingWeights(tuple(shares), tuple(n_trainings))


def _repeated_trainings(
    table: ScoreTable, model: str, fold: int
) -> Float[np.ndarray, "trainings cases"] | None:
    """Return the scores of a fold's seeds in the cases that all of them have, if it has two."""
    has_seed = np.array([seed is not None for seed in table.seeds[model]])
    block = table.values[model][has_seed][:, table.folds == fold]
    block = block[np.isfinite(block).any(axis=1)]
    block = block[:, np.isfinite(block).all(axis=0)]
    return block if block.shape[0] > 1 and block.shape[1] > 0 else None
