"""Whether predicted volumes agree with those of the references, after Bland and Altman."""

import math
from collections.abc import Collection, Iterable, Sequence
from statistics import fmean

import numpy as np
from scipy import stats

from umamba.comparison.records import Interval, VolumeAgreement
from umamba.comparison.rows import CaseRow, Training

__all__ = ["volume_agreement"]

_WITHIN_LIMITS = 1.96  # standard deviations to either side, for 95 % of normal differences


def volume_agreement(
    rows: Iterable[CaseRow], compared: Collection[Training]
) -> tuple[VolumeAgreement, ...]:
    """Return the agreement of each model and label, in the order of the rows.

    Args:
        rows: Cases, with their volumes.
        compared: The trainings that count.

    Source:
        Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8. Several trainings' volumes of a
        case are averaged first, so that a case counts once.
    """
    differences: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        if row.training in compared:
            of_case = differences.setdefault((row.model, row.label), {})
            off = row.prediction_volume - row.reference_volume
            of_case.setdefault(row.case, []).append(off)
    return tuple(
        _agreement(*key, [fmean(values) for values in of_case.values()])
        for key, of_case in differences.items()
    )


def _agreement(model: str, label: str, differences: Sequence[float]) -> VolumeAgreement:
    n_cases = len(differences)
    if n_cases < 2:
        nothing = Interval(math.nan, math.nan)
        return VolumeAgreement(
            model, label, n_cases, math.nan, nothing, math.nan, math.nan, math.nan
        )
    bias, deviation = fmean(differences), float(np.std(differences, ddof=1))
    arm = float(stats.t.ppf(0.975, n_cases - 1)) * deviation / math.sqrt(n_cases)
    reach = _WITHIN_LIMITS * deviation
    interval = Interval(bias - arm, bias + arm)
    return VolumeAgreement(
        model, label, n_cases, bias, interval, deviation, bias - reach, bias + reach
    )
