"""What the statistics are computed from."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

from umamba.comparison.analysis import analyse, compared_scores
from umamba.evaluation.metrics import METRICS


def row_of(model: str, label: str, empty: str | None, **metrics: float | None) -> dict[str, Any]:
    head = {"model": model, "fold": 0, "seed": 0, "case": "a", "label": label}
    return head | {"metrics": metrics, "empty": empty}


def test_a_model_gains_nothing_by_missing_a_label() -> None:
    cell = {"fold": 0, "seed": 0, "compared": True}
    results = {
        "cells": [cell | {"model": "finds"}, cell | {"model": "misses"}],
        "cases": [
            row_of("finds", "liver", None, dice=0.9, hd95=2.0),
            row_of("finds", "tumour", None, dice=0.5, hd95=30.0),
            row_of("finds", "cyst", "both", dice=None, hd95=None),
            row_of("misses", "liver", None, dice=0.9, hd95=2.0),
            row_of("misses", "tumour", "prediction", dice=0.0, hd95=None),
            row_of("misses", "cyst", "reference", dice=0.0, hd95=None),
        ],
    }
    finds, misses = (score.value for score in compared_scores(results, "hd95"))
    assert finds == 16.0
    assert math.isnan(misses)
    dice = [score.value for score in compared_scores(results, "dice")]
    assert dice == pytest.approx([0.7, 0.3])


@pytest.mark.parametrize(("said", "sources_of_luck"), [("independent", 6), (None, 3)])
def test_trainings_of_older_versions_are_crossed_with_their_seeds(
    said: str | None, sources_of_luck: int
) -> None:
    rng = np.random.default_rng(0)
    cells, rows = [], []
    for model, fold, seed in product(("net", "new"), (0, 1), (0, 1, 2)):
        head = {"model": model, "fold": fold, "seed": seed}
        cells.append(head | {"compared": True} | ({} if said is None else {"seeds": said}))
        for case in range(10):
            value = float(0.8 + 0.1 * seed + rng.normal(0, 0.001))
            metrics = dict.fromkeys(METRICS, value)
            case_head = {"case": f"{fold}_{case}", "label": "liver", "empty": None}
            rows.append(head | case_head | {"metrics": metrics})
    results = {"cells": cells, "cases": rows, "instances": [], "curves": []}
    results |= {"models": [{"name": "net"}, {"name": "new"}], "settings": {"baseline": "net"}}
    (comparison,) = analyse(results)["statistics"]["dice"]["comparisons"]
    # the variance between trainings is 0.01; a mean is of 6 trainings, or of 3 that are pairs
    error = (2 * 0.01 / sources_of_luck) ** 0.5
    assert comparison["difference"]["standard_error"] == pytest.approx(error, rel=0.02)
