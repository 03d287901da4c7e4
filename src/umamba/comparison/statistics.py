"""Models compared on the same cases: means, paired differences, tests and effect sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import stats

from umamba.comparison.bootstrap import MeanEstimate, estimate_mean
from umamba.comparison.paired_tests import cohen_d_z, holm, rank_biserial, t_test, wilcoxon
from umamba.comparison.records import Record
from umamba.comparison.scores import CaseScore, ScoreTable
from umamba.comparison.variance import training_spread, training_weights
from umamba.errors import ComparisonError

__all__ = [
    "ALPHA",
    "POWER",
    "ModelComparison",
    "ModelSummary",
    "compare_models",
    "compare_with_controls",
    "summarize_models",
]

ALPHA = 0.05
POWER = 0.8
_DECIMALS = 12  # beyond them, scores differ by rounding only


@dataclass(frozen=True)
class ModelSummary(Record):
    """What one model reached; numbers that are undefined are nan.

    Attributes:
        model: Name.
        n_cases: Cases with a score.
        n_undefined: Predictions whose score is undefined, and left out.
        seeds: Seeds of its trainings; `None` is a training without one.
        estimate: Mean over cases of the mean over trainings, with its interval.
        seed_means: Mean over the cases per seed, of those seeds that have all `n_cases`; without
            `None`.
        seed_standard_deviation: Of `seed_means`.
        training_standard_deviation: Between trainings of one fold, what cases alone explain taken
            off.
    """

    model: str
    n_cases: int
    n_undefined: int
    seeds: tuple[int | None, ...]
    estimate: MeanEstimate
    seed_means: dict[int, float]
    seed_standard_deviation: float
    training_standard_deviation: float


@dataclass(frozen=True)
class ModelComparison(Record):
    """A model against a baseline on the cases that both have scores of; nan where undefined.

    Attributes:
        model: Name.
        baseline: Name of what it is compared with.
        higher_is_better: Whether more of the metric is better.
        n_cases: Cases in the comparison.
        n_cases_left_out: Cases that only one of the two, or neither, has a score of.
        n_seeds: Trainings of the model per fold, the fewest of any fold.
        n_baseline_seeds: The same of the baseline.
        n_comparisons: Comparisons that p values are corrected for.
        model_mean: Mean over the cases of the mean over trainings.
        baseline_mean: The same of the baseline.
        difference: Model less baseline with interval and standard error over cases and trainings.
        p_difference: Of the mean difference being zero, by its standard error (two-sided t test).
        p_difference_holm: The same after Holm's correction.
        p_wilcoxon: Wilcoxon's signed-rank test of the per-case means over trainings. It knows
            nothing of the luck of training: it speaks of these trained networks.
        p_wilcoxon_holm: The same after Holm's correction.
        rank_biserial: Matched-pairs rank-biserial correlation, from -1 to 1: ranks of the cases
            where the model is higher, less those where it is lower, as share of all (Kerby 2014).
        cohen_d_z: Mean of the per-case differences over their standard deviation.
        smallest_detectable_difference: The mean difference that these numbers of cases and
            trainings show with a probability of 80 %, in a two-sided test at 5 % divided by
            `n_comparisons` (Bloom 1995); nan where no result could be significant.
    """

    model: str
    baseline: str
    higher_is_better: bool
    n_cases: int
    n_cases_left_out: int
    n_seeds: int
    n_baseline_seeds: int
    n_comparisons: int
    model_mean: float
    baseline_mean: float
    difference: MeanEstimate
    p_difference: float
    p_difference_holm: float
    p_wilcoxon: float
    p_wilcoxon_holm: float
    rank_biserial: float
    cohen_d_z: float
    smallest_detectable_difference: float

    @property
    def enough_cases(self) -> bool:
        """Tell whether the rank test could be significant, were the model ahead in every case."""
        return bool(2.0 ** (1 - self.n_cases) <= ALPHA / max(self.n_comparisons, 1))


def summarize_models(
    scores: Sequence[CaseScore], *, n_bootstrap: int = 10_000, seed: int = 0
) -> list[ModelSummary]:
    """Describe each model by itself, on all cases that it has scores of.

    Args:
        scores: Scores of one metric.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap; the same gives the same.

    Returns:
        One summary per model, in the order in which they first occur.

    Raises:
        ComparisonError: Scores contradict each other.
    """
    table = ScoreTable.from_scores(scores)
    return [_summarize(table, model, n_bootstrap, seed) for model in table.models]


def compare_models(
    scores: Sequence[CaseScore],
    baseline: str,
    *,
    higher_is_better: bool = True,
    n_bootstrap: int = 10_000,
    seed: int = 0,
) -> list[ModelComparison]:
    """Compare every model with the baseline, corrected for the number of models.

    Args:
        scores: Scores of one metric.
        baseline: Name of the model that the others are compared with.
        higher_is_better: Whether more of the metric is better.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap; the same gives the same.

    Returns:
        One comparison per model but the baseline, in the order in which they first occur.

    Raises:
        ComparisonError: The baseline has no scores, or scores contradict each other.
    """
    table = ScoreTable.from_scores(scores)
    pairs = [(model, baseline) for model in table.models if model != baseline]
    _check_models(table, [baseline])
    return _compare_pairs(
        table, pairs, higher_is_better=higher_is_better, n_bootstrap=n_bootstrap, seed=seed
    )


def compare_with_controls(
    scores: Sequence[CaseScore],
    controls: Mapping[str, Sequence[str]],
    *,
    higher_is_better: bool = True,
    n_bootstrap: int = 10_000,
    seed: int = 0,
) -> list[ModelComparison]:
    """Compare models with their own controls, corrected for the number of these comparisons.

    Args:
        scores: Scores of one metric.
        controls: Per model its controls, such as `{"umamba_bot": ["umamba_bot_nomamba"]}`.
        higher_is_better: Whether more of the metric is better.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap; the same gives the same.

    Returns:
        One comparison per model and control; the control is its `baseline`.

    Raises:
        ComparisonError: A model or control has no scores, or scores contradict each other.
    """
    table = ScoreTable.from_scores(scores)
    pairs = [(model, control) for model, names in controls.items() for control in names]
    _check_models(table, [name for pair in pairs for name in pair])
    return _compare_pairs(
        table, pairs, higher_is_better=higher_is_better, n_bootstrap=n_bootstrap, seed=seed
    )


def _check_models(table: ScoreTable, models: Sequence[str]) -> None:
    for model in models:
        if model not in table.models:
            names = ", ".join(table.models) or "no model"
            msg = f"model {model} has no scores to compare with; there are scores of {names}"
            raise ComparisonError(msg)


def _summarize(table: ScoreTable, model: str, n_bootstrap: int, seed: int) -> ModelSummary:
    means = table.case_means(model)
    used = np.isfinite(means)
    spread = training_spread(table, [model])
    weights = [training_weights(table, model, used)]
    estimate = estimate_mean(means[used], spread, weights, n_bootstrap, np.random.default_rng(seed))
    seed_means = {
        name: float(row[used].mean())
        for name, row in zip(table.seeds[model], table.values[model], strict=True)
        if name is not None and used.any() and np.isfinite(row[used]).all()
    }
    repeated = spread.degrees_of_freedom > 0
    return ModelSummary(
        model=model,
        n_cases=int(used.sum()),
        n_undefined=table.n_undefined(model),
        seeds=table.seeds[model],
        estimate=estimate,
        seed_means=seed_means,
        seed_standard_deviation=_standard_deviation(np.array(list(seed_means.values()))),
        training_standard_deviation=float(np.sqrt(spread.variance)) if repeated else float("nan"),
    )


def _compare_pairs(
    table: ScoreTable,
    pairs: Sequence[tuple[str, str]],
    *,
    higher_is_better: bool,
    n_bootstrap: int,
    seed: int,
) -> list[ModelComparison]:
    """Compare pairs of models and correct for the number of those that have a result."""
    uncorrected = [
        _compare_pair(
            table, *pair, higher_is_better=higher_is_better, n_bootstrap=n_bootstrap, seed=seed
        )
        for pair in pairs
    ]
    n_comparisons = sum(np.isfinite(comparison.p_difference) for comparison in uncorrected)
    p_difference = holm([comparison.p_difference for comparison in uncorrected])
    p_wilcoxon = holm([comparison.p_wilcoxon for comparison in uncorrected])
    comparisons = []
    for index, comparison in enumerate(uncorrected):
        counted = replace(
            comparison,
            n_comparisons=int(n_comparisons),
            p_difference_holm=p_difference[index],
            p_wilcoxon_holm=p_wilcoxon[index],
        )
        smallest = _smallest_detectable_difference(counted)
        comparisons.append(replace(counted, smallest_detectable_difference=smallest))
    return comparisons


def _compare_pair(
    table: ScoreTable,
    model: str,
    baseline: str,
    *,
    higher_is_better: bool,
    n_bootstrap: int,
    seed: int,
) -> ModelComparison:
    """Compare two models, yet uncorrected for other comparisons."""
    model_means, baseline_means = table.case_means(model), table.case_means(baseline)
    used = np.isfinite(model_means) & np.isfinite(baseline_means)
    differences = np.round((model_means - baseline_means)[used], _DECIMALS)
    weights = [training_weights(table, name, used) for name in (model, baseline)]
    spread = training_spread(table, [model, baseline])
    rng = np.random.default_rng(seed)
    difference = estimate_mean(differences, spread, weights, n_bootstrap, rng)
    return ModelComparison(
        model=model,
        baseline=baseline,
        higher_is_better=higher_is_better,
        n_cases=int(used.sum()),
        n_cases_left_out=int((~used).sum()),
        n_seeds=min(weights[0].n_trainings, default=0),
        n_baseline_seeds=min(weights[1].n_trainings, default=0),
        n_comparisons=1,
        model_mean=_mean(model_means[used]),
        baseline_mean=_mean(baseline_means[used]),
        difference=difference,
        p_difference=t_test(difference),
        p_difference_holm=float("nan"),
        p_wilcoxon=wilcoxon(differences),
        p_wilcoxon_holm=float("nan"),
        rank_biserial=rank_biserial(differences),
        cohen_d_z=cohen_d_z(differences),
        smallest_detectable_difference=float("nan"),
    )


def _smallest_detectable_difference(comparison: ModelComparison) -> float:
    standard_error = comparison.difference.standard_error
    if not comparison.enough_cases or not standard_error > 0:
        return float("nan")
    quantiles = [1 - ALPHA / 2 / comparison.n_comparisons, POWER]
    return float(stats.t.ppf(quantiles, comparison.difference.degrees_of_freedom).sum()) * (
        standard_error
    )


def _mean(values: Float[np.ndarray, " n"]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _standard_deviation(values: Float[np.ndarray, " n"]) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else float("nan")
