"""The card of a shared model says what its folds were trained on, in names and with axes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from plans_factory import DATASET_JSON
from toy_model import toy_plans
from umamba.nnunet.sharing.fold_facts import count_cases, count_iterations
from umamba.nnunet.sharing.manifest import FoldRecord, Manifest
from umamba.nnunet.sharing.model_card import model_card


def card(
    folds: dict[str, FoldRecord],
    metrics: Any = None,
    trainer: str = "nnUNetTrainerUMamba",
    **changes: Any,
) -> str:
    manifest = Manifest(
        dataset="Dataset901_Toy",
        trainer=trainer,
        plans_name="plans",
        configuration="3d_fullres",
        folds=folds,
        versions={},
        metrics=metrics or {},
        files={},
    )
    plans = toy_plans() | changes.pop("plans", {})
    text = model_card(manifest, DATASET_JSON | changes, plans)
    return re.sub(" +", " ", text)  # cells without their alignment


def test_folds_have_their_own_cases_and_lengths() -> None:
    record = FoldRecord("w", "nnUNetTrainer", None, 2, 500, training_cases=12, validation_cases=3)
    text = card({"0": record, "all": FoldRecord("w", "nnUNetTrainer", None, None)})
    assert "| fold | training cases | validation cases | epochs | iterations |" in text
    assert "| 0 | 12 | 3 | 2 | 500 |" in text
    assert "| all | not known | not known | not known | not known |" in text


def test_the_recipe_is_that_of_the_trainer() -> None:
    text = card({}, trainer="nnUNetTrainerUMambaAdamW")
    assert "| trainer | `nnUNetTrainerUMambaAdamW`: AdamW as in Wald et al. 2025" in text
    assert "| trainer | `theirs` |" in card({}, trainer="theirs")


def test_metrics_name_labels_and_regions() -> None:
    labels = {"background": 0, "whole|all": [1, 2], "core": [2], "edge": "3"}
    dice = {"(1, 2)": 0.5, "2": 0.25, "3": None, "4": 1.0}
    text = card({}, {"0": {"cases": 4, "mean_dice": 0.4, "dice": dice}}, labels=labels)
    assert r"| fold | cases | mean Dice | whole\|all | core | edge | label 4 |" in text
    assert "| 0 | 4 | 0.4000 | 0.5000 | 0.2500 | not in any case | 1.0000 |" in text


@pytest.mark.parametrize(
    ("order", "axes"), [([0, 1, 2], "z, y, x"), ([2, 0, 1], "x, z, y"), ([1, 0, 2], "y, z, x")]
)
def test_sizes_say_whose_axes_they_are_of(order: list[int], axes: str) -> None:
    text = card({}, plans={"transpose_forward": order})
    assert f"| patch size in voxels ({axes}) | 8 x 16 x 16 |" in text
    assert f"| spacing in mm ({axes}) | 2 x 1.2 x 1 |" in text


def test_flat_pictures_have_two_axes_and_no_millimetres() -> None:
    plans = toy_plans()
    plans["configurations"]["3d_fullres"] |= {"patch_size": [32, 64], "spacing": [1.0, 1.0]}
    text = card({}, plans=plans, file_ending=".png")
    assert "| patch size in voxels (y, x) | 32 x 64 |" in text
    assert "| spacing in pixels (y, x) | 1 x 1 |" in text


def test_cases_are_counted_where_the_training_noted_them(tmp_path: Path) -> None:
    splits = tmp_path / "splits_final.json"
    splits.write_text(json.dumps([{"train": ["a", "b"], "val": ["c"]}]))
    fold, whole, later = (tmp_path / f"fold_{name}" for name in ("0", "all", "1"))
    for folder in (fold, whole, later):
        folder.mkdir()
    assert count_cases(fold, {}, splits) == (2, 1)
    assert count_cases(fold, {}, None) == (None, None)
    assert count_cases(later, {}, splits) == (None, None)
    assert count_cases(whole, {"numTraining": 7}, splits) == (7, 7)
    line = "2026-01-01: This split has {} training and 3 validation cases.\n"
    (fold / "training_log_2026_1_1.txt").write_text(line.format(99))
    (fold / "training_log_2026_1_2.txt").write_text(line.format(98) + line.format(12))
    assert count_cases(fold, {}, splits) == (12, 3)


def test_iterations_are_known_of_our_recipe_and_of_nnunets_own() -> None:
    ours = {"current_epoch": 3, "umamba": {"iterations_per_epoch": 7}}
    assert count_iterations(ours, "nnUNetTrainerUMamba") == 21
    assert count_iterations({"current_epoch": 4}, "nnUNetTrainer") == 1000
    assert count_iterations({"current_epoch": 4}, "nnUNetTrainer_5epochs") is None
    assert count_iterations({}, "nnUNetTrainer") is None
