"""What is said of a model, and of a model against another."""

from dataclasses import dataclass

from umamba.comparison.bootstrap import Interval, MeanEstimate
from umamba.comparison.paired_tests import FoldTest
from umamba.comparison.pairs import most_careful
from umamba.comparison.records import Record

__all__ = ["ALPHA", "POWER", "ModelComparison", "ModelSummary"]

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class ModelSummary(Record):
    """What one model reached; numbers that are undefined are nan.

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
class ModelComparison(Record):
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

    def interval_at(self, confidence: float) -> Interval:
        """Return the interval of another confidence: that of the estimate that is widest there."""
        estimates = [e for e in (self.pooled, self.unpooled) if e is not None] or [self.difference]
        return most_careful(estimates, confidence).interval_at(confidence)

    @property
    def enough_cases(self) -> bool:
        """Tell whether the rank test could be significant, were the model ahead in every case."""
        return bool(2.0 ** (1 - self.n_clusters) <= ALPHA / max(self.n_comparisons, 1))
