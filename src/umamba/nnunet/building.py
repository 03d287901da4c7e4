"""Build a network by the name of a model, or by plans, for any PyTorch project."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umamba import registry
from umamba.errors import PlansError, UMambaError, closest

if TYPE_CHECKING:
    from torch import nn

    from umamba.nnunet.plans.derivation import Plans

__all__ = ["build"]


def build(
    model: "str | os.PathLike[str] | Plans",
    *,
    input_channels: int = 1,
    num_classes: int = 2,
    configuration: str = "3d_fullres",
    patch_size: Sequence[int] | None = None,
    features: Sequence[int] | None = None,
    deep_supervision: bool = False,
    trust_plans: bool = False,
) -> "nn.Module":
    """Build a network, with the weights that nnU-Net's training begins with.

    Args:
        model: Name of a model of `umamba.models()`, or plans: those of `umamba.plan`, or a file.
        input_channels: Channels of the images.
        num_classes: Classes, the background among them.
        configuration: `2d`, `3d_fullres`, ...; with the name of a model one of these two.
        patch_size: Voxels along each axis, for the name of a model; by default 128 in 3D and 512
            in 2D. Only some networks depend on it.
        features: Channels per stage, the last also for further stages, for the name of a model.
        deep_supervision: Whether it returns the logits of all heads, full resolution first, as a
            list, instead of one tensor.
        trust_plans: Whether plans may name any code to import.

    Returns:
        The network; (batch, channels, *patch) to (batch, classes, *patch).

    Raises:
        UMambaError: If the model or configuration is unknown, or cannot be built.
    """
    from umamba.nnunet.plans.networks import build_network

    if input_channels < 1 or num_classes < 2:
        msg = (
            f"a network of {input_channels} channels and {num_classes} classes cannot be built; "
            "give 1 or more channels, and 2 or more classes, the background among them"
        )
        raise UMambaError(msg)
    dataset_json = _description(input_channels, num_classes)
    file = Path("plans")
    if isinstance(model, str) and model in registry.names():
        plans = _planned(model, configuration, patch_size, features, dataset_json)
    elif patch_size is not None or features is not None:
        msg = "patch_size and features are for the name of a model; plans have their own"
        raise UMambaError(msg)
    else:
        plans, file = _given(model, trust_plans=trust_plans)
    if configuration not in plans["configurations"]:
        known = plans["configurations"]
        msg = (
            f"configuration {configuration!r} is not in {file}; {closest(configuration, known)}"
            f"there are {', '.join(known)}"
        )
        raise PlansError(msg)
    network = build_network(plans, dataset_json, configuration, device="cpu", file=file).network
    initialize = getattr(network, "initialize", None)
    if initialize is not None:
        network.apply(initialize)
    decoder: Any = network.decoder
    decoder.deep_supervision = deep_supervision
    return network


def _planned(
    model: str,
    configuration: str,
    patch_size: Sequence[int] | None,
    features: Sequence[int] | None,
    dataset_json: Mapping[str, Any],
) -> "Plans":
    """Return plans for a model, derived from nnU-Net's plans for a typical data set."""
    from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
    from umamba.nnunet.plans.example import example_plans

    source = example_plans()
    known = source["configurations"]
    source["configurations"] = {n: known[n] for n in known if n == configuration} or known
    options = PlanOptions(
        plans_name="built",
        patch_size=None if patch_size is None else tuple(patch_size),
        features=None if features is None else tuple(features),
    )
    return derive_plans(source, registry.find_architecture(model), options, dataset_json)


def _given(model: "str | os.PathLike[str] | Plans", *, trust_plans: bool) -> "tuple[Plans, Path]":
    """Return the given plans, or read them from a file."""
    from umamba.nnunet.trust import check_plans
    from umamba.system.json_files import load_json

    if isinstance(model, Mapping):
        plans, file = dict(model), Path("plans")
    else:
        file = Path(model).expanduser()
        if isinstance(model, str) and not file.exists() and file.suffix != ".json":
            registry.find_architecture(model)  # says which models there are
        plans = load_json(file)
    check_plans(plans, file, trusted=trust_plans)
    return plans, file


def _description(input_channels: int, num_classes: int) -> dict[str, Any]:
    labels = {"background": 0} | {f"label {i}": i for i in range(1, num_classes)}
    channels = {str(i): f"channel {i}" for i in range(input_channels)}
    return {"channel_names": channels, "labels": labels}
