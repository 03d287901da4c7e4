"""Derive plans that name one of our networks from nnU-Net's plans, by pure functions.

Only the architecture, and on request patch and batch size, change. `data_identifier` stays, so
that nothing is preprocessed again.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from umamba.errors import PlansError, closest
from umamba.nnunet.plans.architectures import OLD_KEYS, derive_architecture
from umamba.nnunet.plans.values import Plans
from umamba.patches import fitting_patch
from umamba.registry import Architecture, find_architecture, find_planner

__all__ = [
    "PlanOptions",
    "Plans",
    "derive_plans",
    "next_stages",
    "resolve",
]


@dataclass(frozen=True)
class PlanOptions:
    """The options that a user may set while plans are derived.

    Args:
        plans_name: Name of the new plans; `None` is the architecture's default.
        features: Channels per stage; the last is also for further stages.
        patch_size: Patch size, for the configurations with as many axes.
        batch_size: Patches in a batch.
        activation_checkpointing: Activations that training computes again instead of keeping them.
        configurations: Configurations that features, patch and batch size are for; `None` is
            all. The others are derived without these options.
    """

    plans_name: str | None = None
    features: tuple[int, ...] | None = None
    patch_size: tuple[int, ...] | None = None
    batch_size: int | None = None
    activation_checkpointing: str | None = None
    configurations: tuple[str, ...] | None = None


def derive_plans(
    source: Plans,
    architecture: Architecture,
    options: PlanOptions,
    dataset_json: Mapping[str, Any] | None = None,
) -> Plans:
    """Return new plans that train `architecture` on the data of `source`.

    Configurations whose images have more or fewer axes than the network's are left out.

    Args:
        source: Plans of nnU-Net for PlainConvUNet or ResidualEncoderUNet, in the present format
            or in the one without `architecture`. Not changed.
        architecture: The network.
        options: Further changes. Where the network gets as many parameters as another one,
            features are those of the other.
        dataset_json: The data set's `dataset.json`, for such networks.

    Returns:
        The new plans.

    Raises:
        PlansError: If the source or an option cannot be used, or `dataset_json` is missing.
    """
    plans_name = options.plans_name or architecture.plans_name
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", plans_name) or "__" in plans_name:
        msg = (
            f"plans name {plans_name!r} cannot be part of the names of nnU-Net's folders; "
            "use letters, digits, dots, hyphens and single underscores"
        )
        raise PlansError(msg)
    if plans_name == source.get("plans_name") or find_planner(plans_name):
        whose = "that of their source" if plans_name == source.get("plans_name") else "nnU-Net's"
        msg = (
            f"the new plans need a name of their own, not {plans_name!r}, {whose}; give another "
            "--plans-name"
        )
        raise PlansError(msg)
    source = _with_its_axes(source, architecture, options)
    plans = deepcopy(source)
    plans["plans_name"] = plans_name
    if architecture.planner is not None:
        plans["planned_by"] = "umamba"  # what the network's class does not say
    changed = _changed_configurations(source, options)
    _check_patch_option(source, changed, options.patch_size)
    unchanged = PlanOptions()
    plans["configurations"] = {
        name: _derive_configuration(
            source, name, architecture, options if name in changed else unchanged
        )
        for name in source["configurations"]
    }
    if architecture.parameters_of is None:
        return plans
    if dataset_json is None:
        msg = f"model {architecture.name!r} can be planned only with the data set's dataset.json"
        raise PlansError(msg)
    from umamba.nnunet.plans.matching import match_parameters  # needs torch

    reference = derive_plans(source, find_architecture(architecture.parameters_of), options)
    return match_parameters(plans, reference, dataset_json)


def _with_its_axes(source: Plans, architecture: Architecture, options: PlanOptions) -> Plans:
    """Leave out the configurations whose images have more or fewer axes than the network's.

    Raises:
        PlansError: If none is left, or one of them is asked for.
    """
    fitting = {
        name: entry
        for name, entry in source["configurations"].items()
        if len(resolve(source, name)["patch_size"]) in architecture.dims
    }
    asked = [name for name in options.configurations or () if name in source["configurations"]]
    if not fitting or not set(asked) <= set(fitting):
        axes = " or ".join(f"{dim}D" for dim in architecture.dims)
        given = ", ".join(name for name in asked or source["configurations"] if name not in fitting)
        msg = (
            f"{architecture.name} is for {axes} images only, not for {given}; give another --model"
        )
        raise PlansError(msg)
    return {**source, "configurations": fitting}


def _changed_configurations(source: Plans, options: PlanOptions) -> list[str]:
    """Return the configurations that the options change."""
    available = source["configurations"]
    unknown = [name for name in options.configurations or () if name not in available]
    if unknown:
        raise _no_configuration(source, unknown[0], quoted=unknown[0])
    return list(options.configurations or available)


def _no_configuration(plans: Plans, name: str, quoted: str) -> PlansError:
    known = plans["configurations"]
    return PlansError(
        f"configuration {quoted} is not in plans {plans.get('plans_name')!r}; "
        f"{closest(name, known)}they have {', '.join(known)}"
    )


def _check_patch_option(
    source: Plans, changed: Sequence[str], patch_size: tuple[int, ...] | None
) -> None:
    if patch_size is None:
        return
    axes = {name: len(resolve(source, name)["patch_size"]) for name in changed}
    if len(patch_size) not in axes.values():
        found = ", ".join(f"{name} has {n}" for name, n in axes.items())
        msg = f"--patch-size {list(patch_size)} has {len(patch_size)} axes, but {found}"
        raise PlansError(msg)


def resolve(plans: Plans, name: str) -> dict[str, Any]:
    """Return one configuration with everything that it inherits.

    Raises:
        PlansError: If it inherits from a configuration that does not exist, or from itself.
    """
    configurations = plans["configurations"]
    if name not in configurations:
        raise _no_configuration(plans, name, quoted=repr(name))
    chain: list[str] = []
    step: str | None = name
    while step is not None:
        if step in chain or step not in configurations:
            why = "inherits from itself" if step in chain else "is not in the plans"
            msg = f"configuration {step!r} {why} (needed by {name!r})"
            raise PlansError(msg)
        chain.append(step)
        step = configurations[step].get("inherits_from")
    resolved: dict[str, Any] = {}
    for ancestor in reversed(chain):
        resolved.update(deepcopy(configurations[ancestor]))
    return resolved


def next_stages(plans: Plans, name: str) -> list[str]:
    """Return the configurations of a cascade that need the predictions of a configuration."""
    stages = resolve(plans, name).get("next_stage") or []
    return [stages] if isinstance(stages, str) else list(stages)


def _derive_configuration(
    source: Plans, name: str, architecture: Architecture, options: PlanOptions
) -> dict[str, Any]:
    own: dict[str, Any] = deepcopy(source["configurations"][name])
    resolved = resolve(source, name)
    _round_patches(own, resolved, architecture)
    named = name in (options.configurations or ())
    if options.batch_size is not None and (named or "batch_size" in own):
        own["batch_size"] = options.batch_size
    if (
        options.patch_size is not None
        and (named or "patch_size" in own)
        and len(resolved["patch_size"]) == len(options.patch_size)
    ):
        own["patch_size"] = list(options.patch_size)
        resolved["patch_size"] = list(options.patch_size)
    owns_network = "architecture" in own or "UNet_class_name" in own
    # A configuration that inherits its network, but not its patch, needs one that fits the patch.
    if owns_network or "patch_size" in own or (named and _changes_network(options)):
        for key in OLD_KEYS:
            own.pop(key, None)
        own["architecture"] = derive_architecture(
            name,
            resolved,
            architecture,
            features=options.features,
            activation_checkpointing=options.activation_checkpointing,
        )
    return own


def _round_patches(
    own: dict[str, Any], resolved: dict[str, Any], architecture: Architecture
) -> None:
    """Round the patch up to what a network of its own topology needs, in place."""
    multiple = architecture.topology.patch_multiple
    if multiple is None:
        return
    for configuration in (own, resolved):
        if "patch_size" in configuration:
            patch = configuration["patch_size"]
            total = [multiple] * len(patch)
            fits = fitting_patch(patch, total, normalises_instances=True)
            configuration["patch_size"] = fits


def _changes_network(options: PlanOptions) -> bool:
    return options.features is not None or options.activation_checkpointing is not None
