"""Files that a comparison keeps for itself, as earlier versions wrote them."""

import json
import math
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from umamba.comparison.rows import Cost, Training
from umamba.comparison.runs import cost
from umamba.comparison.runs.budget import Budget, Length
from umamba.comparison.runs.finished import read_details
from umamba.comparison.runs.planning import Asked, ComparisonRequest
from umamba.comparison.runs.requests import CompareRequest
from umamba.comparison.runs.settings import extend_request, read_lengths, write_settings
from umamba.comparison.training_options import TrainingOptions
from umamba.errors import UMambaError
from umamba.evaluation.settings import EvaluationSettings

SETTINGS = """\
{
  "schema_version": 1,
  "dataset": "Dataset004_Hippocampus",
  "configuration": "3d_fullres",
  "source": "nnUNetPlans",
  "budget": {
    "hours": 1.5
  },
  "features": [
    8,
    16
  ],
  "patch_size": null,
  "batch_size": 2,
  "models": [
    "nnunet",
    "unetpp"
  ],
  "folds": [
    0
  ],
  "seeds": [
    0,
    1
  ],
  "baseline": null,
  "size_cut_points": {
    "1": [
      2.5,
      7.25
    ]
  },
  "lengths": {
    "nnunet": [
      20,
      13
    ]
  },
  "asked": [
    {
      "models": [
        "nnunet"
      ],
      "folds": [
        0
      ],
      "seeds": [
        0,
        1
      ]
    },
    {
      "models": [
        "unetpp"
      ],
      "folds": [
        0
      ],
      "seeds": [
        0
      ]
    }
  ]
}
"""


def request(output: Path, **changes: Any) -> ComparisonRequest:
    options: dict[str, Any] = {
        "models": ("nnunet",),
        "folds": (0,),
        "seeds": (0,),
        "budget": Budget("hours", 1.5),
        "features": (8, 16),
        "batch_size": 2,
    }
    return ComparisonRequest("4", output=output, **(options | changes))


def test_settings_are_read_and_written_as_ever(tmp_path: Path) -> None:
    file = tmp_path / "comparison.json"
    file.write_text(SETTINGS)
    asked = (Asked(("nnunet",), (0,), (0, 1)), Asked(("unetpp",), (0,), (0,)))
    extended = extend_request(request(tmp_path), "Dataset004_Hippocampus", "3d_fullres")
    assert (extended.models, extended.seeds) == (("nnunet", "unetpp"), (0, 1))
    assert extended.asked == (*asked, Asked(("nnunet",), (0,), (0,)))
    assert extended.evaluation.size_cut_points == {"1": (2.5, 7.25)}
    assert read_lengths(tmp_path) == {"nnunet": Length(20, 13)}
    again = request(
        tmp_path,
        models=("nnunet", "unetpp"),
        seeds=(0, 1),
        earlier=asked[:1],
        now=asked[1],
        evaluation=EvaluationSettings(size_cut_points={"1": (2.5, 7.25)}),
    )
    lengths = {"nnunet": Length(20, 13)}
    write_settings(again, "Dataset004_Hippocampus", "3d_fullres", lengths)
    written = json.loads(file.read_text())
    assert written | json.loads(SETTINGS) == written  # later versions may add to it


OTHER_OPTIONS: dict[str, Any] = {
    "features": (4, 8),
    "patch_size": (8, 8, 8),
    "batch_size": 3,
    "validation_tta": "off",
    "validation_cases": 3,
    "recipe": "own",
}


@pytest.mark.parametrize("option", [field.name for field in fields(TrainingOptions)])
def test_options_of_trainings_are_kept_and_may_not_change(tmp_path: Path, option: str) -> None:
    changed = request(tmp_path, **{option: OTHER_OPTIONS[option]})
    place = "Dataset004_Hippocampus", "3d_fullres"
    write_settings(changed, *place, {"nnunet": Length(20, 13)})
    assert extend_request(changed, *place).models == ("nnunet",)
    flag = f"--{option.replace('_', '-')}"
    with pytest.raises(UMambaError, match=f"begun with {flag} .*, not .*; give that, or another"):
        extend_request(request(tmp_path), *place)


def test_options_of_trainings_have_the_defaults_of_the_command() -> None:
    kept = {field.name: field.default for field in fields(TrainingOptions)}
    asked = {field.name: field.default for field in fields(CompareRequest)}
    assert {name: asked[name] for name in kept} == kept


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("models", "nnunet", r"Expected `array`, got `str` - at `\$\.models`"),
        ("folds", ["0"], r"at `\$\.folds\[0\]`"),
        ("lengths", {"nnunet": [3]}, r"at `\$\.lengths\[\.\.\.\]`"),
        ("asked", [{"models": []}], "missing required field `folds`"),
    ],
)
def test_damaged_settings_are_one_clear_line(
    tmp_path: Path, key: str, value: object, reason: str
) -> None:
    content = json.loads(SETTINGS) | {key: value}
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    message = rf"comparison\.json is damaged \(.*{reason}.*\); give another --output"
    with pytest.raises(UMambaError, match=message):
        read_lengths(tmp_path)


def cached(details: object) -> bytes:
    line = (json.dumps(details) + "\n").encode()
    finished = {
        "length": {"epochs": 2, "iterations_per_epoch": 250},
        "seed": None,
        "seeds": None,
        "train_hours": 0.5,
        "dice": None,
    }
    head = {"key": {"version": 2}, "finished": finished, "checksum": zlib.crc32(line)}
    return json.dumps(head).encode() + b"\n" + line


CURVE = {"epoch": [1, 2], "hours": [0.25, 0.5], "dice": [0.5, None]}
CASE = {
    "case": "a",
    "label": "1",
    "metrics": {"dice": 0.75, "hd95": None},
    "empty": None,
    "reference_volume": 8.0,
    "prediction_volume": 7.5,
}


def test_an_evaluation_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    cache = tmp_path / "nnunet_fold1_stock.json"
    cache.write_bytes(cached({"curve": CURVE, "cases": [CASE], "instances": []}))
    training = Training("nnunet", 1, None)
    details = read_details(cache, training)
    (row,) = details.cases
    assert row.training == details.curve.training == training
    assert (row.case, row.metrics, row.empty) == ("a", {"dice": 0.75, "hd95": None}, None)
    assert (row.reference_volume, row.prediction_volume) == (8.0, 7.5)
    assert details.curve.dice[0] == 0.5
    assert math.isnan(details.curve.dice[1])
    assert (details.curve.train_loss, details.instances) == ((), ())


@pytest.mark.parametrize(
    "details",
    [
        [],
        {"curve": CURVE, "cases": []},
        {"curve": None, "cases": [], "instances": []},
        {"curve": CURVE, "cases": [7], "instances": []},
        {"curve": CURVE, "cases": [CASE | {"metrics": {"dice": "high"}}], "instances": []},
    ],
)
def test_an_evaluation_of_another_form_is_one_clear_line(tmp_path: Path, details: object) -> None:
    cache = tmp_path / "a.json"
    cache.write_bytes(cached(details))
    with pytest.raises(UMambaError, match=r"a\.json cannot be read \(.+\); run the same command"):
        read_details(cache, Training("nnunet", 0, 0))


def test_costs_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    key = cost._Key({"unetpp": {"patch_size": [8, 8]}, "nnunet": {}}, {"threads": 1})
    measured = {
        "n_parameters": 10,
        "multiply_adds": 20,
        "memory_bytes": 30,
        "peak_memory_bytes": None,
        "seconds_per_iteration": 0.5,
        "seconds_per_case": 2.0,
        "problem": None,
    }
    kept = {
        "key": {"networks": {"unetpp": {"patch_size": [8, 8]}}, "machine": {"threads": 1}},
        "costs": {"unetpp": measured},
    }
    file = tmp_path / "cost.json"
    file.write_text(json.dumps(kept))
    assert cost._recall(file, key) == {"unetpp": Cost(10, 20, 30, None, 0.5, 2.0)}
    assert cost._recall(file, cost._Key(key.networks, {"threads": 2})) == {}
    file.write_text(json.dumps(kept | {"costs": {"unetpp": measured | {"n_parameters": None}}}))
    assert cost._recall(file, key) == {}
