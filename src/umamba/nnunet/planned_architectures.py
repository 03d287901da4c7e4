"""The network that a configuration trains, derived from the one that nnU-Net planned for it."""

from copy import deepcopy
from typing import Any

from umamba.errors import PlansError
from umamba.patches import describe_misfit
from umamba.registry import Architecture, find_architecture

__all__ = ["OLD_KEYS", "check_patch", "derive_architecture", "official_architecture"]

# What a configuration of nnU-Net before 2.5 says in place of `architecture`.
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
        activation_checkpointing: What training computes again instead of keeping it.

    Returns:
        What `architecture` of the derived plans says.

    Raises:
        PlansError: If the configuration or an option cannot be used.
    """
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
        keywords = _own_topology(architecture, given, features)
    else:
        is_plain = class_name == "PlainConvUNet"
        keywords = _planned_topology(architecture, given, features, is_plain=is_plain)
    keywords |= architecture.keywords
    if activation_checkpointing is not None:
        if architecture.planner is not None:
            msg = (
                f"--activation-checkpointing is not for {architecture.name}, nnU-Net's own network"
            )
            raise PlansError(msg)
        keywords["activation_checkpointing"] = activation_checkpointing
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
    architecture: Architecture,
    given: dict[str, Any],
    features: tuple[int, ...] | None,
    *,
    is_plain: bool,
) -> dict[str, Any]:
    """Return the keywords of a network that takes its topology from nnU-Net's plan."""
    if architecture.embeds_patches and given["n_stages"] >= _STAGES_WITH_EMBEDDING:
        given = _with_embedded_patches(given)
    n_stages = given["n_stages"]
    keywords: dict[str, Any] = {key: deepcopy(given[key]) for key in _TAKEN_OVER}
    if features is not None:
        keywords["features_per_stage"] = list((features + features[-1:] * n_stages)[:n_stages])
    keywords |= _block_counts(architecture, given, is_plain=is_plain)
    return keywords | {key: deepcopy(given[key]) for key in _STYLE if key in given}


def _own_topology(
    architecture: Architecture, given: dict[str, Any], features: tuple[int, ...] | None
) -> dict[str, Any]:
    """Return the keywords of a network that keeps its own topology."""
    widths = features or (architecture.own_width,)
    if len(widths) > 1:
        msg = (
            f"--features takes one number for {architecture.name}, the channels at full "
            f"resolution; those of the other resolutions follow. Got {len(widths)}."
        )
        raise PlansError(msg)
    dim = len(given["strides"][0])
    return {
        "features_per_stage": list(widths),
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
