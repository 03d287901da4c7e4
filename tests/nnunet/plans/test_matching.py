"""Networks without Mamba get as many parameters as U-Mamba, whatever the plans."""

from typing import Any

import pytest

from plans_factory import DATASET_JSON, stock_plans
from umamba.errors import PlansError
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.networks import build_network
from umamba.registry import find_architecture


def derive(model: str, source: dict[str, Any], features: tuple[int, ...] | None) -> dict[str, Any]:
    options = PlanOptions(features=features)
    return derive_plans(source, find_architecture(model), options, DATASET_JSON)


def n_parameters(plans: dict[str, Any], name: str) -> int:
    network = build_network(plans, DATASET_JSON, name).network
    return sum(p.numel() for p in network.parameters())


def features_of(plans: dict[str, Any], name: str) -> list[int]:
    features: list[int] = plans["configurations"][name]["architecture"]["arch_kwargs"][
        "features_per_stage"
    ]
    return features


@pytest.mark.parametrize("model", ["umamba_bot", "umamba_enc"])
@pytest.mark.parametrize("features", [(32, 64, 128, 256, 320), (32, 32, 32), (4, 6, 8)])
def test_parameters_are_those_of_u_mamba_within_two_percent(
    model: str, features: tuple[int, ...] | None
) -> None:
    source = stock_plans()
    want, got = derive(model, source, features), derive(f"{model}_matched", source, features)
    assert source == stock_plans()
    for name in want["configurations"]:
        assert abs(n_parameters(got, name) / n_parameters(want, name) - 1) < 0.02
    for name in ("2d", "3d_lowres", "3d_fullres"):
        keywords = got["configurations"][name]["architecture"]["arch_kwargs"]
        assert keywords["mixer"] == "none"
        narrow, wide = features_of(want, name), features_of(got, name)
        assert sum(wide) >= sum(narrow)
        if min(narrow) >= 32:  # below, single channels count, and stages are changed one by one
            factor = sum(wide) / sum(narrow)
            assert all(abs(w - factor * n) <= 1 for w, n in zip(wide, narrow, strict=True))
    assert "architecture" not in got["configurations"]["3d_cascade_fullres"]


def test_features_that_cannot_match_are_named_with_what_is_nearest() -> None:
    wanted = (
        r"no features give configuration '2d' \d+ parameters within 2%: \[\d.*\] come nearest, "
        r"with \d+\. Choose larger --features"
    )
    with pytest.raises(PlansError, match=wanted):
        derive("umamba_bot_matched", stock_plans(), (2,))


def test_matching_needs_to_know_channels_and_classes() -> None:
    with pytest.raises(PlansError, match="'umamba_bot_matched' can be planned only with"):
        derive_plans(stock_plans(), find_architecture("umamba_bot_matched"), PlanOptions())
