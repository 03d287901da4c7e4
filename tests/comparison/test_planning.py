"""Which models are compared, and how their plans are called and derived."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from faked_trainings import NAME, write_dataset
from plans_factory import stock_plans
from umamba.comparison.rows import Training
from umamba.comparison.runs.budget import Budget
from umamba.comparison.runs.planning import (
    ComparisonRequest,
    derive_all,
    find_source,
    prepare,
    validation_cases,
)
from umamba.errors import PlansError, UMambaError
from umamba.nnunet.paths import Paths
from umamba.recipes import RECIPES


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return write_dataset(tmp_path)


REQUEST = ComparisonRequest(
    dataset=NAME,
    models=("nnunet",),
    folds=(0,),
    seeds=(0, 1),
    budget=Budget("hours", 0.5),
    output=Path("out"),
)


def test_plans_are_named_by_what_tells_trainings_apart(paths: Paths) -> None:
    request = replace(REQUEST, features=(4, 8), patch_size=(16, 16, 16), batch_size=3)
    planned = derive_all(request, find_source(request, paths), paths)
    names = [plans["plans_name"] for plans in planned.plans.values()]
    assert names == [
        f"nnUNetPlans_features4-8_patch16x16x16_batch3_0.5hours_s{seed}" for seed in (0, 1)
    ]
    assert "__" not in names[0]
    first, second = (plans["configurations"] for plans in planned.plans.values())
    assert first == second
    assert first["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] == [4, 8, 8]
    assert first["3d_lowres"]["patch_size"] == [32, 32, 32]  # only what is compared changes


@pytest.mark.parametrize("asked", ["nnunet", "own"])
def test_recipes_part_the_trainings_of_one_network(paths: Paths, asked: str) -> None:
    models = ("primus_v2_s", "primus_v2_s@mednext", "unetpp")
    request = replace(REQUEST, models=models, seeds=(0,), recipe=asked)
    planned = derive_all(request, find_source(request, paths), paths)
    recipes = ["adamw" if asked == "own" else "nnunet", "mednext", "nnunet"]
    assert [planned.recipe_of(model).name for model in models] == recipes
    folders = [planned.folder(Training(model, 0, 0), paths).parent.name for model in models]
    assert [name.partition("__")[0] for name in folders] == [RECIPES[r].trainer for r in recipes]
    assert len({name.partition("__")[2] for name in folders}) == 2  # of Primus the same plans
    prepare(planned, paths)


def test_configurations_with_options_have_plans_of_their_own(paths: Paths) -> None:
    data = paths.require("preprocessed") / NAME
    shutil.copytree(data / "nnUNetPlans_3d_fullres", data / "nnUNetPlans_2d")
    written = []
    for configuration in ("3d_fullres", "2d"):
        request = replace(REQUEST, seeds=(0,), features=(4, 8), configuration=configuration)
        planned = derive_all(request, find_source(request, paths), paths)
        prepare(planned, paths)  # refuses to write other plans of the same name
        written += [plans["plans_name"] for plans in planned.plans.values()]
    tag = "features4-8_0.5hours_s0"
    assert written == [f"nnUNetPlans_{tag}", f"nnUNetPlans_2d_{tag}"]


def test_a_case_in_two_folds_is_refused_before_anything_trains(paths: Paths) -> None:
    file = paths.require("preprocessed") / NAME / "splits_final.json"
    folds = [{"train": ["a"], "val": val} for val in (["b", "c"], ["d"], ["c", "e"])]
    file.write_text(json.dumps(folds))
    source = find_source(REQUEST, paths)
    assert validation_cases(source, (1, 2), paths)[2] == {"c", "e"}
    with pytest.raises(UMambaError, match="case c is validated in folds 0 and 2"):
        validation_cases(source, (0, 1, 2), paths)


def test_networks_of_their_own_topology_take_their_width(paths: Paths) -> None:
    request = replace(REQUEST, models=("segresnet",), features=(8, 16, 32))
    planned = derive_all(request, find_source(request, paths), paths)
    entry = planned.plans["segresnet", 0]["configurations"]["3d_fullres"]
    assert entry["architecture"]["arch_kwargs"]["features_per_stage"] == [8]


def test_models_with_a_planner_derive_from_its_plans(paths: Paths) -> None:
    request = replace(REQUEST, models=("nnunet", "resenc_m"))
    theirs = stock_plans(residual=True) | {"plans_name": "nnUNetResEncUNetMPlans"}
    entry = theirs["configurations"]["3d_fullres"]
    entry |= {"patch_size": [48, 48, 48]}
    file = paths.require("preprocessed") / NAME / "nnUNetResEncUNetMPlans.json"
    file.write_text(json.dumps(theirs))
    planned = derive_all(request, find_source(request, paths), paths)
    patches = {
        model: plans["configurations"]["3d_fullres"]["patch_size"]
        for (model, _), plans in planned.plans.items()
    }
    assert patches == {"nnunet": [32, 32, 32], "resenc_m": [48, 48, 48]}
    entry |= {"data_identifier": "elsewhere"}
    file.write_text(json.dumps(theirs))
    with pytest.raises(PlansError, match="resenc_m needs the data elsewhere, not nnUNetPlans_3d"):
        derive_all(request, find_source(request, paths), paths)
