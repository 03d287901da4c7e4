"""What the statistics are computed from."""

import math
from typing import Any

import pytest

from umamba.comparison.analysis import compared_scores


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
