"""What the statistics are computed from."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from small_results import finished, results_of, scored
from umamba.comparison.rows import Training
from umamba.comparison.statistics.analysis import analyse, compared_scores
from umamba.evaluation.metrics import METRICS
from umamba.nnunet.training.seed_streams import SHARED


def test_a_model_gains_nothing_by_missing_a_label() -> None:
    finds, misses = Training("finds", 0, 0), Training("misses", 0, 0)
    cases = [
        scored(finds, "a", "liver", dice=0.9, hd95=2.0),
        scored(finds, "a", "tumour", dice=0.5, hd95=30.0),
        scored(finds, "a", "cyst", "both", dice=None, hd95=None),
        scored(misses, "a", "liver", dice=0.9, hd95=2.0),
        scored(misses, "a", "tumour", "prediction", dice=0.0, hd95=None),
        scored(misses, "a", "cyst", "reference", dice=0.0, hd95=None),
    ]
    results = results_of([finished(finds), finished(misses)], cases)
    found, missed = (score.value for score in compared_scores(results, "hd95"))
    assert found == 16.0
    assert math.isnan(missed)
    dice = [score.value for score in compared_scores(results, "dice")]
    assert dice == pytest.approx([0.7, 0.3])
    left_out = replace(results.trainings[1], compared=False)
    results = replace(results, trainings=(results.trainings[0], left_out))
    assert {score.model for score in compared_scores(results, "dice")} == {"finds"}
    assert compared_scores(results, "cldice") == []


@pytest.mark.parametrize(("said", "sources_of_luck"), [("independent", 6), (SHARED, 3)])
def test_trainings_of_older_versions_are_crossed_with_their_seeds(
    said: str, sources_of_luck: int
) -> None:
    rng = np.random.default_rng(0)
    trainings, rows = [], []
    for model, fold, seed in product(("net", "new"), (0, 1), (0, 1, 2)):
        training = Training(model, fold, seed)
        trainings.append(finished(training, said))
        for case in range(10):
            value = float(0.8 + 0.1 * seed + rng.normal(0, 0.001))
            metrics = dict.fromkeys(METRICS, value)
            rows.append(scored(training, f"{fold}_{case}", "liver", **metrics))
    (comparison,) = analyse(results_of(trainings, rows)).dice.comparisons
    # the variance between trainings is 0.01; a mean is of 6 trainings, or of 3 that are pairs
    error = (2 * 0.01 / sources_of_luck) ** 0.5
    assert comparison.difference.standard_error == pytest.approx(error, rel=0.02)
