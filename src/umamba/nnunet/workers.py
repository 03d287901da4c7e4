"""Sizes of nnU-Net's worker pools: as the user says, or else as fits the machine."""

import os

from umamba.errors import UMambaError
from umamba.system.environment import setting
from umamba.system.limits import available_cores

__all__ = ["augmentation_workers", "default_workers"]


def default_workers(device: str) -> dict[str, str]:
    """Return variables that size nnU-Net's worker pools for this machine, where none are set.

    On a CPU the workers share the cores with the network, so half of the cores augment;
    with a GPU nnU-Net's own rule is right for augmentation.
    """
    sizes = {"nnUNet_def_n_proc": str(min(8, available_cores()))}
    if device == "cpu":
        sizes["nnUNet_n_proc_DA"] = str(_workers_beside_cpu())
    return {name: size for name, size in sizes.items() if name not in os.environ}


def augmentation_workers(device: str) -> int:
    """Return how many workers will augment: as the user says, or by default.

    Raises:
        UMambaError: If the user's setting is not a number.
    """
    text = setting("nnUNet_n_proc_DA")
    if text is None and device == "cpu":
        return _workers_beside_cpu()
    try:
        return min(int(text or 12), os.cpu_count() or 1)  # as nnU-Net does
    except ValueError:
        msg = f"nnUNet_n_proc_DA is {text!r}, which is not a number"
        raise UMambaError(msg) from None


def _workers_beside_cpu() -> int:
    return max(1, min(12, available_cores() // 2))
