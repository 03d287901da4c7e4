"""The networks whose reach is measured: any of the registry, planned by nnU-Net's rules."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from umamba.errors import PlansError
from umamba.nnunet.building import build
from umamba.nnunet.plans.derivation import PlanOptions, Plans, derive_plans
from umamba.nnunet.plans.example import EXAMPLE_DATASET, example_plans
from umamba.registry import find_architecture

__all__ = ["InitialNetwork", "initial_network"]


@dataclass(frozen=True)
class InitialNetwork:
    """A network with initial weights, and the patch that it takes.

    Attributes:
        network: Maps (batch, 1, *patch_size) to (batch, classes, *patch_size).
        patch_size: The one asked for, or the next larger one that fits.
    """

    network: nn.Module
    patch_size: tuple[int, ...]


def initial_network(
    model: str,
    patch_size: Sequence[int],
    *,
    n_stages: int | None = None,
    features: Sequence[int] | None = None,
    num_classes: int = 2,
    seed: int = 0,
) -> InitialNetwork:
    """Build a network as nnU-Net would plan it for large images of one channel and such a patch.

    Args:
        model: Its name in the registry.
        patch_size: Voxels along each of two or three axes.
        n_stages: Number of stages; the deeper ones that nnU-Net would plan are left out. `None`
            leaves all.
        features: Channels per stage; `None` leaves those of the plan.
        num_classes: Classes, the background among them.
        seed: Seed of the weights.

    Raises:
        UMambaError: If there is no such network for such patches.
    """
    configuration = {2: "2d", 3: "3d_fullres"}[len(patch_size)]
    source = example_plans({configuration: patch_size}, most_stages=n_stages)
    _check_stages(source, n_stages)
    options = PlanOptions(plans_name="reach", features=None if features is None else (*features,))
    plans = derive_plans(source, find_architecture(model), options, EXAMPLE_DATASET)
    planned = plans["configurations"][configuration]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(plans, num_classes=num_classes, configuration=configuration)
    return InitialNetwork(network, tuple(planned["patch_size"]))


def _check_stages(plans: Plans, n_stages: int | None) -> None:
    (planned,) = plans["configurations"].values()
    most = planned["architecture"]["arch_kwargs"]["n_stages"]
    if n_stages is not None and n_stages > most:
        msg = (
            f"{n_stages} stages are too many for a patch of {planned['patch_size']}, whose deepest "
            f"would have fewer than four voxels along each axis; give at most {most}"
        )
        raise PlansError(msg)
