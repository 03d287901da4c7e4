"""Agreement of predicted volumes with those of the references, after Bland and Altman."""

import math
from collections.abc import Collection, Iterable, Mapping
from statistics import fmean

import numpy as np
from scipy import stats

from umamba.comparison.records import Interval, VolumeAgreement
from umamba.comparison.rows import CaseRow, Training
from umamba.comparison.statistics.scores import number_clusters
from umamba.comparison.statistics.variance import cluster_sums

__all__ = ["volume_agreement"]

_WITHIN_LIMITS = 1.96  # standard deviations on either side, for 95 % of normal differences


def volume_agreement(
    rows: Iterable[CaseRow],
    compared: Collection[Training],
    clusters: Mapping[str, str] | None = None,
) -> tuple[VolumeAgreement, ...]:
    """Return the agreement of each model and label, in the order of the rows.

    Args:
        rows: Cases with their volumes.
        compared: The trainings that count.
        clusters: Per case what it belongs to, such as a patient; the interval of the bias then
            counts patients, not slices, with the variance of Liang and Zeger 1986.

    Source:
        Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8. The volumes of a case from several
        trainings are averaged first, so that a case counts once.
    """
    differences: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        if row.training in compared:
            of_case = differences.setdefault((row.model, row.label), {})
            off = row.prediction_volume - row.reference_volume
            of_case.setdefault(row.case, []).append(off)
    return tuple(
        _agreement(*key, {case: fmean(values) for case, values in of_case.items()}, clusters or {})
        for key, of_case in differences.items()
    )


def _agreement(
    model: str, label: str, of_case: Mapping[str, float], clusters: Mapping[str, str]
) -> VolumeAgreement:
    differences = np.array(list(of_case.values()))
    numbers = number_clusters(list(of_case), clusters)
    n_cases, n_clusters = len(differences), int(numbers.max()) + 1
    if n_clusters < 2:
        nothing = Interval(math.nan, math.nan)
        return VolumeAgreement(
            model, label, n_cases, math.nan, nothing, math.nan, math.nan, math.nan
        )
    bias, deviation = float(differences.mean()), float(np.std(differences, ddof=1))
    sums = cluster_sums((differences - bias)[None], numbers)[0]
    error = math.sqrt(n_clusters / (n_clusters - 1) * float(np.sum(sums**2))) / n_cases
    arm = float(stats.t.ppf(0.975, n_clusters - 1)) * error
    reach = _WITHIN_LIMITS * deviation
    interval = Interval(bias - arm, bias + arm)
    return VolumeAgreement(
        model, label, n_cases, bias, interval, deviation, bias - reach, bias + reach
    )
