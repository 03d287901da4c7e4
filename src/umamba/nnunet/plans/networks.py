"""The network that plans describe, built by nnU-Net."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.nn.parallel import DistributedDataParallel

from umamba.errors import PlansError, UMambaError, quoted
from umamba.nnunet.plans.values import Plans

__all__ = ["BuiltNetwork", "bare_network", "build_network", "building"]

MOST_WEIGHTS = 20_000  # and layers: the largest networks of today have a few thousand
# Errors of networks' constructors, and of nnU-Net's readers of plans, at values that do not fit.
_UNBUILDABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


class BuiltNetwork(NamedTuple):
    """A network and the batches it is trained on, in the order of profiling's arguments."""

    network: nn.Module
    input_channels: int
    patch_size: tuple[int, ...]
    batch_size: int


def build_network(
    plans: Plans,
    dataset_json: Mapping[str, Any],
    name: str,
    device: str = "meta",
    file: Path = Path("plans.json"),
) -> BuiltNetwork:
    """Build the network of one configuration for training, with deep supervision.

    Args:
        plans: Plans of nnU-Net or of ours.
        dataset_json: The data set's `dataset.json`.
        name: The configuration.
        device: The device for its weights.
        file: The plans, for messages.

    Raises:
        PlansError: If the network cannot be built, or is far larger than any in use.
    """
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    with building(file), torch.device(device):
        manager = PlansManager(plans)
        configuration = manager.get_configuration(name)
        channels: int = determine_num_input_channels(manager, configuration, dataset_json)
        network: nn.Module = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            channels,
            manager.get_label_manager(dataset_json).num_segmentation_heads,
            allow_init=False,
            deep_supervision=True,
        )
        patch_size, batch_size = tuple(configuration.patch_size), configuration.batch_size
    return BuiltNetwork(network, channels, patch_size, batch_size)


def bare_network(network: nn.Module) -> nn.Module:
    """Return a network without the wrappers that distribute or compile it."""
    if isinstance(network, DistributedDataParallel):
        network = network.module
    bare: nn.Module = getattr(network, "_orig_mod", network)
    return bare


@contextmanager
def building(file: Path, most_weights: int = MOST_WEIGHTS) -> Iterator[None]:
    """Limit the size of the network that plans describe, and explain errors while it is built.

    Args:
        file: The plans, for messages.
        most_weights: How many weights may be made: their number, not their size.

    Raises:
        PlansError: If the network cannot be built, or has more weights.
    """
    made = 0

    def count(*_: object) -> None:
        nonlocal made
        made += 1
        if made > most_weights:
            msg = (
                f"{file} describes a network with more than {most_weights} weights and layers, "
                "far more than its checkpoint has, or than anybody trains; use another copy"
            )
            raise PlansError(msg)

    hooks = [
        register_module_parameter_registration_hook(count),
        register_module_module_registration_hook(count),
    ]
    try:
        yield
    except UMambaError as error:
        if str(error).startswith(str(file)):
            raise
        msg = f"{file}: {error}"
        raise PlansError(msg) from None
    except _UNBUILDABLE as error:
        first = quoted(next(iter(str(error).splitlines()), ""))
        msg = (
            f"{file}: the network that it describes cannot be built ({type(error).__name__} "
            f"{first}); get another copy, or the version that wrote it"
        )
        raise PlansError(msg) from error
    finally:
        for hook in hooks:
            hook.remove()
