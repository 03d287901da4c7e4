"""The card of a shared model says what its folds were trained on, in names and with axes."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from scipy import stats

from plans_factory import DATASET_JSON
from toy_model import toy_plans
from umamba.errors import ModelFileError
from umamba.nnunet.sharing.fold_facts import count_cases, count_iterations
from umamba.nnunet.sharing.hub_metadata import check_for_hub, validate
from umamba.nnunet.sharing.manifest import FoldRecord, Manifest
from umamba.nnunet.sharing.model_card import model_card
from umamba.runtime.pipeline import ComparedCase, EngineCheck, NetworkFile


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
    plans, validation = toy_plans() | changes.pop("plans", {}), changes.pop("validation", None)
    networks = changes.pop("networks", ())
    text = model_card(manifest, DATASET_JSON | changes, plans, validation, networks)
    return re.sub(" +", " ", text)  # cells without their alignment


def test_folds_have_their_own_cases_and_lengths() -> None:
    record = FoldRecord("w", "nnUNetTrainer", None, 2, 500, training_cases=12, validation_cases=3)
    text = card({"0": record, "all": FoldRecord("w", "nnUNetTrainer", None, None)})
    assert "| fold | training cases | validation cases | epochs | iterations |" in text
    assert "| 0 | 12 | 3 | 2 | 500 |" in text
    assert "| all | not known | not known | not known | not known |" in text


def metadata(text: str) -> dict[str, Any]:
    front = yaml.safe_load(text.split("---\n")[1])
    assert text.startswith("---\n")
    assert front["library_name"] == "nnunet"
    assert front["pipeline_tag"] == "image-segmentation"
    return front


def test_the_hub_reads_licence_and_results_with_their_interval() -> None:
    dice = [0.9, 0.8, 0.7, 0.85]
    cases = [
        {"metrics": {"1": {"Dice": d - 0.1}, "2": {"Dice": d + 0.1}, "3": {"Dice": float("nan")}}}
        for d in dice
    ]
    nothing = {"metrics": {"1": {"Dice": float("nan")}}}
    summaries = {
        "0": {"metric_per_case": [*cases[:3], nothing]},
        "1": {"metric_per_case": cases[3:]},
        "all": {"metric_per_case": [{"metrics": {"1": {"Dice": 0.0}}}]},
    }
    found = validate(summaries)
    low, high = stats.t.interval(0.95, 3, np.mean(dice), stats.sem(dice))
    assert found is not None
    assert vars(found) == pytest.approx({"n_cases": 4, "mean": 0.8125, "low": low, "high": high})
    front = metadata(card({}, validation=found, licence="CC BY-SA 4.0"))
    assert front["license"] == "cc-by-sa-4.0"
    (result,) = front["model-index"][0]["results"]
    assert result["task"] == {"type": "image-segmentation"}
    assert result["dataset"]["type"] == "Dataset901_Toy"
    (metric,) = result["metrics"]
    assert (metric["type"], metric["value"]) == ("dice", 0.8125)
    interval = [round(float(low), 4), round(float(high), 4)]
    assert metric["args"]["confidence_interval_95"] == interval
    assert f"4 cases, 95 % interval {interval[0]:.4f} to {interval[1]:.4f}" in metric["name"]


def test_names_are_text_in_the_front_matter_and_what_is_unknown_is_left_out() -> None:
    hostile = 'ours: "x"\n---\nlibrary_name: other'
    front = metadata(card({}, licence=hostile))
    assert front["license"] == "other"
    assert front["license_name"] == "ours-x-n-nlibrary-name-other"
    assert "license_link" not in front
    bare = metadata(card({}, licence=None))
    assert not {"license", "license_name", "model-index"} & bare.keys()
    assert validate({"0": {"metric_per_case": [{"prediction_file": "x"}]}}) is None
    one = validate({"0": {"metric_per_case": [{"metrics": {"1": {"Dice": 0.5}}}]}})
    (metric,) = metadata(card({}, validation=one))["model-index"][0]["results"][0]["metrics"]
    assert metric == {"type": "dice", "value": 0.5, "name": "mean Dice of 1 case"}
    with pytest.raises(ModelFileError, match="needs a licence, and dataset"):
        check_for_hub(None, one)
    with pytest.raises(ModelFileError, match="needs the Dice of a validation"):
        check_for_hub("MIT", None)


@pytest.mark.parametrize(
    ("named", "known"),
    [
        ("CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)", "cc-by-4.0"),
        ("CC BY 4.0 (http://creativecommons.org/licenses/by/4.0/)", "cc-by-4.0"),
        ("MIT License", "mit"),
        ("The MIT License", "mit"),
        ("CC BY 4.0 International", "cc-by-4.0"),
        ("Creative Commons Attribution 4.0 International License", "cc-by-4.0"),
        ("Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0.", "apache-2.0"),
        ("CC0", "cc0-1.0"),
    ],
)
def test_a_licence_keeps_its_name_with_its_address(named: str, known: str) -> None:
    front = metadata(card({}, licence=named))
    assert front["license"] == known
    assert not {"license_name", "license_link"} & front.keys()


def test_a_licence_that_the_hub_does_not_know_has_an_id_and_an_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    licence = "Data Use Agreement 1.5 (https://physionet.org/about/dua)"
    front = metadata(card({}, licence=licence))
    assert front["license"] == "other"
    assert front["license_name"] == "data-use-agreement-1.5"
    assert front["license_link"] == "https://physionet.org/about/dua"
    assert licence in card({}, licence=licence).split("## Licence")[1]
    assert metadata(card({}, licence="§§"))["license_name"] == "other"
    end_of_sentence = metadata(card({}, licence="Ours: https://a.org/b."))
    assert end_of_sentence["license_link"] == "https://a.org/b"
    one = validate({"0": {"metric_per_case": [{"metrics": {"1": {"Dice": 0.5}}}]}})
    check_for_hub("MIT", one)
    check_for_hub(licence, one)
    assert not caplog.messages
    check_for_hub("ours", one)
    assert "the hub does not know the licence 'ours'; add its address as license" in caplog.text


def test_onnx_files_are_described_with_what_was_compared() -> None:
    check = EngineCheck(largest_difference=1e-6, seconds=0.5, differing_voxels=7)
    network = NetworkFile(
        fold="0",
        file="fold_0.onnx",
        sha256="0" * 64,
        bytes=1,
        checks={"openvino": check},
        case=ComparedCase(origin="an image", voxels=4096),
    )
    text = card({}, networks=[network])
    assert "| `fold_0.onnx` | openvino | 1.0e-06 | 0.5 | 7 |" in text
    assert "than by torch; there two logits are closer than 0.0022 of\nthe largest" in text
    assert "of the size above alone; two at once were compared, too." in text
    other = msgspec.structs.replace(network, other_patch=(6, 8, 8))
    assert "two patches at once of 6 x 8 x 8 voxels" in card({}, networks=[other])


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
