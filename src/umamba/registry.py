"""The torch-free table of architectures: names for the commands, class paths, and papers."""

from dataclasses import replace
from typing import Any

from umamba.architecture import Architecture
from umamba.errors import PlansError, unknown_name
from umamba.recipes import RECIPES, Recipe
from umamba.topologies import (
    EmbeddedPatches,
    MedNeXtBlocks,
    OwnTopology,
    PlainConvolutions,
    ResidualBlocks,
    ResidualEncoderBlocks,
)
from umamba.u_mamba_forms import U_MAMBA_FORMS

__all__ = [
    "Architecture",
    "architectures",
    "family_colours",
    "family_of",
    "find_architecture",
    "find_planner",
    "names",
    "recipe_of",
    "with_keywords",
]


# One block in every decoder stage, as in nnU-Net's residual presets, and in the two encoder stages
# that cost most. The lean UMambaEnc has no Mamba at full resolution: most of its scans' time.
_LEAN = ResidualBlocks(encoder=(1, 1, 2), decoder=1)
_LEAN_PLACES: dict[str, dict[str, Any]] = {"Bot": {}, "Enc": {"mixer_from_stage": 1}}
# The colours of families are those of Okabe and Ito, and others of Tol's muted scheme, which
# colour-blind people can tell apart.
_TABLE = [
    Architecture(
        f"{family}{suffix}",
        family,
        colour,
        f"umamba.networks.UMamba{place}",
        f"nnUNetUMamba{place}Plans{suffix}",
        form.paper,
        form.purpose.format(place=where + (but if form.lean else "")),
        _LEAN if form.lean else ResidualBlocks(),
        {"variant": "paper", "mixer": "mamba", "scan": "forward"}
        | (_LEAN_PLACES[place] if form.lean else {})
        | form.keywords,
        control_of=None if form.control_of is None else f"{family}{form.control_of}",
        # Without Mamba nothing tells the two places apart, except where parameters are matched.
        same_as=f"umamba_bot{suffix}"
        if place == "Enc" and form.keywords.get("mixer") == "none" and not form.matched
        else None,
        needs_input_size=place == "Enc" and suffix == "_official",
        has_authors_trainers=True,
        activation_checkpointing="norms",
        parameters_of=f"{family}{form.control_of}" if form.matched else None,
    )
    for family, colour, place, where, but in (
        ("umamba_bot", "#D55E00", "Bot", "at the bottleneck", ""),
        ("umamba_enc", "#E69F00", "Enc", "in every encoder stage", " but the first"),
    )
    for suffix, form in U_MAMBA_FORMS.items()
]
_TABLE += [
    Architecture(
        f"unetpp{suffix}",
        "unetpp",
        "#009E73",
        "umamba.networks.UMambaUNetPlusPlus",
        f"nnUNetUMambaUNetPlusPlusPlans{suffix}",
        "Zhou et al. 2019, arXiv:1912.05074",
        purpose,
        PlainConvolutions(),
        keywords,
        activation_checkpointing="norms",
    )
    for suffix, purpose, keywords in (
        ("", "nested dense skips", {}),
        ("_nested", "nested dense skips; can be pruned", {"nested_supervision": True}),
    )
]
_TABLE += [
    Architecture(
        "attention_unet",
        "attention_unet",
        "#56B4E9",
        "umamba.networks.UMambaAttentionUNet",
        "nnUNetUMambaAttentionUNetPlans",
        "Oktay et al. 2018, arXiv:1804.03999",
        "gated skips whose attention can be displayed",
        PlainConvolutions(),
        activation_checkpointing="norms",
    ),
    Architecture(
        "unetrpp",
        "unetrpp",
        "#CC79A7",
        "umamba.networks.UMambaUNETRPlusPlus",
        "nnUNetUMambaUNETRPlusPlusPlans",
        "Shaker et al. 2024, arXiv:2212.04497",
        "transformer with attention over space and channels",
        EmbeddedPatches(encoder=(3,), decoder=3, full_resolution=1),
        {"variant": "paper"},
        needs_input_size=True,
        activation_checkpointing="norms",
    ),
]
# The authors' presets. Those of kernel 3 and 5 differ in nothing else: each is the other's control.
_TABLE += [
    Architecture(
        f"mednext_{size}{suffix}",
        "mednext",
        "#44AA99",
        "umamba.networks.UMambaMedNeXt",
        f"nnUNetUMambaMedNeXt{size.upper()}Plans{suffix}",
        "Roy et al. 2023, arXiv:2303.09975",
        f"depthwise convolutions of kernel {kernel}, wide pointwise layers; size {size.upper()}",
        MedNeXtBlocks(blocks, expansion, kernel),
        activation_checkpointing="norms",
        recipe="mednext",
    )
    for size, blocks, expansion in (
        ("s", (2,), (2,)),
        ("b", (2,), (2, 3, 4)),
        ("m", (3, 4), (2, 3, 4)),
        ("l", (3, 4, 8), (3, 4, 8)),
    )
    for suffix, kernel in (("", 3), ("_k5", 5))
]
# Three strides, however many the network has: nnU-Net weights its targets 1, 1/2, ... and the last
# one 0, so that only then the single loss, at full resolution, counts in full.
_TABLE += [
    Architecture(
        "segresnet",
        "segresnet",
        "#882255",
        "umamba.networks.UMambaSegResNet",
        "nnUNetUMambaSegResNetPlans",
        "Myronenko 2018, arXiv:1810.11654",
        "residual U-Net that the U-Mamba paper compares with, from MONAI",
        OwnTopology(width=32, strides=(1, 2, 4)),
        extra="monai",
        recipe="adamw",
    ),
    Architecture(
        "swinunetr",
        "swinunetr",
        "#999933",
        "umamba.networks.UMambaSwinUNETR",
        "nnUNetUMambaSwinUNETRPlans",
        "Hatamizadeh et al. 2022, arXiv:2201.01266",
        "transformer that the U-Mamba paper compares with, from MONAI",
        OwnTopology(width=48, strides=(1, 2, 16)),
        extra="monai",
        recipe="adamw",
    ),
]
_TABLE += [
    Architecture(
        f"primus_{version}_{size}{suffix}",
        "primus",
        "#0072B2",
        "umamba.networks.UMambaPrimus",
        f"nnUNetUMambaPrimus{version.upper()}{size.upper()}Plans{suffix}",
        "Wald et al. 2025, arXiv:2503.01835",
        purpose,
        OwnTopology(width=width, strides=(1, 2, 4)),
        {"version": version, "n_blocks": blocks, "num_heads": heads, "mixer": mixer},
        control_of=f"primus_{version}_{size}" if suffix else None,
        needs_input_size=True,
        recipe="adamw",
        dims=(3,),
    )
    for version in ("v2", "v3")
    for size, width, blocks, heads in (
        ("s", 396, 12, 6),
        ("b", 792, 12, 12),
        ("m", 864, 16, 12),
        ("l", 1056, 24, 16),
    )
    for suffix, mixer, purpose in (
        ("", "attention", "transformer that nnU-Net's authors offer, 3D only"),
        ("_identity", "none", "control: its transformer blocks replaced by the identity"),
    )
]
_NNUNET = "dynamic_network_architectures.architectures.unet"
_TABLE += [
    Architecture(
        "nnunet",
        "nnunet",
        "#333333",
        f"{_NNUNET}.PlainConvUNet",
        "nnUNetPlans",
        "Isensee et al. 2021, doi:10.1038/s41592-020-01008-z",
        "nnU-Net's plain U-Net, the baseline",
        PlainConvolutions(),
        planner="ExperimentPlanner",
    )
]
_TABLE += [
    Architecture(
        f"resenc_{size.lower()}",
        "resenc",
        "#332288",
        f"{_NNUNET}.ResidualEncoderUNet",
        f"nnUNetResEncUNet{size}Plans",
        "Isensee et al. 2024, arXiv:2404.09556",
        f"nnU-Net's residual U-Net, patch and batch planned for {memory} GB",
        ResidualEncoderBlocks(),
        planner=f"nnUNetPlannerResEnc{size}",
    )
    for size, memory in (("M", 8), ("L", 24), ("XL", 40))
]
_BY_NAME = {architecture.name: architecture for architecture in _TABLE}


def with_keywords(architecture: Architecture, **keywords: str | None) -> Architecture:
    """Return the architecture that differs only in some keywords, e.g. `variant="official"`.

    Args:
        architecture: The architecture to start from.
        keywords: Values by keyword; `None` leaves a keyword as it is.

    Raises:
        PlansError: If there is none.
    """
    changes = {key: value for key, value in keywords.items() if value is not None}
    if not changes:
        return architecture
    wanted = replace(architecture, keywords=architecture.keywords | changes)
    for other in _TABLE:
        if _choice(other) == _choice(wanted):
            return other
    missing = " and ".join(f"{key} {value!r}" for key, value in changes.items())
    same = [other.name for other in _TABLE if other.class_path == architecture.class_path]
    msg = f"model {architecture.name!r} has no {missing}; its network exists as {', '.join(same)}"
    raise PlansError(msg)


def find_planner(plans_name: str) -> str | None:
    """Return the planner of nnU-Net that makes plans of this name; `None` if none does."""
    return next((a.planner for a in _TABLE if a.planner and a.plans_name == plans_name), None)


def _choice(architecture: Architecture) -> tuple[object, ...]:
    a = architecture
    return a.class_path, a.topology, a.keywords, a.parameters_of


def architectures() -> list[Architecture]:
    """Return all architectures."""
    return list(_TABLE)


def family_of(name: str) -> str | None:
    """Return the family of the architecture of this name; `None` if there is none."""
    name, _, _ = name.partition("@")
    return _BY_NAME[name].family if name in _BY_NAME else None


def family_colours() -> dict[str, str]:
    """Return the colour of each family in figures."""
    return {a.family: a.colour for a in _TABLE}


def names() -> list[str]:
    """Return the names of all architectures."""
    return list(_BY_NAME)


def find_architecture(name: str) -> Architecture:
    """Return the architecture of this name, or of `NAME@RECIPE`, which is the same.

    Raises:
        PlansError: If there is none, or no such recipe.
    """
    model, at, recipe = name.partition("@")
    if model not in _BY_NAME:
        raise PlansError(unknown_name("model", model, _BY_NAME, "`umamba models` lists all"))
    if at and recipe not in RECIPES:
        raise PlansError(unknown_name("recipe", recipe, RECIPES))
    return _BY_NAME[model]


def recipe_of(name: str, asked: str) -> Recipe:
    """Return the recipe that a model of a comparison is trained by.

    Args:
        name: Its name, `NAME` or `NAME@RECIPE`.
        asked: The recipe of models that do not name theirs; `own` is that of their authors.

    Raises:
        PlansError: If there is no such model or recipe.
    """
    architecture = find_architecture(name)
    given = name.partition("@")[2]
    return RECIPES[given or (architecture.recipe if asked == "own" else asked)]
