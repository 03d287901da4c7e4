"""Bland and Altman's bias and limits, beside scipy's t test and by hand, and in the summary."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from small_results import finished, results_of, scored
from umamba.comparison.report.summary_tables import volumes_table
from umamba.comparison.results import Results, from_plain, to_plain
from umamba.comparison.rows import CaseRow, Training
from umamba.comparison.statistics.agreement import volume_agreement
from umamba.comparison.statistics.analysis import analyse


def rows_of(training: Training, volumes: Sequence[tuple[float, float]]) -> list[CaseRow]:
    rows = []
    for number, (predicted, referred) in enumerate(volumes):
        row = scored(training, f"case_{number}", "organ", dice=0.9, volume_bias=0.1)
        volumes_of_case = {
            "reference_volume": float(referred),
            "prediction_volume": float(predicted),
        }
        rows.append(replace(row, **volumes_of_case))
    return rows


def test_bias_and_limits() -> None:
    rng = np.random.default_rng(0)
    referred = rng.uniform(50, 100, 20)
    repeats = [referred + rng.normal(3, 5, 20) for _ in range(2)]
    trainings = [Training("net", 0, seed) for seed in range(2)]
    rows = [
        row
        for training, predicted in zip(trainings, repeats, strict=True)
        for row in rows_of(training, list(zip(predicted.tolist(), referred.tolist(), strict=True)))
    ]
    (found,) = volume_agreement(rows, trainings)
    differences = (repeats[0] + repeats[1]) / 2 - referred
    interval = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found.model, found.label, found.n_cases) == ("net", "organ", 20)
    assert found.bias == pytest.approx(differences.mean())
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(interval))
    assert found.standard_deviation == pytest.approx(np.std(differences, ddof=1))
    assert found.low == pytest.approx(differences.mean() - 1.96 * differences.std(ddof=1))
    # trainings that are not compared do not count
    (alone,) = volume_agreement(rows, trainings[:1])
    assert alone.bias == pytest.approx((repeats[0] - referred).mean())


def test_slices_of_a_patient_count_as_one() -> None:
    training = Training("net", 0, 0)
    rng = np.random.default_rng(0)
    patients = rng.normal(0, 5, 8)
    rows = rows_of(training, [(100 + float(patients[n // 3]), 100) for n in range(24)])
    clusters = {f"case_{n}": f"patient {n // 3}" for n in range(24)}
    (found,) = volume_agreement(rows, [training], clusters)
    interval = stats.ttest_1samp(patients, 0).confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(interval))
    assert found.bias == pytest.approx(patients.mean())
    (alone,) = volume_agreement(rows, [training])
    assert alone.interval.high - alone.interval.low < 0.7 * (interval.high - interval.low)
    (one,) = volume_agreement(rows, [training], dict.fromkeys(clusters, "all"))
    assert math.isnan(one.interval.low)


def test_volumes_by_hand_and_single_cases() -> None:
    training = Training("net", 0, None)
    (found,) = volume_agreement(rows_of(training, [(12, 10), (10, 10), (0, 4)]), [training])
    assert found.bias == pytest.approx(-2 / 3)
    assert found.standard_deviation == pytest.approx(math.sqrt(28 / 3))
    (single,) = volume_agreement(rows_of(training, [(12, 10)]), [training])
    assert math.isnan(single.bias)
    assert math.isnan(single.low)


def test_agreement_is_in_the_results_and_the_summary() -> None:
    training, other = Training("net", 0, 0), Training("new", 0, 0)
    rows = [
        *rows_of(training, [(12, 10), (10, 10), (0, 4)]),
        *rows_of(other, [(1200.5, 10), (900, 10), (1000, 4)]),
    ]
    analysed = analyse(results_of([finished(training), finished(other)], rows))
    again = from_plain(to_plain(analysed), Results)
    assert [one.model for one in again.of("volume_bias").agreement] == ["net", "new"]
    # a signed difference makes no model better
    assert again.of("volume_bias").comparisons == ()
    assert again.of("volume_bias").rank_stability is None
    cells = volumes_table(again).rows[0]
    minus = "\N{MINUS SIGN}"
    assert cells[:3] == ("organ", "net", "3")
    assert cells[3].startswith(f"{minus}0.67 [")
    assert cells[4:] == ("3.06", f"{minus}6.65 to 5.32")
    assert volumes_table(results_of([finished(training)], [])).to_markdown() == ""


def test_a_metric_that_some_trainings_were_not_measured_by_is_undefined_there() -> None:
    trainings = Training("net", 0, 0), Training("new", 0, 0)
    rows = [
        scored(training, f"case_{case}", "organ", dice=0.5 + case / 10, **more)
        for training, more in zip(trainings, ({}, {"cldice": 0.25}), strict=True)
        for case in range(3)
    ]
    analysed = analyse(results_of([finished(training) for training in trainings], rows))
    means = {s.model: s.estimate.mean for s in analysed.of("cldice").summaries}
    assert means == {"new": 0.25}
