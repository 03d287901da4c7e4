"""Start from the weights of another training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from umamba.errors import CheckpointError
from umamba.networks import UMambaMedNeXt
from umamba.nnunet.checkpoints.contents import check_finite
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.plans.derivation import resolve
from umamba.nnunet.plans.networks import bare_network
from umamba.nnunet.trust import check_plans

__all__ = ["load_pretrained"]

_HEADS = ".seg_layers."  # nnU-Net does not transfer these, as labels may differ


def load_pretrained(trainer: Any, path: Path) -> None:
    """Load all weights but the segmentation heads of nnU-Net's networks, as nnU-Net does.

    The depthwise kernels of a MedNeXt may have another size: they are resampled.

    Args:
        trainer: nnU-Net's trainer, initialised.
        path: The checkpoint.

    Raises:
        CheckpointError: If the weights belong to another network, or to another patch.
    """
    saved = read_checkpoint(path)
    _check_patch(saved, trainer.configuration_manager.configuration, path)
    check_finite(saved["network_weights"], path)
    network, weights = bare_network(trainer.network), saved["network_weights"]
    if isinstance(network, UMambaMedNeXt):
        weights = network.with_resampled_kernels(weights)
    _check_shapes(weights, network, path)
    own = network.state_dict()
    taken = {name: weights[name] for name in own if _HEADS not in name}
    network.load_state_dict(own | taken)


def _check_patch(saved: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Compare the patches that weights depend on; as many voxels of another shape would load."""
    theirs = saved.get("init_args", {})
    if "plans" not in theirs:  # made for prediction
        return
    check_plans(theirs["plans"], path, trusted=True)  # from which nothing is imported
    trained = _input_size(resolve(theirs["plans"], theirs.get("configuration")))
    planned = _input_size(wanted)
    if None not in (trained, planned) and trained != planned:
        msg = (
            f"the weights in {path} belong to patch_size {trained}, which they were trained with, "
            f"but these plans have {planned}; plan with the --patch-size of the weights"
        )
        raise CheckpointError(msg)


def _input_size(configuration: Mapping[str, Any]) -> list[int] | None:
    """Return the patch that weights depend on; `None` if they do not."""
    architecture = configuration.get("architecture", {})  # plans of old have none
    size = architecture.get("arch_kwargs", {}).get("input_size")
    return None if size is None else [int(n) for n in size]


def _check_shapes(weights: Mapping[str, Any], network: nn.Module, path: Path) -> None:
    for name, wanted in network.state_dict().items():
        if _HEADS in name:
            continue
        if name not in weights:
            msg = f"{path} is of another network than these plans describe: it has no {name}"
            raise CheckpointError(msg)
        shapes = [tuple(weights[name].shape), tuple(wanted.shape)]
        if shapes[0] != shapes[1]:
            msg = (
                f"the weights in {path} are of another network than these plans describe: {name} "
                f"is {shapes[0]}, not {shapes[1]}; plan with the features, patch size, channels "
                "and labels that they were trained with"
            )
            raise CheckpointError(msg)
