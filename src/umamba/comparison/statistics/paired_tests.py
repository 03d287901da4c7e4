"""Tests and effect sizes of paired differences, and the correction for several tests."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from umamba.comparison.records import FoldTest, Interval, MeanEstimate
from umamba.comparison.statistics.bootstrap import CONFIDENCE

__all__ = ["cohen_d_z", "fold_test", "holm", "holm_steps", "rank_biserial", "t_test"]
__all__ += ["wilcoxon"]

# Of so many tied differences `stats.wilcoxon` tries all signs, too, but one after the other.
_MOST_SIGNS = 13


def t_test(difference: MeanEstimate) -> float:
    """Return the two-sided p value for a mean difference of zero, from its standard error."""
    if difference.mean == difference.standard_error == 0:
        return 1.0
    t = abs(difference.mean) / difference.standard_error if difference.standard_error else np.inf
    return float(2 * stats.t.sf(t, difference.degrees_of_freedom))


def fold_test(differences: Float[np.ndarray, " folds"]) -> FoldTest:
    """Test the folds' mean differences, the basis of statements on other training data.

    Folds of a cross-validation share training data, so even this test is slightly overconfident
    (Bengio & Grandvalet, No unbiased estimator of the variance of k-fold cross-validation, 2004).
    """
    mean = float(differences.mean()) if differences.size else float("nan")
    if differences.size < 2 or np.ptp(differences) == 0:
        nan = float("nan")
        return FoldTest(differences.size, mean, Interval(nan, nan), nan)
    error, degrees = float(stats.sem(differences)), differences.size - 1
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, degrees))
    return FoldTest(differences.size, mean, Interval(mean - reach, mean + reach), p)


def wilcoxon(differences: Float[np.ndarray, " cases"]) -> float:
    """Return the two-sided p value of Wilcoxon's signed-rank test; nan with fewer than two cases.

    Cases without a difference are ranked as well, but take no side (Pratt 1959).
    """
    if differences.size < 2:
        return float("nan")
    if not differences.any():
        return 1.0
    sizes = np.abs(differences)
    tied = np.unique(sizes).size < sizes.size or not sizes.all()
    if tied and differences.size <= _MOST_SIGNS:
        permuted = stats.permutation_test(
            (differences,), _positive_ranks, permutation_type="samples", vectorized=True
        )
        return float(permuted.pvalue)
    return float(stats.wilcoxon(differences, zero_method="pratt").pvalue)


def _positive_ranks(
    differences: Float[np.ndarray, "... cases"], axis: int
) -> Float[np.ndarray, "..."]:
    """Return the sum of the ranks of the positive differences."""
    ranks = stats.rankdata(np.abs(differences), axis=axis)
    return np.asarray((ranks * (differences > 0)).sum(axis=axis))


def rank_biserial(differences: Float[np.ndarray, " cases"]) -> float:
    """Return the matched-pairs rank-biserial correlation (Kerby 2014), from -1 to 1.

    It is the ranks of the positive differences minus those of the negative ones, as a share of all
    ranks; cases without a difference are ranked as well. Without cases it is nan.
    """
    if not differences.size:
        return float("nan")
    ranks = stats.rankdata(np.abs(differences))
    return float((np.sign(differences) * ranks).sum() / ranks.sum())


def cohen_d_z(differences: Float[np.ndarray, " cases"]) -> float:
    """Return mean / standard deviation; nan if that is zero, or with fewer than two cases."""
    if differences.size < 2 or np.ptp(differences) == 0:
        return float("nan")
    return float(differences.mean() / differences.std(ddof=1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number (Holm 1979).

    Args:
        p_values: Uncorrected p values; those that are nan do not count.

    Returns:
        Corrected p values in the same order. The probability that any of those below 0.05 is false
        is at most 5 %.
    """
    corrected = [float("nan")] * len(p_values)
    tested = [index for index, p in enumerate(p_values) if np.isfinite(p)]
    largest = 0.0
    for rank, index in enumerate(sorted(tested, key=lambda i: p_values[i])):
        largest = max(largest, min((len(tested) - rank) * p_values[index], 1.0))
        corrected[index] = largest
    return corrected


def holm_steps(p_values: Sequence[float], alpha: float) -> list[int]:
    """Return the number by which Holm's method divides 5 % for each of several tests.

    An interval at that confidence excludes zero exactly if the corrected p value is below 5 %:
    tests after the first that fails have its level (Strassburger & Bretz 2008).

    Args:
        p_values: Uncorrected p values; those that are nan get 1.
        alpha: The level of all of them together.
    """
    steps = [1] * len(p_values)
    tested = sorted((i for i, p in enumerate(p_values) if np.isfinite(p)), key=p_values.__getitem__)
    divisor = len(tested)
    failed = False
    for index in tested:
        steps[index] = divisor
        failed = failed or p_values[index] * divisor >= alpha
        divisor -= not failed
    return steps
