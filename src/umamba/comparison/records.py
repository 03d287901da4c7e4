"""Records of the statistics, as `results.json` holds them; undefined numbers are nan."""

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
    "Repeats",
    "VariancePart",
    "VolumeAgreement",
]

ALPHA = 0.05
POWER = 0.8

Repeats = Literal["trainings per fold", "folds", "trainings", "ensembles"]

MarginOutcome = Literal[
    "superior by the margin", "equivalent", "not inferior", "inferior by the margin", "undecided"
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
        source: Name of what varies.
        variance: Its contribution, never below zero.
        mean_square: Mean square that the contribution is estimated from, before other sources are
            subtracted; it determines the degrees of freedom of the whole.
        degrees_of_freedom: Degrees of freedom of the mean square.
    """

    source: Literal["cases", "trainings", "folds"]
    variance: float
    mean_square: float
    degrees_of_freedom: float


@dataclass(frozen=True)
class MeanEstimate:
    """A mean over cases with its uncertainty, which is nan with fewer than two cases.

    Attributes:
        mean: The estimate; nan without a case and, if it is a difference, with fewer than two.
        interval: 95 % interval.
        standard_error: Standard error of the mean, from all `parts`.
        degrees_of_freedom: Degrees of freedom of the standard error.
        includes_seed_variance: Whether trainings of every model involved were repeated, so that the
            uncertainty holds for the models; if not, it is over cases alone, and holds only for
            these trained networks.
        parts: Contributions to the variance of the mean.
    """

    mean: float
    interval: Interval
    standard_error: float
    degrees_of_freedom: float
    includes_seed_variance: bool
    parts: tuple[VariancePart, ...] = ()


@dataclass(frozen=True)
class FoldTest:
    """A test that takes each fold's mean difference as one number; nan with fewer than two folds.

    Attributes:
        n_folds: Number of folds.
        mean: Mean over folds, all with the same weight.
        interval: Its 95 % interval.
        p: p value for a mean of zero, from the two-sided one-sample t test.
    """

    n_folds: int
    mean: float
    interval: Interval
    p: float


@dataclass(frozen=True)
class ModelSummary:
    """The results of one model by itself; undefined numbers are nan.

    Attributes:
        model: Name.
        n_cases: Number of cases with a score.
        n_undefined: Number of predictions left out because their score is undefined.
        n_partly_defined: Number of cases left out because only some trainings have a score of them.
        seeds: Seeds of its trainings; `None` is a training without one.
        estimate: Mean over cases of the mean over trainings, with its interval.
        seed_means: Mean over the cases for each seed that has all `n_cases`; without `None`.
        seed_standard_deviation: Standard deviation of `seed_means`.
        training_standard_deviation: Standard deviation between trainings of one fold, after
            subtracting the part that the cases alone explain.
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
    """A model against a baseline on the cases for which both have scores; nan where undefined.

    Attributes:
        model: Name.
        baseline: Name of the model that it is compared with.
        higher_is_better: Whether higher values of the metric are better.
        n_cases: Number of cases in the comparison.
        n_cases_left_out: Number of cases for which one of the two, or both, have no score.
        n_informative_left_out: Number of those that both have predicted and for which some training
            of one of the two has a score: they carry information that is not in the difference.
        n_clusters: Number of clusters of cases, such as patients; by default that of the cases.
        n_seeds: Trainings of the model per fold: the smallest number in any fold.
        n_baseline_seeds: The same for the baseline.
        n_comparisons: Number of comparisons that p values are corrected for.
        model_mean: Mean over the cases of the mean over trainings.
        baseline_mean: The same for the baseline.
        difference: Model minus baseline, with interval and standard error over cases, trainings
            and, with three folds or more, their training data: the wider of `pooled` and
            `unpooled`.
        pooled: The same with one variance between trainings for both models; `None` if one of
            them was not repeated.
        unpooled: The same with a separate variance for each (Welch, Satterthwaite).
        corrected_interval: Interval of `difference`, corrected for the number of comparisons in the
            same way as `p_difference_holm`: it excludes zero exactly if that is below 5 %.
        p_difference: p value for a mean difference of zero, from its standard error (two-sided t
            test): the larger of those of `pooled` and `unpooled`.
        p_difference_holm: The same after Holm's correction.
        p_wilcoxon: p value of Wilcoxon's signed-rank test of the per-case means over trainings or,
            if cases are clustered, of the means of the clusters. It ignores the luck of training,
            and so holds for these trained networks only.
        p_wilcoxon_holm: The same after Holm's correction.
        fold_test: A test of the folds' mean differences, each taken as one number, as a check of
            sensitivity.
        rank_biserial: Matched-pairs rank-biserial correlation, from -1 to 1: ranks of the cases
            where the model is higher minus those where it is lower, of all (Kerby 2014).
        cohen_d_z: Mean of the same differences divided by their standard deviation.
        smallest_detectable_difference: The mean difference that so many cases and trainings show
            with 80 % power, in a two-sided test at 5 % / `n_comparisons` (Bloom 1995); nan if none.
        repeats: The repetitions that `n_seeds` counts. On a test set, which every training
            predicts, they are the folds (means over their seeds), the trainings, or the ensembles.
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
    repeats: Repeats = "trainings per fold"

    @property
    def enough_cases(self) -> bool:
        """True if the rank test would be significant if the model were ahead in every case."""
        return bool(2.0 ** (1 - self.n_clusters) <= ALPHA / max(self.n_comparisons, 1))


@dataclass(frozen=True)
class ModelRank:
    """The rank of one model; ranks start at 1, and equal means share the better rank.

    Attributes:
        model: Name.
        mean: Mean over the cases.
        rank: Rank by that mean.
        rank_low: One plus the number of models that are better beyond doubt: those whose interval
            against this one, corrected for the number of other models, excludes zero.
        rank_high: The number of models minus those that are worse beyond doubt.
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
        """Share of the bootstraps in which the model comes first."""
        return self.shares[0]


@dataclass(frozen=True)
class RankStability:
    """The ranking of all models over bootstraps.

    Attributes:
        n_cases: Number of cases for which all models have scores.
        n_cases_left_out: Number of other cases.
        includes_seed_variance: Whether every model has repeated trainings.
        models: Ranks of each model, the best first.
        kendall_tau: Mean over bootstraps of Kendall's tau-b with the observed ranking.
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
    """The rate at which a model predicted a label where there is none, or missed one entirely.

    Attributes:
        model: Name.
        n_events: Number of predictions of a label in which it happened.
        n_predictions: Number of predictions in which it could have, over all trainings.
        n_cases: Number of pairs of case and label behind them.
        rate: Share of trainings in which it happened, averaged over those pairs.
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
        n_cases: Number of its cases for which both have a score.
        n_clusters: Number of clusters of these cases.
        difference: Model minus baseline in these cases.
        contrast: The difference in these cases minus that in all others.
        p_contrast: p value for a contrast of zero.
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
        p_interaction: p value for the difference being the same in all of them: the smallest
            `p_contrast`, after Bonferroni's correction for their number; two groups have one
            contrast.
        p_interaction_holm: The same after Holm's correction for the number of comparisons.
    """

    model: str
    baseline: str
    groups: tuple[GroupDifference, ...]
    p_interaction: float
    p_interaction_holm: float


@dataclass(frozen=True)
class Margin:
    """A model against a baseline, judged by the smallest difference that matters.

    Attributes:
        model: Name.
        baseline: Name of what it is compared with.
        margin: That difference, in the metric's own unit.
        interval: Interval of the difference, which decides the outcome.
        outcome: The result; it holds for the trained networks only if a model was not repeated.
        probability: Probability that the model is better by more than the margin: the share of the
            confidence distribution of the difference beyond it.
        cheaper: Ratio of each cost to that of the baseline, if none is higher and one is lower.
        same_at_less_cost: Whether it is equivalent or not inferior, and cheaper.
        to_settle: Numbers of seeds per fold, of folds, or of cases in all that would settle it,
            each with everything else unchanged; `None` if no number would, and empty if it is
            settled.
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
    """Agreement of a model's volumes of a label with the reference; nan with fewer than two cases.

    Attributes:
        model: Name.
        label: Name.
        n_cases: Number of cases, including those without the label.
        bias: Mean over cases of the predicted volume (the mean over trainings) minus the
            reference's; in cubes of the unit of the spacing, in 2D squares.
        interval: Its 95 % interval over cases, or over their clusters.
        standard_deviation: Standard deviation of the differences of the cases.
        low: Lower limit of agreement: the bias minus 1.96 standard deviations.
        high: Upper limit of agreement.
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
    """All statistics of the models in one metric.

    Attributes:
        summaries: Each model by itself.
        comparisons: Each model against the baseline.
        controls: Each model against its own controls.
        pairs: Every pair of models, corrected for the number of pairs; only for Dice.
        rank_stability: The ranking; `None` if no two models have cases in common.
        groups: The comparisons in subgroups of the cases; empty if there are none.
        margins: The comparisons by the smallest difference that matters; empty without a margin.
        rates: Rates of false alarms or misses; empty for other metrics.
        agreement: Agreement of volumes, by model and label; only for `volume_bias`.
    """

    summaries: tuple[ModelSummary, ...] = ()
    comparisons: tuple[ModelComparison, ...] = ()
    controls: tuple[ModelComparison, ...] = ()
    rank_stability: RankStability | None = None
    groups: tuple[GroupComparison, ...] = ()
    margins: tuple[Margin, ...] = ()
    rates: tuple[Rate, ...] = ()
    agreement: tuple[VolumeAgreement, ...] = ()
    pairs: tuple[ModelComparison, ...] = ()
