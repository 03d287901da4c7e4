"""The registry says all that there is to know of a name, and rules of topologies are exact."""

import subprocess
import sys
from typing import Any

import pytest

from plans_factory import architecture
from umamba import registry
from umamba.errors import PlansError
from umamba.recipes import RECIPES
from umamba.topologies import (
    EmbeddedPatches,
    MedNeXtBlocks,
    OwnTopology,
    PlannedUNet,
    ResidualEncoderBlocks,
)


def planned(dim: int = 3, n_stages: int = 5, residual: bool = False) -> PlannedUNet:
    return PlannedUNet(architecture(dim, n_stages, residual)["arch_kwargs"], not residual)


def test_references_between_architectures_exist_and_end() -> None:
    by_name = {a.name: a for a in registry.architectures()}
    assert list(by_name) == registry.names()
    assert len({a.plans_name for a in by_name.values()}) == len(by_name)
    for a in by_name.values():
        for name in filter(None, (a.control_of, a.same_as, a.parameters_of)):
            assert by_name[name].family == a.family or a.same_as == name
        assert a.control_of is None or by_name[a.control_of].control_of is None
        assert a.same_as is None or by_name[a.same_as].same_as is None


def test_families() -> None:
    assert registry.family_of("umamba_enc_official_nomamba") == "umamba_enc"
    assert registry.family_of("resenc_xl") == "resenc"
    assert registry.family_of("unetpp_nested") == "unetpp"
    assert registry.family_of("from_elsewhere") is None


def test_recipes_of_models() -> None:
    assert registry.recipe_of("primus_v2_s", "own") is RECIPES["adamw"]
    assert registry.recipe_of("primus_v2_s", "nnunet") is RECIPES["nnunet"]
    assert registry.recipe_of("nnunet@mednext", "own") is RECIPES["mednext"]
    assert registry.find_architecture("nnunet@adamw") is registry.find_architecture("nnunet")
    assert registry.family_of("umamba_bot@adamw") == "umamba_bot"
    assert {a.recipe for a in registry.architectures()} <= RECIPES.keys()
    with pytest.raises(PlansError, match="recipe 'sgd' does not exist"):
        registry.find_architecture("nnunet@sgd")


def test_each_family_has_a_colour_of_its_own() -> None:
    colours = registry.family_colours()
    assert colours["nnunet"] == "#333333"
    assert len(set(colours.values())) == len(colours)
    for a in registry.architectures():
        assert a.colour == colours[a.family]


def test_embedded_patches_merge_two_strides_of_deep_plans_only() -> None:
    rule = EmbeddedPatches(encoder=(3,), decoder=3, full_resolution=1)
    given = planned()
    made = rule.keywords(given, None, "unetrpp")
    assert made["strides"] == [[1] * 3, [4] * 3, [2] * 3, [2] * 3]
    assert made["features_per_stage"] == [8, 16, 32, 64]
    assert made["n_conv_per_stage"] == [1, 3, 3, 3]
    assert made["n_conv_per_stage_decoder"] == [3, 3, 1]
    assert given == planned()  # not changed
    shallow = rule.keywords(planned(n_stages=4), (4, 6), "unetrpp")
    assert shallow["strides"] == [[1] * 3, [2] * 3, [2] * 3, [2] * 3]
    assert shallow["features_per_stage"] == [4, 6, 6, 6]


@pytest.mark.parametrize("place", ["bot", "enc"])
def test_lean_forms_have_one_block_where_it_costs_most_and_their_own_control(place: str) -> None:
    lean = registry.find_architecture(f"umamba_{place}_lean")
    made = lean.topology.keywords(planned(), None, lean.name)
    assert made["n_conv_per_stage"] == [1, 1, 2, 2, 2]
    assert made["n_conv_per_stage_decoder"] == [1, 1, 1, 1]
    for suffix in ("_nomamba", "_matched"):
        control = registry.find_architecture(lean.name + suffix)
        assert control.topology == lean.topology
        assert control.control_of == lean.name
        assert control.keywords == lean.keywords | {"mixer": "none"}
        assert control.parameters_of == (lean.name if suffix == "_matched" else None)
    twin = registry.find_architecture(f"umamba_{place}_lean_nomamba")
    assert twin.same_as == ("umamba_bot_lean_nomamba" if place == "enc" else None)


def test_mednext_is_its_authors_with_five_stages_and_extends_to_others() -> None:
    rule = MedNeXtBlocks((3, 4, 8), (3, 4, 8), 5)
    given = planned()
    given.keywords["kernel_sizes"][0] = [1, 3, 3]
    made = rule.keywords(given, None, "mednext_l_k5")
    assert made["features_per_stage"] == [32, 64, 128, 256, 512]
    assert made["n_conv_per_stage"] == made["expansion"] == [3, 4, 8, 8, 8]
    assert made["n_conv_per_stage_decoder"] == [8, 8, 4, 3]
    assert made["kernel_sizes"] == [[1, 5, 5], *[[5] * 3] * 4]
    assert not {"norm_op", "nonlin", "conv_bias"} & made.keys()
    six = rule.keywords(planned(n_stages=6), None, "mednext_l_k5")
    assert six["features_per_stage"] == [32, 64, 128, 256, 512, 512]
    assert six["expansion"] == [3, 4, 8, 8, 8, 8]
    assert rule.keywords(planned(), (4, 8), "m")["features_per_stage"] == [4, 8, 8, 8, 8]


def test_the_residual_encoder_has_nnunets_blocks_or_those_of_its_plan() -> None:
    made = ResidualEncoderBlocks().keywords(planned(n_stages=6), None, "resenc_m")
    assert made["n_blocks_per_stage"] == [1, 3, 4, 6, 6, 6]
    assert made["n_conv_per_stage_decoder"] == [1] * 5
    own = ResidualEncoderBlocks().keywords(planned(residual=True), None, "resenc_m")
    assert own["n_blocks_per_stage"] == [2] * 5


@pytest.mark.parametrize("dim", [2, 3])
def test_a_topology_of_its_own_takes_one_width(dim: int) -> None:
    rule = OwnTopology(width=32, strides=(1, 2, 4))
    made: dict[str, Any] = rule.keywords(planned(dim), None, "segresnet")
    assert made["features_per_stage"] == [32]
    assert made["strides"] == [[1] * dim, [2] * dim, [4] * dim]
    assert rule.patch_multiple == 8
    with pytest.raises(PlansError, match=r"takes one number for segresnet, .* Got 2\."):
        rule.keywords(planned(dim), (8, 16), "segresnet")


def test_the_registry_is_free_of_torch() -> None:
    code = "import sys, umamba.registry\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
