"""The network that plans describe, built by nnU-Net."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from umamba.nnunet.plans import Plans

__all__ = ["PlannedNetwork", "bare_network", "build_network"]


class PlannedNetwork(NamedTuple):
    """A network and the batches that it is trained on, in the order in which profiling wants it."""

    network: nn.Module
    input_channels: int
    patch_size: tuple[int, ...]
    batch_size: int


def build_network(
    plans: Plans, dataset_json: Mapping[str, Any], name: str, device: str = "meta"
) -> PlannedNetwork:
    """Build the network of one configuration for training, with deep supervision.

    Args:
        plans: Plans of nnU-Net or of ours.
        dataset_json: The data set's `dataset.json`.
        name: The configuration.
        device: Where its weights are.
    """
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    configuration = manager.get_configuration(name)
    channels: int = determine_num_input_channels(manager, configuration, dataset_json)
    with torch.device(device):
        network: nn.Module = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            channels,
            manager.get_label_manager(dataset_json).num_segmentation_heads,
            allow_init=False,
            deep_supervision=True,
        )
    patch_size = tuple(configuration.patch_size)
    return PlannedNetwork(network, channels, patch_size, configuration.batch_size)


def bare_network(network: nn.Module) -> nn.Module:
    """Take off what distributes a network and what compiles it."""
    if isinstance(network, DistributedDataParallel):
        network = network.module
    bare: nn.Module = getattr(network, "_orig_mod", network)
    return bare
