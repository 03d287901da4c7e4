"""The network that a configuration trains, derived from the one that nnU-Net planned for it."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from umamba.errors import PlansError
from umamba.patches import describe_misfit
from umamba.registry import Architecture, find_architecture
from umamba.topologies import PlannedUNet

__all__ = [
    "OLD_KEYS",
    "check_patch",
    "derive_architecture",
    "official_architecture",
    "planned_architecture",
]

# Keys of a configuration of nnU-Net before 2.5, which has no `architecture`.
OLD_KEYS = (
    "UNet_class_name",
    "UNet_base_num_features",
    "n_conv_per_stage_encoder",
    "n_conv_per_stage_decoder",
    "num_pool_per_axis",
    "pool_op_kernel_sizes",
    "conv_kernel_sizes",
    "unet_max_num_features",
)
_MOST_FEATURES = {2: 512, 3: 320}  # of nnU-Net's planner, by the number of axes
_SOURCES = ("PlainConvUNet", "ResidualEncoderUNet")
_IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")


def derive_architecture(
    name: str,
    resolved: dict[str, Any],
    architecture: Architecture,
    *,
    features: tuple[int, ...] | None = None,
    activation_checkpointing: str | None = None,
) -> dict[str, Any]:
    """Return the network that a configuration of derived plans trains.

    Args:
        name: The configuration, for messages.
        resolved: The configuration of the source, inheritance resolved.
        architecture: The network.
        features: Channels per stage; `None` leaves those of the source.
        activation_checkpointing: Activations that training computes again instead of keeping them;
            `None` is the architecture's default.

    Returns:
        The `architecture` of the derived plans.

    Raises:
        PlansError: If the configuration or an option cannot be used.
    """
    source = resolved.get("architecture") or _from_old_format(name, resolved)
    class_name = str(source["network_class_name"]).rsplit(".", 1)[-1]
    if class_name not in _SOURCES:
        msg = (
            f"configuration {name!r} trains {class_name}; plans can be derived only from those of "
            f"{' or '.join(_SOURCES)}. Name such plans with --from."
        )
        raise PlansError(msg)
    planned = PlannedUNet(source["arch_kwargs"], is_plain=class_name == "PlainConvUNet")
    keywords = architecture.topology.keywords(planned, features, architecture.name)
    keywords |= architecture.keywords
    if activation_checkpointing is not None and architecture.planner is not None:
        msg = f"--activation-checkpointing is not for {architecture.name}, nnU-Net's own network"
        raise PlansError(msg)
    chosen = activation_checkpointing or architecture.activation_checkpointing
    if chosen is not None:
        keywords["activation_checkpointing"] = chosen
    patch = list(resolved["patch_size"])
    _check_patch(name, patch, keywords)
    if architecture.needs_input_size:
        keywords["input_size"] = patch
    return {
        "network_class_name": architecture.class_path,
        "arch_kwargs": keywords,
        "_kw_requires_import": [key for key in _IMPORTED if key in keywords],
    }


def planned_architecture(
    name: str, resolved: dict[str, Any], strides: Sequence[Any], kernels: Sequence[Any]
) -> dict[str, Any]:
    """Return nnU-Net's network of a configuration with other stages, as its planner makes it.

    Args:
        name: The configuration, for messages.
        resolved: The configuration, inheritance resolved. Not changed.
        strides: Stride per stage and axis.
        kernels: Kernel size per stage and axis.

    Returns:
        Its `architecture`; channels double from stage to stage up to the most that they had, or
        that nnU-Net gives, and further stages have as many blocks as the last.

    Raises:
        PlansError: If the configuration has no network.
    """
    architecture = deepcopy(resolved.get("architecture") or _from_old_format(name, resolved))
    keywords = architecture["arch_kwargs"]
    n_stages, features = len(strides), keywords["features_per_stage"]
    is_capped = len(features) > 1 and features[-1] == features[-2]
    most = max(features) if is_capped else max(*features, _MOST_FEATURES[len(strides[0])])
    keywords |= {
        "n_stages": n_stages,
        "strides": [[int(s) for s in stride] for stride in strides],
        "kernel_sizes": [[int(k) for k in kernel] for kernel in kernels],
        "features_per_stage": [min(features[0] * 2**i, most) for i in range(n_stages)],
    }
    for key, count in (("n_conv_per_stage", n_stages), ("n_conv_per_stage_decoder", n_stages - 1)):
        blocks = "n_blocks_per_stage" if key not in keywords else key
        values = keywords[blocks]
        if not isinstance(values, int):
            keywords[blocks] = [*values, *[values[-1]] * n_stages][:count]
    return architecture


def official_architecture(configuration: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the authors' network for one resolved configuration of anyone's plans.

    Args:
        configuration: A configuration of nnU-Net, inheritance resolved. Not changed.
        model: Name of an architecture in the registry.

    Returns:
        The `architecture` that derived plans would have.

    Raises:
        PlansError: If the configuration cannot be used.
    """
    return derive_architecture("given", deepcopy(configuration), find_architecture(model))


def _from_old_format(name: str, resolved: dict[str, Any]) -> dict[str, Any]:
    """Rebuild `architecture` from a configuration of nnU-Net before 2.5."""
    missing = [key for key in OLD_KEYS if key not in resolved and key != "num_pool_per_axis"]
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
        PlansError: If it does not; the message names a patch that fits.
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
