"""What models cost: counted, measured in turn, and kept."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plans_factory import DATASET_JSON, stock_plans
from umamba.comparison.rows import Cost
from umamba.comparison.runs import cost
from umamba.comparison.runs.cost import measure_costs, seconds_with_validation
from umamba.comparison.runs.planning import Planned, Source
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.patches import count_windows
from umamba.registry import find_architecture


def planned_models(*models: str) -> Planned:
    plans = stock_plans()
    options = PlanOptions(plans_name="small_s0", features=(4, 8), patch_size=(16, 16, 16))
    derived = {(m, 0): derive_plans(plans, find_architecture(m), options) for m in models}
    source = Source("Dataset901_Toy", "3d_fullres", plans, DATASET_JSON, {"all": 1}, None)
    return Planned(source, models, derived)


def test_windows_overlap_by_half_a_patch() -> None:
    assert count_windows((32, 32, 32), (16, 16, 16)) == 27
    assert count_windows((40, 17), (16, 16)) == 4 * 2
    assert count_windows((5, 9), (16, 16)) == 1


def test_a_case_takes_its_windows_in_all_mirrorings_and_slices() -> None:
    derived = planned_models("unetpp").plans["unetpp", 0]
    assert cost._patches_per_case(derived, "3d_fullres") == 27 * 2**3
    # One window holds a slice of the plan, of which a median case has 32.
    assert cost._patches_per_case(derived, "2d") == 32 * 2**2


def test_an_estimate_of_whole_cases_follows_from_that_of_a_step() -> None:
    planned = planned_models("unetpp")
    (found,) = cost.estimate_costs(planned, "cpu", 1, Path("nowhere")).values()
    assert found.seconds_per_iteration is not None
    assert found.seconds_per_case is not None
    batch = planned.plans["unetpp", 0]["configurations"]["3d_fullres"]["batch_size"]
    # A forward is a third of a step; a median case has 27 windows in 8 mirrorings.
    patches = found.seconds_per_case / (found.seconds_per_iteration / 3 / batch)
    assert patches == pytest.approx(27 * 8)
    assert cost.n_mirrorings(planned, "unetpp") == 8


def test_costs_are_measured_and_kept(tmp_path: Path) -> None:
    planned = planned_models("nnunet", "unetpp")
    cache = tmp_path / "out" / "cost.json"
    costs = measure_costs(planned, "cpu", 1, cache)
    assert list(costs) == ["nnunet", "unetpp"]
    for found in costs.values():
        assert found.problem is None
        assert (found.seconds_per_iteration or 0) > 0
        assert (found.seconds_per_case or 0) > 0
        assert found.memory_bytes > 12 * found.n_parameters
    assert costs["unetpp"].multiply_adds > costs["nnunet"].multiply_adds

    def fail(*_: object) -> Any:
        pytest.fail("measured again")

    assert measure_costs(planned, "cpu", 1, cache, measure=fail) == costs
    before = cache.read_text()
    assert set(measure_costs(planned_models("unetpp"), "cpu", 1, cache, keep=False)) == {"unetpp"}
    assert cache.read_text() == before


@pytest.mark.parametrize("text", ["", "[]", '{"key": 1}', '{"key": {}, "costs": {"a": {"b": 1}}}'])
def test_costs_that_cannot_be_read_are_measured_anew(tmp_path: Path, text: str) -> None:
    found = {"unetpp": Cost(1, 2, 3)}
    measured: list[str] = []

    def measure(_: Planned, plans: Mapping[str, Any], device: str) -> dict[str, Cost]:
        measured.extend([*plans, device])
        return found

    cache = tmp_path / "cost.json"
    cache.write_text(text)
    for _ in range(2):
        assert measure_costs(planned_models("unetpp"), "cpu", 1, cache, measure=measure) == found
    assert measured == ["unetpp", "cpu"]


def test_costs_by_another_recipe_are_measured_anew(tmp_path: Path) -> None:
    planned, cache = planned_models("unetpp"), tmp_path / "cost.json"
    measured: list[str] = []

    def measure(by: Planned, *_: object) -> dict[str, Cost]:
        measured.append(by.recipe_of("unetpp").name)
        return {"unetpp": Cost(1, 2, by.recipe_of("unetpp").moments)}

    for recipe in ("nnunet", "adamw", "adamw", "nnunet"):
        by = replace(planned, recipe=recipe)
        found = measure_costs(by, "cpu", 1, cache, measure=measure)["unetpp"]
        assert found.memory_bytes == by.recipe_of("unetpp").moments
    assert measured == ["nnunet", "adamw", "nnunet"]


def test_costs_of_older_versions_are_those_by_the_recipe_of_nnunet(tmp_path: Path) -> None:
    planned, cache = planned_models("unetpp"), tmp_path / "cost.json"
    kept = measure_costs(planned, "cpu", 1, cache, measure=lambda *_: {"unetpp": Cost(1, 2, 3)})
    content = json.loads(cache.read_text())
    del content["key"]["recipes"]
    cache.write_text(json.dumps(content))
    assert measure_costs(planned, "cpu", 1, cache, measure=lambda *_: {}) == kept


def test_memory_of_the_gpu_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def measure(*_: object) -> dict[str, Cost]:
        done.append("measured")
        return {}

    monkeypatch.setenv("UMAMBA_SCAN_BACKEND", "torch")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "some GPU")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("given back"))
    cache = tmp_path / "cost.json"
    measure_costs(planned_models("unetpp"), "cuda", 1, cache, keep=False, measure=measure)
    assert done == ["measured", "given back"]


@pytest.mark.parametrize("reason", ["memory", "error"])
def test_a_step_that_does_not_fit_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def refuse(*_: Any) -> None:
        msg = "DefaultCPUAllocator: not enough memory"
        raise RuntimeError(msg)

    if reason == "memory":
        monkeypatch.setattr(cost, "free_memory", lambda _: 1000)
    else:
        monkeypatch.setattr(cost, "training_step", lambda *_: refuse)
    found = measure_costs(planned_models("unetpp"), "cpu", None, tmp_path / "cost.json")["unetpp"]
    assert found.n_parameters > 0
    assert found.seconds_per_iteration is None
    assert seconds_with_validation(found) is None
    assert str(found.problem).startswith("not measured: its step ")


def test_an_iteration_has_its_share_of_validation() -> None:
    assert seconds_with_validation(Cost(1, 1, 1, None, 3.0)) == pytest.approx(3.2)
