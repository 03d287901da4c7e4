"""Findings of the statistics, as `results.json` holds them; undefined numbers are nan."""

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ALPHA",
    "POWER",
    "FoldTest",
    "GroupComparison",
    "GroupDifference",
    "Interval",
    "Margin",
    "MarginOutcome",
    "MeanEstimate",
    "MetricStatistics",
    "ModelComparison",
    "ModelRank",
    "ModelSummary",
    "RankStability",
    "Rate",
    "VariancePart",
    "VolumeAgreement",
]

ALPHA = 0.05
POWER = 0.8

MarginOutcome = Literal[
    "superior by the margin",
    "equivalent",
    "not inferior",
    "inferior by the margin",
    "undecided",
]


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class VariancePart:
    """The contribution of one source to the variance of a mean over cases.

    Attributes:
        source: What varies.
        variance: Its contribution, never below zero.
        mean_square: What the contribution is estimated from, before other sources are taken off:
            for the degrees of freedom of the whole.
        degrees_of_freedom: Of the mean square.
    """

    source: Literal["cases", "trainings", "folds"]
    variance: float
    mean_square: float
    degrees_of_freedom: float


@dataclass(frozen=True)
class MeanEstimate:
    """A mean over cases with its uncertainty; below two cases all of it is nan.

    Attributes:
        mean: The estimate.
        interval: 95 % interval.
        standard_error: Of the mean, from all `parts`.
        degrees_of_freedom: Of the standard error.
        includes_seed_variance: Whether trainings of every model in it were repeated, so that the
            uncertainty holds for the models; else it is over cases alone, and holds for these
            trained networks only.
        parts: What the variance of the mean is made of.
    """

    mean: float
    interval: Interval
    standard_error: float
    degrees_of_freedom: float
    includes_seed_variance: bool
    parts: tuple[VariancePart, ...] = ()


@dataclass(frozen=True)
class FoldTest:
    """Each fold's mean difference taken as one number; nan below two folds.

    Attributes:
        n_folds: How many.
        mean: Mean over folds, each counting the same.
        interval: Its 95 % interval.
        p: Of the mean being zero, by the two-sided one-sample t test.
    """

    n_folds: int
    mean: float
    interval: Interval
    p: float


@dataclass(frozen=True)
class ModelSummary:
    """The results of one model by itself; numbers that are undefined are nan.

    Attributes:
        model: Name.
        n_cases: Cases with a score.
        n_undefined: Predictions whose score is undefined, and left out.
        n_partly_defined: Cases left out as some trainings, not all, have a score of them.
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
    n_partly_defined: int
    seeds: tuple[int | None, ...]
    estimate: MeanEstimate
    seed_means: dict[int, float]
    seed_standard_deviation: float
    training_standard_deviation: float


@dataclass(frozen=True)
class ModelComparison:
    """A model against a baseline on the cases that both have scores of; nan where undefined.

    Attributes:
        model: Name.
        baseline: Name of what it is compared with.
        higher_is_better: Whether more of the metric is better.
        n_cases: Cases in the comparison.
        n_cases_left_out: Cases that only one of the two, or neither, has a score of.
        n_informative_left_out: Those of them that both have predicted and some training of one of
            the two has a score of: they say something, and it is not in the difference.
        n_clusters: What the cases belong to, such as patients; as many as cases if nothing is said.
        n_seeds: Trainings of the model per fold, the fewest of any fold.
        n_baseline_seeds: The same of the baseline.
        n_comparisons: Comparisons that p values are corrected for.
        model_mean: Mean over the cases of the mean over trainings.
        baseline_mean: The same of the baseline.
        difference: Model less baseline with interval and standard error over cases, trainings and,
            from three folds on, their training data: of `pooled` and `unpooled` the wider.
        pooled: The same with one variance between trainings for both models; `None` where one of
            them was not repeated.
        unpooled: The same with a variance of its own for each (Welch, Satterthwaite).
        corrected_interval: Of `difference`, corrected for the number of comparisons as
            `p_difference_holm` is: it leaves out zero where that is below 5 %, and only there.
        p_difference: Of the mean difference being zero, by its standard error (two-sided t test),
            the larger of those of `pooled` and `unpooled`.
        p_difference_holm: The same after Holm's correction.
        p_wilcoxon: Wilcoxon's signed-rank test of the per-case means over trainings, or, where
            cases belong together, of the means of those. It knows nothing of the luck of training:
            it speaks of these trained networks.
        p_wilcoxon_holm: The same after Holm's correction.
        fold_test: The folds' mean differences, each taken as one number: a line of sensitivity.
        rank_biserial: Matched-pairs rank-biserial correlation, from -1 to 1: ranks of the cases
            where the model is higher, less those where it is lower, as share of all (Kerby 2014).
        cohen_d_z: Mean of the same differences over their standard deviation.
        smallest_detectable_difference: The mean difference that these numbers of cases and
            trainings show with a probability of 80 %, in a two-sided test at 5 % divided by
            `n_comparisons` (Bloom 1995); nan where no result could be significant.
    """

    model: str
    baseline: str
    higher_is_better: bool
    n_cases: int
    n_cases_left_out: int
    n_informative_left_out: int
    n_clusters: int
    n_seeds: int
    n_baseline_seeds: int
    n_comparisons: int
    model_mean: float
    baseline_mean: float
    difference: MeanEstimate
    pooled: MeanEstimate | None
    unpooled: MeanEstimate | None
    corrected_interval: Interval
    p_difference: float
    p_difference_holm: float
    p_wilcoxon: float
    p_wilcoxon_holm: float
    fold_test: FoldTest
    rank_biserial: float
    cohen_d_z: float
    smallest_detectable_difference: float

    @property
    def enough_cases(self) -> bool:
        """Tell whether the rank test could be significant, were the model ahead in every case."""
        return bool(2.0 ** (1 - self.n_clusters) <= ALPHA / max(self.n_comparisons, 1))


@dataclass(frozen=True)
class ModelRank:
    """The place of one model; ranks start at 1, and equal means share the better one.

    Attributes:
        model: Name.
        mean: Mean over the cases.
        rank: Rank by that mean.
        rank_low: One more than there are models that are better beyond doubt: those whose interval
            against this one, corrected for the number of others, leaves out zero.
        rank_high: The number of models, less those that are worse beyond doubt.
        shares: Share of the bootstraps in which it has rank 1, 2, ...
    """

    model: str
    mean: float
    rank: int
    rank_low: int
    rank_high: int
    shares: tuple[float, ...]

    @property
    def first_share(self) -> float:
        """Return the share of the bootstraps in which the model comes first."""
        return self.shares[0]


@dataclass(frozen=True)
class RankStability:
    """Ranking of all models over bootstraps.

    Attributes:
        n_cases: Cases that all models have scores of.
        n_cases_left_out: The others.
        includes_seed_variance: Whether every model has repeated trainings.
        models: Per model its ranks, the best first.
        kendall_tau: Mean over bootstraps of Kendall's tau-b with the ranking observed.
        kendall_tau_low: 2.5 % quantile.
        kendall_tau_high: 97.5 % quantile.
    """

    n_cases: int
    n_cases_left_out: int
    includes_seed_variance: bool
    models: tuple[ModelRank, ...]
    kendall_tau: float
    kendall_tau_low: float
    kendall_tau_high: float


@dataclass(frozen=True)
class Rate:
    """The rate at which a model saw a label where there is none, or missed one altogether.

    Attributes:
        model: Name.
        n_events: Predictions of a label in which it happened.
        n_predictions: Predictions of a label in which it could, over all trainings.
        n_cases: Pairs of case and label behind them.
        rate: Mean over those pairs of the share of trainings.
        interval: Its 95 % interval.
    """

    model: str
    n_events: int
    n_predictions: int
    n_cases: int
    rate: float
    interval: Interval


@dataclass(frozen=True)
class GroupDifference:
    """A model against a baseline in one subgroup of the cases.

    Attributes:
        group: Its name.
        n_cases: Cases of it that both have a score of.
        n_clusters: What they belong to.
        difference: Model less baseline in these cases.
        contrast: The difference in these cases less that in all others.
        p_contrast: Of that being zero.
    """

    group: str
    n_cases: int
    n_clusters: int
    difference: MeanEstimate
    contrast: MeanEstimate
    p_contrast: float


@dataclass(frozen=True)
class GroupComparison:
    """A model against a baseline in every subgroup.

    Attributes:
        model: Name.
        baseline: Name of what it is compared with.
        groups: The subgroups, by name.
        p_interaction: Of the difference being the same in all of them: the least `p_contrast`,
            after Bonferroni's correction for their number; with two groups there is one contrast.
        p_interaction_holm: The same after Holm's correction for the number of comparisons.
    """

    model: str
    baseline: str
    groups: tuple[GroupDifference, ...]
    p_interaction: float
    p_interaction_holm: float


@dataclass(frozen=True)
class Margin:
    """A model against a baseline, by the smallest difference that matters.

    Attributes:
        model: Name.
        baseline: Name of what it is compared with.
        margin: That difference, in the metric's own unit.
        interval: Of the difference, by which the outcome is judged.
        outcome: What it shows; of the trained networks where a model was not repeated.
        probability: That the model is better by more than the margin: the share of the confidence
            distribution of the difference beyond it.
        cheaper: Per cost its ratio to the baseline's, if none is higher and one is lower.
        same_at_less_cost: Whether it is equivalent or not inferior, and cheaper.
        to_settle: How many seeds per fold, folds, or cases in all would settle it, each with all
            else as it is; `None` where no number would, and empty where it is settled.
    """

    model: str
    baseline: str
    margin: float
    interval: Interval
    outcome: MarginOutcome
    probability: float
    cheaper: dict[str, float]
    same_at_less_cost: bool
    to_settle: dict[str, int | None]


@dataclass(frozen=True)
class VolumeAgreement:
    """How far a model's volumes of a label are from the reference's; nan below two cases.

    Attributes:
        model: Name.
        label: Name.
        n_cases: Cases, with those in which it is absent.
        bias: Mean over cases of the predicted volume, mean over trainings, less the reference's;
            in cubes of the unit of the spacing, in 2D squares.
        interval: Its 95 % interval over cases, or over what they belong to.
        standard_deviation: Of the differences of the cases.
        low: Lower limit of agreement, the bias less 1.96 standard deviations.
        high: Upper limit.
    """

    model: str
    label: str
    n_cases: int
    bias: float
    interval: Interval
    standard_deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricStatistics:
    """All that is said of the models by one metric.

    Attributes:
        summaries: Each model by itself.
        comparisons: Each model against the baseline.
        controls: Each model against its own controls.
        rank_stability: The ranking; `None` where there are not two models with cases in common.
        groups: The comparisons in subgroups of the cases; empty if there are none.
        margins: The comparisons by the smallest difference that matters; empty without a margin.
        rates: Of labels seen where there are none, or not seen; empty for other metrics.
        agreement: Of volumes, by model and label; empty but for `volume_bias`.
    """

    summaries: tuple[ModelSummary, ...] = ()
    comparisons: tuple[ModelComparison, ...] = ()
    controls: tuple[ModelComparison, ...] = ()
    rank_stability: RankStability | None = None
    groups: tuple[GroupComparison, ...] = ()
    margins: tuple[Margin, ...] = ()
    rates: tuple[Rate, ...] = ()
    agreement: tuple[VolumeAgreement, ...] = ()
