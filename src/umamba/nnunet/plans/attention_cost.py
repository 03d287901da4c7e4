"""The cost of self-attention, which is refused while plans are made if it cannot fit."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from umamba.errors import PlansError
from umamba.nnunet.plans.derivation import Plans, resolve
from umamba.nnunet.plans.memory import MemoryComparison
from umamba.nnunet.plans.networks import build_network

__all__ = ["check_attention"]

_GIB = 2**30
_LARGEST_GPU = 80 * _GIB  # of those in common use
_KERNEL = torch.ops.aten._scaled_dot_product_efficient_attention


def check_attention(
    plans: Plans,
    dataset_json: Mapping[str, Any],
    memory: Mapping[str, MemoryComparison],
    names: Sequence[str],
) -> list[str]:
    """Check that a training with self-attention fits the GPU, or 80 GiB if there is none.

    The memory is that of `compare_memory`, with the fused kernels that torch has on CPUs and CUDA:
    they never hold an attention map, so memory is linear in the number of tokens, and only time
    grows with its square.

    Args:
        plans: Derived plans.
        dataset_json: The data set's `dataset.json`.
        memory: Estimates of their configurations.
        names: The configurations to check.

    Returns:
        Warnings: configurations where attention is most of the work.

    Raises:
        PlansError: If a training step does not fit; the message gives the estimate.
    """
    warnings = []
    for name in names:
        row = memory[name]
        keywords = resolve(plans, name)["architecture"]["arch_kwargs"]
        if keywords.get("mixer") != "attention":
            continue
        limit, whose = _memory_limit()
        needed = row.derived.total_bytes
        if needed > limit:
            can_save = keywords.get("activation_checkpointing", "blocks") != "blocks"
            cheaper = " or with --activation-checkpointing blocks" if can_save else ""
            msg = (
                f"a training step of configuration {name!r} with self-attention, patch_size "
                f"{row.patch_size} and batch_size {row.batch_size} needs an estimated "
                f"{needed / _GIB:.1f} GiB, more than {whose} ({limit / _GIB:.1f} GiB). Plan with "
                f"a smaller --batch-size or --patch-size{cheaper}, or name only the "
                "--configurations that you train."
            )
            raise PlansError(msg)
        attention, whole = _operations(plans, dataset_json, name)
        if 2 * attention > whole:
            warnings.append(
                f"self-attention is {attention / whole:.1%} of the {row.batch_size * whole:.2g} "
                f"operations of a forward pass of {name}: its time grows with the square of the "
                "patch's voxels; a smaller --patch-size trains much faster"
            )
    return warnings


def _memory_limit() -> tuple[int, str]:
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory, "this machine's GPU has"
    return _LARGEST_GPU, "the largest common GPU has"


def _operations(plans: Plans, dataset_json: Mapping[str, Any], name: str) -> tuple[int, int]:
    """Return the floating-point operations of one patch: those of attention, and all."""
    network, channels, patch_size, _ = build_network(plans, dataset_json, name)
    patch = torch.empty(1, channels, *patch_size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(patch)
    return counter.get_flop_counts()["Global"].get(_KERNEL, 0), counter.get_total_flops()
