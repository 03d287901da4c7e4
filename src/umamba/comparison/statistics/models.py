"""Models compared on the same cases: means, paired differences, tests and effect sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from umamba.comparison.records import ALPHA, POWER, MeanEstimate, ModelComparison, ModelSummary
from umamba.comparison.statistics.bootstrap import (
    N_BOOTSTRAP,
    estimate_mean,
    no_estimate,
    resample_each,
)
from umamba.comparison.statistics.paired_tests import (
    cohen_d_z,
    fold_test,
    holm,
    holm_steps,
    rank_biserial,
    t_test,
    wilcoxon,
)
from umamba.comparison.statistics.pairs import (
    Pair,
    estimate_differences,
    interval_of,
    make_pair,
    most_careful,
)
from umamba.comparison.statistics.scores import CaseScore, ScoreTable, Structure
from umamba.comparison.statistics.variance import (
    case_part,
    mean_variance,
    training_parts,
    training_spread,
    training_weights,
)
from umamba.errors import ComparisonError

__all__ = [
    "compare_all_pairs",
    "compare_models",
    "compare_with_controls",
    "compare_with_each",
    "summarize_models",
]


def summarize_models(
    scores: Sequence[CaseScore],
    structure: Structure | None = None,
    *,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> list[ModelSummary]:
    """Summarise each model by itself, on all cases for which it has scores.

    Args:
        scores: Scores of one metric.
        structure: Clusters of cases, and seeds shared by folds; `None` is neither.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap, which makes it reproducible.

    Returns:
        One summary per model, in order of first occurrence.

    Raises:
        ComparisonError: If scores contradict each other.
    """
    table = ScoreTable.from_scores(scores, structure)
    estimates = _estimate_summaries(table, n_bootstrap, seed)
    return [_summarize(table, model, estimates[model]) for model in table.models]


def compare_models(
    scores: Sequence[CaseScore],
    baseline: str,
    structure: Structure | None = None,
    *,
    higher_is_better: bool = True,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> list[ModelComparison]:
    """Compare every model with the baseline, corrected for the number of models.

    Args:
        scores: Scores of one metric.
        baseline: Name of the model that the others are compared with.
        structure: Clusters of cases, and seeds shared by folds; `None` is neither.
        higher_is_better: Whether higher values of the metric are better.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap, which makes it reproducible.

    Returns:
        One comparison per model except the baseline, in order of first occurrence.

    Raises:
        ComparisonError: If the baseline has no scores, or scores contradict each other.
    """
    return compare_with_each(
        scores,
        [baseline],
        structure,
        higher_is_better=higher_is_better,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )[baseline]


def compare_with_each(
    scores: Sequence[CaseScore],
    baselines: Sequence[str],
    structure: Structure | None = None,
    *,
    higher_is_better: bool = True,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> dict[str, list[ModelComparison]]:
    """Compare every model with each of several baselines, as `compare_models` does for one.

    Args:
        scores: Scores of one metric.
        baselines: Names of the models that the others are compared with.
        structure: Clusters of cases, and seeds shared by folds; `None` is neither.
        higher_is_better: Whether higher values of the metric are better.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap, which makes it reproducible.

    Returns:
        The comparisons with each baseline, corrected for the number of models.

    Raises:
        ComparisonError: If a baseline has no scores, or scores contradict each other.
    """
    table = ScoreTable.from_scores(scores, structure)
    _check_models(table, baselines)
    families = [[(m, baseline) for m in table.models if m != baseline] for baseline in baselines]
    made = _compare(
        table,
        [pair for family in families for pair in family],
        higher_is_better=higher_is_better,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    left = iter(made)
    return {
        baseline: _corrected(list(islice(left, len(family))))
        for baseline, family in zip(baselines, families, strict=True)
    }


def compare_with_controls(
    scores: Sequence[CaseScore],
    controls: Mapping[str, Sequence[str]],
    structure: Structure | None = None,
    *,
    higher_is_better: bool = True,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> list[ModelComparison]:
    """Compare models with their own controls, corrected for the number of these comparisons.

    Args:
        scores: Scores of one metric.
        controls: Controls of each model, such as `{"umamba_bot": ["umamba_bot_nomamba"]}`.
        structure: Clusters of cases, and seeds shared by folds; `None` is neither.
        higher_is_better: Whether higher values of the metric are better.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap, which makes it reproducible.

    Returns:
        One comparison per model and control; the control is its `baseline`.

    Raises:
        ComparisonError: If a model or control has no scores, or scores contradict each other.
    """
    table = ScoreTable.from_scores(scores, structure)
    pairs = [(model, control) for model, names in controls.items() for control in names]
    _check_models(table, [name for pair in pairs for name in pair])
    return _compare_pairs(
        table, pairs, higher_is_better=higher_is_better, n_bootstrap=n_bootstrap, seed=seed
    )


def compare_all_pairs(
    scores: Sequence[CaseScore],
    structure: Structure | None = None,
    *,
    higher_is_better: bool = True,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> list[ModelComparison]:
    """Compare every model with every other, corrected for the number of pairs.

    Args:
        scores: Scores of one metric.
        structure: Clusters of cases, and seeds shared by folds; `None` is neither.
        higher_is_better: Whether higher values of the metric are better.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap, which makes it reproducible.

    Returns:
        One comparison per pair, in order of first occurrence; the later model is its `baseline`.

    Raises:
        ComparisonError: If scores contradict each other.
    """
    table = ScoreTable.from_scores(scores, structure)
    return _compare_pairs(
        table,
        list(combinations(table.models, 2)),
        higher_is_better=higher_is_better,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


def _check_models(table: ScoreTable, models: Sequence[str]) -> None:
    for model in models:
        if model not in table.models:
            names = ", ".join(table.models) or "no model"
            msg = f"model {model} has no scores to compare with; there are scores of {names}"
            raise ComparisonError(msg)


def _summarize(table: ScoreTable, model: str, estimate: MeanEstimate) -> ModelSummary:
    means = table.case_means(model)
    used = np.isfinite(means)
    shared = model in table.shared_seeds
    spread = training_spread(table, [model], shared_seeds=shared)
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
        n_partly_defined=table.n_partly_defined(model),
        seeds=table.seeds[model],
        estimate=estimate,
        seed_means=seed_means,
        seed_standard_deviation=_standard_deviation(np.array(list(seed_means.values()))),
        training_standard_deviation=float(np.sqrt(spread.variance)) if repeated else float("nan"),
    )


def _estimate_summaries(table: ScoreTable, n_bootstrap: int, seed: int) -> dict[str, MeanEstimate]:
    """Estimate the mean of every model."""
    means = {model: table.case_means(model) for model in table.models}
    used = {model: np.isfinite(values) for model, values in means.items()}
    found = dict.fromkeys(table.models, no_estimate())
    for model, values in means.items():
        if used[model].any():
            found[model] = replace(no_estimate(), mean=float(values[used[model]].mean()))
    known = [m for m in table.models if len(np.unique(table.clusters[used[m]])) > 1]
    rows = [(means[model][used[model]], table.clusters[used[model]]) for model in known]
    for row, draws, noise in resample_each(rows, n_bootstrap, seed):
        model, (values, clusters) = known[row], rows[row]
        shared = model in table.shared_seeds
        spread = training_spread(table, [model], shared_seeds=shared)
        weights = training_weights(table, model, used[model], shared_seeds=shared)
        parts = [case_part(values, clusters), *training_parts([spread], [weights.factor])]
        found[model] = estimate_mean(
            float(values.mean()),
            mean_variance(parts),
            draws,
            noise,
            includes_seed_variance=spread.degrees_of_freedom > 0,
        )
    return found


def _compare_pairs(
    table: ScoreTable,
    pairs: Sequence[tuple[str, str]],
    *,
    higher_is_better: bool,
    n_bootstrap: int,
    seed: int,
) -> list[ModelComparison]:
    """Compare pairs of models, corrected for the number of pairs that have a result."""
    return _corrected(
        _compare(
            table, pairs, higher_is_better=higher_is_better, n_bootstrap=n_bootstrap, seed=seed
        )
    )


def _compare(
    table: ScoreTable,
    pairs: Sequence[tuple[str, str]],
    *,
    higher_is_better: bool,
    n_bootstrap: int,
    seed: int,
) -> list[ModelComparison]:
    """Compare pairs of models, not yet corrected for their number."""
    made = [make_pair(table, *names) for names in pairs]
    estimates = estimate_differences(made, n_bootstrap, seed)
    return [
        _compare_pair(table, names, pair, estimate, higher_is_better=higher_is_better)
        for names, pair, estimate in zip(pairs, made, estimates, strict=True)
    ]


def _corrected(uncorrected: Sequence[ModelComparison]) -> list[ModelComparison]:
    """Correct comparisons for the number of them that have a result."""
    n_comparisons = sum(np.isfinite(comparison.p_difference) for comparison in uncorrected)
    p_difference = holm([comparison.p_difference for comparison in uncorrected])
    p_wilcoxon = holm([comparison.p_wilcoxon for comparison in uncorrected])
    steps = holm_steps([comparison.p_difference for comparison in uncorrected], ALPHA)
    comparisons = []
    for index, comparison in enumerate(uncorrected):
        counted = replace(
            comparison,
            n_comparisons=int(n_comparisons),
            p_difference_holm=p_difference[index],
            p_wilcoxon_holm=p_wilcoxon[index],
            corrected_interval=interval_of(comparison, 1 - ALPHA / steps[index]),
        )
        smallest = _smallest_detectable_difference(counted)
        comparisons.append(replace(counted, smallest_detectable_difference=smallest))
    return comparisons


def _compare_pair(
    table: ScoreTable,
    names: tuple[str, str],
    pair: Pair,
    estimates: Mapping[str, MeanEstimate],
    *,
    higher_is_better: bool,
) -> ModelComparison:
    """Compare two models, not yet corrected for other comparisons."""
    model, baseline = names
    difference = most_careful(estimates.values())
    of_clusters = pair.cluster_differences
    return ModelComparison(
        model=model,
        baseline=baseline,
        higher_is_better=higher_is_better,
        n_cases=int(pair.used.sum()),
        n_cases_left_out=int((~pair.used).sum()),
        n_informative_left_out=int((_informative(table, names) & ~pair.used).sum()),
        n_clusters=pair.n_clusters,
        n_seeds=min(pair.weights[0].n_trainings, default=0),
        n_baseline_seeds=min(pair.weights[1].n_trainings, default=0),
        n_comparisons=1,
        model_mean=_mean(table.case_means(model)[pair.used]),
        baseline_mean=_mean(table.case_means(baseline)[pair.used]),
        difference=difference,
        pooled=estimates.get("pooled"),
        unpooled=estimates.get("unpooled"),
        corrected_interval=difference.interval,
        p_difference=max(map(t_test, estimates.values())),
        p_difference_holm=float("nan"),
        p_wilcoxon=wilcoxon(of_clusters),
        p_wilcoxon_holm=float("nan"),
        fold_test=fold_test(pair.fold_differences),
        rank_biserial=rank_biserial(of_clusters),
        cohen_d_z=cohen_d_z(of_clusters),
        smallest_detectable_difference=float("nan"),
    )


def _informative(table: ScoreTable, models: Sequence[str]) -> Bool[np.ndarray, " cases"]:
    """Return which cases all of the models have predicted and at least one has a score for."""
    predicted = [table.predicted[model].any(axis=0) for model in models]
    scored = [np.isfinite(table.values[model]).any(axis=0) for model in models]
    found: np.ndarray = np.all(predicted, axis=0) & np.any(scored, axis=0)
    return found


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
