"""The scores of models on validation cases, and the table that the statistics use."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from umamba.errors import ComparisonError

__all__ = ["CaseScore", "ScoreTable", "Structure", "number_clusters"]


@dataclass(frozen=True)
class CaseScore:
    """The value of one metric for one validation case predicted by one training of a model.

    Attributes:
        model: Name of the model.
        fold: Fold whose validation set contains the case.
        seed: Seed of the training; `None` for a training that has none on record, such as one taken
            over from stock nnU-Net.
        case: Name of the case.
        value: The metric in its own unit (Dice from 0 to 1, distances in mm); nan if undefined.
            Infinite values count as undefined as well.
    """

    model: str
    fold: int
    seed: int | None
    case: str
    value: float


@dataclass(frozen=True)
class Structure:
    """Dependencies among scores, because of which they say less than independent ones.

    Attributes:
        clusters: Cluster of each case, such as a patient; cases that are not named, or all if this
            is empty, are clusters of their own.
        shared_seeds: Models whose trainings of one seed have something in common in all folds.
    """

    clusters: Mapping[str, str] = field(default_factory=dict)
    shared_seeds: Collection[str] = ()


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of all models over the same cases.

    Attributes:
        models: Names, in order of first occurrence.
        cases: Names, sorted by fold, then by name.
        folds: Fold of each case, shape `(cases,)`.
        clusters: Number of the cluster of each case.
        seeds: Seeds of each model in ascending order, `None` first.
        values: Array `(seeds, cases)` of each model; nan where undefined or not predicted.
        predicted: For each model, whether there is a score, defined or not, `(seeds, cases)`.
        shared_seeds: Models whose trainings of one seed have something in common in all folds.
    """

    models: tuple[str, ...]
    cases: tuple[str, ...]
    folds: Int[np.ndarray, " cases"]
    clusters: Int[np.ndarray, " cases"]
    seeds: dict[str, tuple[int | None, ...]]
    values: dict[str, Float[np.ndarray, "_ cases"]]
    predicted: dict[str, Bool[np.ndarray, "_ cases"]]
    shared_seeds: frozenset[str]

    @classmethod
    def from_scores(
        cls, scores: Sequence[CaseScore], structure: Structure | None = None
    ) -> "ScoreTable":
        """Arrange scores in a table.

        Args:
            scores: One metric's scores in any order.
            structure: Clusters of cases, and seeds shared by folds; `None` is neither.

        Returns:
            The table.

        Raises:
            ComparisonError: If one training scores a case twice, or a case lies in two folds.
        """
        folds = _fold_of_each_case(scores)
        cases = sorted(folds, key=lambda case: (folds[case], case))
        models = list(dict.fromkeys(score.model for score in scores))
        seeds = {model: _seeds_of(model, scores) for model in models}
        values = {model: np.full((len(seeds[model]), len(cases)), np.nan) for model in models}
        predicted = {model: np.zeros_like(values[model], dtype=bool) for model in models}
        column = {case: index for index, case in enumerate(cases)}
        for score in scores:
            cell = seeds[score.model].index(score.seed), column[score.case]
            if predicted[score.model][cell]:
                msg = (
                    f"case {score.case} has two scores of model {score.model}, seed {score.seed}: "
                    "give each training's validation cases once"
                )
                raise ComparisonError(msg)
            predicted[score.model][cell] = True
            if np.isfinite(score.value):
                values[score.model][cell] = score.value
        structure = structure or Structure()
        return cls(
            models=tuple(models),
            cases=tuple(cases),
            folds=np.array([folds[case] for case in cases], dtype=np.int64),
            clusters=number_clusters(cases, structure.clusters),
            seeds=seeds,
            values=values,
            predicted=predicted,
            shared_seeds=frozenset(structure.shared_seeds),
        )

    def only(self, cases: Bool[np.ndarray, " cases"]) -> "ScoreTable":
        """Return the table for some of the cases."""
        return replace(
            self,
            cases=tuple(case for case, is_in in zip(self.cases, cases, strict=True) if is_in),
            folds=self.folds[cases],
            clusters=self.clusters[cases],
            values={model: values[:, cases] for model, values in self.values.items()},
            predicted={model: there[:, cases] for model, there in self.predicted.items()},
        )

    def times(self, weights: Float[np.ndarray, " cases"]) -> "ScoreTable":
        """Return the table with every score multiplied by the weight of its case."""
        return replace(self, values={m: values * weights for m, values in self.values.items()})

    def case_means(self, model: str) -> Float[np.ndarray, " cases"]:
        """Average a model's trainings per case.

        A case whose metric is undefined for one of the trainings that predicted it has no mean, as
        the mean of the others would ignore that training.

        Args:
            model: Name of the model.

        Returns:
            Means over the trainings, nan where there is no mean.
        """
        defined = np.isfinite(self.values[model])
        n_defined = defined.sum(axis=0)
        total = np.where(defined, self.values[model], 0.0).sum(axis=0)
        whole = (n_defined > 0) & (n_defined == self.predicted[model].sum(axis=0))
        return np.where(whole, total / np.maximum(n_defined, 1), np.nan)

    def n_partly_defined(self, model: str) -> int:
        """Count the cases without a mean although some of a model's trainings have a score."""
        return int((np.isfinite(self.values[model]).any(axis=0) & ~self.has_mean(model)).sum())

    def has_mean(self, model: str) -> Bool[np.ndarray, " cases"]:
        """Return which cases have a mean over a model's trainings."""
        found: np.ndarray = np.isfinite(self.case_means(model))
        return found

    def n_undefined(self, model: str) -> int:
        """Count the predictions of a model for which the metric is undefined."""
        return int((self.predicted[model] & np.isnan(self.values[model])).sum())


def _fold_of_each_case(scores: Sequence[CaseScore]) -> dict[str, int]:
    folds: dict[str, int] = {}
    for score in scores:
        if folds.setdefault(score.case, score.fold) != score.fold:
            msg = (
                f"case {score.case} is a validation case of folds {folds[score.case]} and "
                f"{score.fold}: only folds whose validation sets share no case can be compared"
            )
            raise ComparisonError(msg)
    return folds


def number_clusters(cases: Sequence[str], clusters: Mapping[str, str]) -> Int[np.ndarray, " cases"]:
    """Return the number of each case's cluster; a case without one is a cluster of its own."""
    names = [("cluster", clusters[case]) if case in clusters else ("case", case) for case in cases]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def _seeds_of(model: str, scores: Sequence[CaseScore]) -> tuple[int | None, ...]:
    seeds = {score.seed for score in scores if score.model == model}
    numbers = sorted(seed for seed in seeds if seed is not None)
    return ((None,) if None in seeds else ()) + tuple(numbers)
