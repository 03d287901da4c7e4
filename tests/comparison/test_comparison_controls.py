"""Controls come along with their models, and no network is trained twice under two names."""

import pytest
import torch

from plans_factory import DATASET_JSON, stock_plans
from umamba import registry
from umamba.comparison.controls import control_of, controls_of, with_controls
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.networks import build_network

BOT = ("umamba_bot", "umamba_bot_nomamba", "umamba_bot_matched")


def test_controls_follow_the_models_of_umamba() -> None:
    assert with_controls(["umamba_bot", "unetpp"]) == (*BOT, "unetpp")
    assert with_controls(["umamba_bot_matched", "umamba_bot"]) == (BOT[2], BOT[0], BOT[1])
    assert control_of("umamba_bot_matched") == "umamba_bot"
    assert control_of("umamba_bot") is None
    official = ("umamba_enc_official", "umamba_enc_official_nomamba")
    assert with_controls(official[:1]) == official
    assert with_controls(["umamba_bot_official", official[0]])[1:] == (
        "umamba_bot_official_nomamba",
        official[0],
    )


def test_controls_are_trained_by_the_recipe_of_their_model() -> None:
    adamw = tuple(f"{name}@adamw" for name in BOT)
    assert with_controls([adamw[0], "umamba_bot"]) == (*adamw, *BOT)
    assert control_of(adamw[1]) == adamw[0]
    assert controls_of(adamw[0], [*BOT, *adamw]) == list(adamw[1:])
    enc = with_controls([adamw[0], "umamba_enc@adamw"])
    assert enc == (*adamw, "umamba_enc@adamw", "umamba_enc_matched@adamw")


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("form", ["nomamba", "official_nomamba"])
def test_without_mamba_bot_and_enc_are_one_network(configuration: str, form: str) -> None:
    weights = []
    for model in (f"umamba_bot_{form}", f"umamba_enc_{form}"):
        torch.manual_seed(0)
        plans = derive_plans(stock_plans(), registry.find_architecture(model), PlanOptions("plans"))
        network = build_network(plans, DATASET_JSON, configuration, "cpu").network
        weights.append(network.state_dict())
    bot, enc = weights
    assert list(bot) == list(enc)
    assert all(torch.equal(bot[name], enc[name]) for name in bot)


def test_it_is_a_control_of_both() -> None:
    enc = ("umamba_enc", "umamba_enc_matched")
    assert with_controls(["umamba_bot", "umamba_enc"]) == (*BOT, *enc)
    assert with_controls(["umamba_enc", "umamba_bot_nomamba"]) == (*enc, "umamba_bot_nomamba")
    together = [*BOT, *enc]
    assert controls_of("umamba_bot", together) == ["umamba_bot_nomamba", "umamba_bot_matched"]
    assert controls_of("umamba_enc", together) == ["umamba_bot_nomamba", "umamba_enc_matched"]
    assert controls_of("umamba_enc", ["umamba_enc_nomamba", *together])[0] == "umamba_enc_nomamba"
    assert controls_of("umamba_bot_nomamba", together) == []
    assert controls_of("unetpp", together) == []
