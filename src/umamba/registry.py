"""The torch-free table of architectures: names that commands take, class paths, and papers."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from umamba.errors import PlansError, unknown_name

__all__ = ["Architecture", "find_architecture", "find_planner", "names", "with_keywords"]


@dataclass(frozen=True)
class Architecture:
    """One name that `umamba plan --model` takes.

    Args:
        name: The name on the command line.
        class_path: What goes into `network_class_name`; public for good.
        plans_name: Default name of derived plans.
        paper: Where the network comes from.
        purpose: What it is for, in a short phrase that `umamba models` shows.
        keywords: What goes into the network's keywords besides the topology.
        residual_blocks: Blocks per encoder stage and per decoder stage; `None` is for networks of
            plain convolutions, as many as nnU-Net's plain U-Net has.
        full_resolution_blocks: Blocks of the first stage, in encoder and decoder; `None` is as
            many as in the others.
        needs_input_size: Whether the weights depend on the patch, so that plans name it.
        embeds_patches: Whether the first two downsamplings of a plan with five stages or more
            become one, the embedding of patches.
        planner: nnU-Net's planner that makes the plans of that name, where the network is
            nnU-Net's own.
        own_width: Channels at full resolution of a network that keeps its own topology.
        own_strides: What its plans say of strides, the same on every axis. Its patches are
            rounded up to multiples of their product.
        extra: The optional dependency, an extra of this package, that the network needs.
        parameters_of: Name of the architecture that has as many parameters; the features of this
            one are widened until it has them, too.
    """

    name: str
    class_path: str
    plans_name: str
    paper: str
    purpose: str
    keywords: dict[str, Any] = field(default_factory=dict)
    residual_blocks: tuple[int, int] | None = (2, 2)
    full_resolution_blocks: int | None = None
    needs_input_size: bool = False
    embeds_patches: bool = False
    planner: str | None = None
    own_width: int | None = None
    own_strides: tuple[int, ...] | None = None
    extra: str | None = None
    parameters_of: str | None = None

    @property
    def round_patch_to(self) -> int | None:
        """Return what patches are rounded up to multiples of; `None` where they are not."""
        return None if self.own_strides is None else math.prod(self.own_strides)


_U_MAMBA = "Ma, Li and Wang 2024, arXiv:2401.04722"
_NO_MAMBA = "Isensee et al. 2024, arXiv:2404.09556"
# Suffix of the name: what differs from the network of the paper, where that comes from, what for.
_U_MAMBA_FORMS: dict[str, tuple[dict[str, str], str, str]] = {
    "": ({}, _U_MAMBA, "long range {place}, as the paper draws it"),
    "_official": (
        {"variant": "official"},
        _U_MAMBA,
        "long range {place}, as the authors' code has it",
    ),
    "_official_nomamba": (
        {"variant": "official", "mixer": "none"},
        _NO_MAMBA,
        "control: the authors' code without Mamba",
    ),
    "_nomamba": ({"mixer": "none"}, _NO_MAMBA, "control: the same network without Mamba"),
    "_matched": (
        {"mixer": "none"},
        _NO_MAMBA,
        "control: without Mamba, widened to as many parameters",
    ),
    "_attention": (
        {"mixer": "attention"},
        "Vaswani et al. 2017, arXiv:1706.03762",
        "control: self-attention {place}",
    ),
    "_lti": (
        {"mixer": "lti"},
        "Gu et al. 2021, arXiv:2110.13985",
        "control: a state space that does not select, {place}",
    ),
    "_bidirectional": (
        {"scan": "bidirectional"},
        "Zhu et al. 2024, arXiv:2401.09417",
        "scans forward and backward",
    ),
    "_axes": (
        {"scan": "axes"},
        "Liu et al. 2024, arXiv:2401.10166",
        "scans along every axis, both ways",
    ),
    "_lti_bidirectional": (
        {"mixer": "lti", "scan": "bidirectional"},
        "Gu et al. 2021, arXiv:2110.13985",
        "control: as `_lti`, forward and backward",
    ),
    "_lti_axes": (
        {"mixer": "lti", "scan": "axes"},
        "Gu et al. 2021, arXiv:2110.13985",
        "control: as `_lti`, along every axis, both ways",
    ),
}
_TABLE = [
    Architecture(
        f"umamba_{place.lower()}{suffix}",
        f"umamba.networks.UMamba{place}",
        f"nnUNetUMamba{place}Plans{suffix}",
        paper,
        purpose.format(place=where),
        {"variant": "paper", "mixer": "mamba", "scan": "forward"} | changes,
        needs_input_size=place == "Enc" and suffix == "_official",
        parameters_of=f"umamba_{place.lower()}" if suffix == "_matched" else None,
    )
    for place, where in (("Bot", "at the bottleneck"), ("Enc", "in every encoder stage"))
    for suffix, (changes, paper, purpose) in _U_MAMBA_FORMS.items()
]
_TABLE += [
    Architecture(
        f"unetpp{suffix}",
        "umamba.networks.UMambaUNetPlusPlus",
        f"nnUNetUMambaUNetPlusPlusPlans{suffix}",
        "Zhou et al. 2019, arXiv:1912.05074",
        purpose,
        keywords,
        residual_blocks=None,
    )
    for suffix, purpose, keywords in (
        ("", "nested dense skips", {}),
        ("_nested", "nested dense skips, can be pruned", {"nested_supervision": True}),
    )
]
_TABLE += [
    Architecture(
        "attention_unet",
        "umamba.networks.UMambaAttentionUNet",
        "nnUNetUMambaAttentionUNetPlans",
        "Oktay et al. 2018, arXiv:1804.03999",
        "gated skips, attention can be looked at",
        residual_blocks=None,
    ),
    Architecture(
        "unetrpp",
        "umamba.networks.UMambaUNETRPlusPlus",
        "nnUNetUMambaUNETRPlusPlusPlans",
        "Shaker et al. 2024, arXiv:2212.04497",
        "transformer with attention over space and channels",
        {"variant": "paper"},
        residual_blocks=(3, 3),
        full_resolution_blocks=1,
        needs_input_size=True,
        embeds_patches=True,
    ),
]
# Three strides, whatever the network has: nnU-Net weighs its targets 1, 1/2, ... and the last one
# 0, so only then does the loss at full resolution, the one there is, count in full.
_TABLE += [
    Architecture(
        "segresnet",
        "umamba.networks.UMambaSegResNet",
        "nnUNetUMambaSegResNetPlans",
        "Myronenko 2018, arXiv:1810.11654",
        "residual U-Net that the U-Mamba paper compares with, as MONAI has it",
        own_width=32,
        own_strides=(1, 2, 4),
        extra="monai",
    ),
    Architecture(
        "swinunetr",
        "umamba.networks.UMambaSwinUNETR",
        "nnUNetUMambaSwinUNETRPlans",
        "Hatamizadeh et al. 2022, arXiv:2201.01266",
        "transformer that the U-Mamba paper compares with, as MONAI has it",
        own_width=48,
        own_strides=(1, 2, 16),
        extra="monai",
    ),
]
_NNUNET = "dynamic_network_architectures.architectures.unet"
_TABLE += [
    Architecture(
        "nnunet",
        f"{_NNUNET}.PlainConvUNet",
        "nnUNetPlans",
        "Isensee et al. 2021, doi:10.1038/s41592-020-01008-z",
        "nnU-Net's plain U-Net, the baseline",
        residual_blocks=None,
        planner="ExperimentPlanner",
    )
]
_TABLE += [
    Architecture(
        f"resenc_{size.lower()}",
        f"{_NNUNET}.ResidualEncoderUNet",
        f"nnUNetResEncUNet{size}Plans",
        "Isensee et al. 2024, arXiv:2404.09556",
        f"nnU-Net's residual U-Net, patch and batch planned for {memory} GB",
        planner=f"nnUNetPlannerResEnc{size}",
    )
    for size, memory in (("M", 8), ("L", 24), ("XL", 40))
]
_BY_NAME = {architecture.name: architecture for architecture in _TABLE}


def with_keywords(architecture: Architecture, **keywords: str | None) -> Architecture:
    """Return the architecture that differs in those keywords only, e.g. `variant="official"`.

    Args:
        architecture: Where to start from.
        keywords: Values by keyword; `None` leaves it as it is.

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
    msg = (
        f"model {architecture.name!r} has no {missing}; of its network there are {', '.join(same)}"
    )
    raise PlansError(msg)


def find_planner(plans_name: str) -> str | None:
    """Return nnU-Net's planner that makes the plans of that name; `None` if none does."""
    return next((a.planner for a in _TABLE if a.planner and a.plans_name == plans_name), None)


def _choice(architecture: Architecture) -> tuple[str, dict[str, Any], str | None]:
    return architecture.class_path, architecture.keywords, architecture.parameters_of


def names() -> list[str]:
    """Return the names of all architectures."""
    return list(_BY_NAME)


def find_architecture(name: str) -> Architecture:
    """Return the architecture of that name.

    Raises:
        PlansError: If there is none.
    """
    if name not in _BY_NAME:
        raise PlansError(unknown_name("model", name, _BY_NAME, "`umamba models` lists all"))
    return _BY_NAME[name]
