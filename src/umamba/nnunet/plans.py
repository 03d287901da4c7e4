"""From nnU-Net's plans to plans that name one of our networks; pure functions.

Only the architecture, and on request patch and batch size, change. `data_identifier` stays, so
that nothing is preprocessed again.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from umamba.errors import PlansError, closest
from umamba.patches import describe_misfit, fitting_patch
from umamba.registry import Architecture, find_architecture, find_planner

__all__ = [
    "PlanOptions",
    "check_patch",
    "derive_plans",
    "next_stages",
    "official_architecture",
    "resolve",
]

Plans = dict[str, Any]

# What a configuration of nnU-Net before 2.5 says in place of `architecture`.
_OLD_KEYS = (
    "UNet_class_name",
    "UNet_base_num_features",
    "n_conv_per_stage_encoder",
    "n_conv_per_stage_decoder",
    "num_pool_per_axis",
    "pool_op_kernel_sizes",
    "conv_kernel_sizes",
    "unet_max_num_features",
)
_SOURCES = ("PlainConvUNet", "ResidualEncoderUNet")
_TAKEN_OVER = ("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides")
_STYLE = (
    "conv_bias",
    "norm_op",
    "norm_op_kwargs",
    "dropout_op",
    "dropout_op_kwargs",
    "nonlin",
    "nonlin_kwargs",
)
# Fewer would leave less than three levels to supervise.
_STAGES_WITH_EMBEDDING = 5
_IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")
# nnU-Net's residual blocks per encoder stage; further stages have the last.
_RESENC_BLOCKS = (1, 3, 4, 6)


@dataclass(frozen=True)
class PlanOptions:
    """What a user may change while plans are derived.

    Args:
        plans_name: Name of the new plans; `None` is the architecture's default.
        features: Channels per stage; the last stands for further stages.
        patch_size: Patch size, for the configurations with as many axes.
        batch_size: Patches in a batch.
        activation_checkpointing: What training computes again instead of keeping it.
        configurations: Configurations that features, patch and batch size are for; `None` is
            all. The others are derived as they are.
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

    Args:
        source: Plans of nnU-Net for PlainConvUNet or ResidualEncoderUNet, in the present format
            or in the one without `architecture`. Not changed.
        architecture: The network.
        options: What else to change. Where the network gets as many parameters as another one,
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
            f"plans name {plans_name!r} cannot be part of a folder's name as nnU-Net builds it; "
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
    from umamba.nnunet.matching import match_parameters  # needs torch

    reference = derive_plans(source, find_architecture(architecture.parameters_of), options)
    return match_parameters(plans, reference, dataset_json)


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
        PlansError: If it inherits from a configuration that is not there, or from itself.
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
    """Return the configurations of a cascade that need what a configuration predicts."""
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
        for key in _OLD_KEYS:
            own.pop(key, None)
        own["architecture"] = _derive_architecture(name, resolved, architecture, options)
    return own


def _round_patches(
    own: dict[str, Any], resolved: dict[str, Any], architecture: Architecture
) -> None:
    """Round the patch up to what a network of its own topology needs, in place."""
    if architecture.round_patch_to is None:
        return
    for configuration in (own, resolved):
        if "patch_size" in configuration:
            patch = configuration["patch_size"]
            total = [architecture.round_patch_to] * len(patch)
            fits = fitting_patch(patch, total, normalises_instances=True)
            configuration["patch_size"] = fits


def _changes_network(options: PlanOptions) -> bool:
    return options.features is not None or options.activation_checkpointing is not None


def _derive_architecture(
    name: str, resolved: dict[str, Any], architecture: Architecture, options: PlanOptions
) -> dict[str, Any]:
    source = resolved.get("architecture") or _from_old_format(name, resolved)
    class_name = str(source["network_class_name"]).rsplit(".", 1)[-1]
    if class_name not in _SOURCES:
        msg = (
            f"configuration {name!r} trains {class_name}; plans can be derived from those of "
            f"{' or '.join(_SOURCES)} only. Name such plans with --from."
        )
        raise PlansError(msg)
    given = source["arch_kwargs"]
    if architecture.own_strides is not None:
        keywords = _own_topology(architecture, given, options)
    else:
        is_plain = class_name == "PlainConvUNet"
        keywords = _planned_topology(architecture, given, options, is_plain=is_plain)
    keywords |= architecture.keywords
    if options.activation_checkpointing is not None:
        if architecture.planner is not None:
            msg = (
                f"--activation-checkpointing is not for {architecture.name}, nnU-Net's own network"
            )
            raise PlansError(msg)
        keywords["activation_checkpointing"] = options.activation_checkpointing
    patch = list(resolved["patch_size"])
    _check_patch(name, patch, keywords)
    if architecture.needs_input_size:
        keywords["input_size"] = patch
    return {
        "network_class_name": architecture.class_path,
        "arch_kwargs": keywords,
        "_kw_requires_import": [key for key in _IMPORTED if key in keywords],
    }


def _planned_topology(
    architecture: Architecture, given: dict[str, Any], options: PlanOptions, *, is_plain: bool
) -> dict[str, Any]:
    """Return the keywords of a network that takes its topology from nnU-Net's plan."""
    if architecture.embeds_patches and given["n_stages"] >= _STAGES_WITH_EMBEDDING:
        given = _with_embedded_patches(given)
    n_stages = given["n_stages"]
    keywords: dict[str, Any] = {key: deepcopy(given[key]) for key in _TAKEN_OVER}
    if options.features is not None:
        features = options.features + options.features[-1:] * n_stages
        keywords["features_per_stage"] = list(features[:n_stages])
    keywords |= _block_counts(architecture, given, is_plain=is_plain)
    return keywords | {key: deepcopy(given[key]) for key in _STYLE if key in given}


def _own_topology(
    architecture: Architecture, given: dict[str, Any], options: PlanOptions
) -> dict[str, Any]:
    """Return the keywords of a network that keeps its own topology."""
    features = options.features or (architecture.own_width,)
    if len(features) > 1:
        msg = (
            f"--features takes one number for {architecture.name}, the channels at full "
            f"resolution; those of the other resolutions follow. Got {len(features)}."
        )
        raise PlansError(msg)
    dim = len(given["strides"][0])
    return {
        "features_per_stage": list(features),
        "conv_op": given["conv_op"],
        "strides": [[stride] * dim for stride in architecture.own_strides or ()],
    }


def _block_counts(
    architecture: Architecture, given: dict[str, Any], *, is_plain: bool
) -> dict[str, Any]:
    """Return how many blocks, or plain convolutions, the stages of the new network have.

    Plain convolutions are taken over from a plain U-Net; a source of residual blocks says nothing
    of them, and leaves nnU-Net's two. nnU-Net's own residual blocks are as its planners have them.
    """
    if architecture.class_path.endswith(".ResidualEncoderUNet"):
        return _residual_encoder_blocks(given, is_plain=is_plain)
    if architecture.residual_blocks is None and is_plain:
        return {
            key: deepcopy(given[key]) for key in ("n_conv_per_stage", "n_conv_per_stage_decoder")
        }
    blocks, blocks_decoder = architecture.residual_blocks or (2, 2)
    n_stages = given["n_stages"]
    encoder, decoder = [blocks] * n_stages, [blocks_decoder] * (n_stages - 1)
    if architecture.full_resolution_blocks is not None:
        encoder[0] = decoder[-1] = architecture.full_resolution_blocks
    return {"n_conv_per_stage": encoder, "n_conv_per_stage_decoder": decoder}


def _residual_encoder_blocks(given: dict[str, Any], *, is_plain: bool) -> dict[str, Any]:
    if not is_plain:
        return {
            key: deepcopy(given[key]) for key in ("n_blocks_per_stage", "n_conv_per_stage_decoder")
        }
    n_stages = given["n_stages"]
    blocks = _RESENC_BLOCKS + _RESENC_BLOCKS[-1:] * n_stages
    return {
        "n_blocks_per_stage": list(blocks[:n_stages]),
        "n_conv_per_stage_decoder": [1] * (n_stages - 1),
    }


def _with_embedded_patches(given: dict[str, Any]) -> dict[str, Any]:
    """Leave out the second resolution: one stride, the patch embedding, leads to the third."""
    first, second, third, *rest = given["strides"]
    embedding = [a * b for a, b in zip(second, third, strict=True)]
    kernel, _, *kernels = given["kernel_sizes"]
    return given | {
        "n_stages": given["n_stages"] - 1,
        "strides": [first, embedding, *rest],
        "kernel_sizes": [kernel, *kernels],
        "features_per_stage": given["features_per_stage"][:-1],
    }


def official_architecture(configuration: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the authors' network for one resolved configuration of anyone's plans.

    Args:
        configuration: A configuration of nnU-Net, inheritance resolved. Not changed.
        model: Name of an architecture in the registry.

    Returns:
        What `architecture` of derived plans would say.

    Raises:
        PlansError: If the configuration cannot be used.
    """
    return _derive_architecture(
        "given", deepcopy(configuration), find_architecture(model), PlanOptions()
    )


def _from_old_format(name: str, resolved: dict[str, Any]) -> dict[str, Any]:
    """Rebuild `architecture` from a configuration of nnU-Net before 2.5."""
    missing = [key for key in _OLD_KEYS if key not in resolved and key != "num_pool_per_axis"]
    if missing:
        msg = f"configuration {name!r} has neither `architecture` nor {', '.join(missing)}"
        raise PlansError(msg)
    strides = resolved["pool_op_kernel_sizes"]
    base, most = resolved["UNet_base_num_features"], resolved["unet_max_num_features"]
    dim = len(resolved["patch_size"])
    return {
        "network_class_name": resolved["UNet_class_name"],
        "arch_kwargs": {
            "n_stages": len(strides),
            "features_per_stage": [min(base * 2**i, most) for i in range(len(strides))],
            "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
            "kernel_sizes": resolved["conv_kernel_sizes"],
            "strides": strides,
            "n_conv_per_stage": resolved["n_conv_per_stage_encoder"],
            "n_conv_per_stage_decoder": resolved["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
    }


def check_patch(name: str, configuration: dict[str, Any]) -> None:
    """Check that the patch of a resolved configuration fits its network.

    Args:
        name: The configuration, for the message.
        configuration: The configuration, inheritance resolved.

    Raises:
        PlansError: If it does not; it names a patch that fits.
    """
    keywords = configuration.get("architecture", {}).get("arch_kwargs", {})
    if "strides" in keywords:
        _check_patch(name, list(configuration["patch_size"]), keywords)


def _check_patch(name: str, patch: list[int], keywords: dict[str, Any]) -> None:
    strides = keywords["strides"]
    axes = {len(stride) for stride in strides}
    if axes != {len(patch)}:
        msg = (
            f"patch_size {patch} of configuration {name!r} has {len(patch)} axes, but the strides "
            f"of its network have {', '.join(map(str, sorted(axes)))}; correct one of them"
        )
        raise PlansError(msg)
    # Our networks take None for instance normalisation.
    norm = str(keywords.get("norm_op") or "InstanceNorm")
    misfit = describe_misfit(patch, strides, normalises_instances="InstanceNorm" in norm)
    if misfit:
        msg = (
            f"patch_size {patch} of configuration {name!r} {misfit}. Plan again with such a "
            "--patch-size."
        )
        raise PlansError(msg)
