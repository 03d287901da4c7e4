"""A clear comparison of two models, and changes of it, for verdicts and margins."""

from dataclasses import replace

from umamba.comparison.records import (
    FoldTest,
    Interval,
    MeanEstimate,
    ModelComparison,
    VariancePart,
)

BETTER = ModelComparison(
    model="new",
    baseline="net",
    higher_is_better=True,
    n_cases=64,
    n_cases_left_out=0,
    n_informative_left_out=0,
    n_clusters=64,
    n_seeds=2,
    n_baseline_seeds=2,
    n_comparisons=4,
    model_mean=0.812,
    baseline_mean=0.8,
    difference=MeanEstimate(0.012, Interval(0.004, 0.02), 0.004, 40.0, includes_seed_variance=True),
    pooled=None,
    unpooled=None,
    corrected_interval=Interval(0.004, 0.02),
    p_difference=0.001,
    p_difference_holm=0.003,
    p_wilcoxon=0.0001,
    p_wilcoxon_holm=0.0002,
    fold_test=FoldTest(5, 0.012, Interval(0.001, 0.023), 0.04),
    rank_biserial=0.4,
    cohen_d_z=0.3,
    smallest_detectable_difference=0.0135,
)


def changed(
    comparison: ModelComparison, mean: float, low: float, high: float, *, repeated: bool = True
) -> ModelComparison:
    """Return a comparison with another difference; Holm's correction changes no interval of one."""
    interval = Interval(low, high)
    parts = (VariancePart("cases", 0.004**2, 0.004**2, 40.0),)
    difference = MeanEstimate(
        mean, interval, 0.004, 40.0, includes_seed_variance=repeated, parts=parts
    )
    return replace(comparison, difference=difference, corrected_interval=interval)
