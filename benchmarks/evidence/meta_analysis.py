"""One estimate from several data sets: a random-effects meta-analysis."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.evidence.effects import Effect
from umamba.comparison.records import Interval

__all__ = ["Combined", "combine"]

_UNKNOWN = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class Combined:
    """An effect over data sets, in the unit of theirs.

    Attributes:
        k: Number of data sets.
        estimate: Mean of the effects of data sets such as these.
        standard_error: Its standard error.
        interval: Its interval at 95 %; that of the data set if there is one only.
        tau: Standard deviation of true effects between data sets; nan with one.
        prediction: The interval that holds the true effect in another such data set with 95 %
            probability; nan with fewer than three.
        weights: Weight of each data set.
    """

    k: int
    estimate: float
    standard_error: float
    interval: Interval
    tau: float
    prediction: Interval
    weights: dict[str, float]


def combine(effects: Mapping[str, Effect]) -> Combined:
    """Combine the effects of data sets, whose true effects differ.

    The variance between data sets is that of Paule and Mandel, which needs no iteration over
    likelihoods and holds its level better than that of DerSimonian and Laird with few data sets
    (Veroniki et al. 2016). The interval is that of Hartung and Knapp, by Student's distribution
    with one degree of freedom less than data sets; its variance is never taken to be smaller than
    that of the ordinary random-effects mean, as with so few data sets the former is sometimes far
    too small by chance (Roever, Knapp and Friede 2015). The prediction interval is that of Higgins,
    Thompson and Spiegelhalter (2009).

    Args:
        effects: The effects by name of the data set, at least one.

    Returns:
        The estimate over data sets.
    """
    if len(effects) == 1:
        ((name, only),) = effects.items()
        error, weights = only.standard_error, {name: 1.0}
        return Combined(1, only.estimate, error, only.interval, math.nan, _UNKNOWN, weights)
    from statsmodels.stats.meta_analysis import combine_effects

    k = len(effects)
    estimates = np.array([effect.estimate for effect in effects.values()])
    variances = np.array([effect.standard_error**2 for effect in effects.values()])
    fitted = combine_effects(estimates, variances, method_re="pm")
    mean = float(fitted.mean_effect_re)
    error = float(max(fitted.sd_eff_w_re_hksj, fitted.sd_eff_w_re))
    tau = math.sqrt(max(float(fitted.tau2), 0.0))
    new = _around(mean, math.hypot(error, tau), k - 2) if k > 2 else _UNKNOWN
    weights = dict(zip(effects, map(float, fitted.weights_rel_re), strict=True))
    return Combined(k, mean, error, _around(mean, error, k - 1), tau, new, weights)


def _around(mean: float, error: float, degrees_of_freedom: int) -> Interval:
    arm = error * float(stats.t.ppf(0.975, degrees_of_freedom))
    return Interval(mean - arm, mean + arm)
