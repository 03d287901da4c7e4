"""How much memory derived plans need, beside the plans they come from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from umamba.nnunet.plans import Plans, resolve
from umamba.profiling import TrainingMemory, estimate_training_memory

__all__ = ["MemoryComparison", "compare_memory", "memory_table"]

_GIB = 2**30


@dataclass(frozen=True)
class MemoryComparison:
    """One configuration, before and after; memory of one training step in float32."""

    patch_size: list[int]
    batch_size: int
    source_patch_size: list[int]
    source_batch_size: int
    source: TrainingMemory
    derived: TrainingMemory
    advice: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, with the totals."""
        return asdict(self) | {
            "source_total_bytes": self.source.total_bytes,
            "derived_total_bytes": self.derived.total_bytes,
        }


def compare_memory(
    source: Plans, derived: Plans, dataset_json: Mapping[str, Any]
) -> dict[str, MemoryComparison]:
    """Estimate what a training step of every configuration holds, before and after.

    Args:
        source: The plans that were there.
        derived: The new plans.
        dataset_json: The data set's `dataset.json`.

    Returns:
        Configuration name to estimates.
    """
    return {
        name: _compare(source, derived, dataset_json, name) for name in derived["configurations"]
    }


def _compare(
    source: Plans, derived: Plans, dataset_json: Mapping[str, Any], name: str
) -> MemoryComparison:
    before, after = resolve(source, name), resolve(derived, name)
    memory_before = _estimate(source, dataset_json, name, before["batch_size"])
    memory_after = _estimate(derived, dataset_json, name, after["batch_size"])
    limit = memory_before.total_bytes
    advice = ""
    if memory_after.total_bytes > limit:
        fits = [
            batch
            for batch in range(after["batch_size"] - 1, 1, -1)
            if _scaled(memory_after, batch / after["batch_size"]) <= limit
        ]
        if fits:
            advice = f"--batch-size {fits[0]}"
        else:
            patch = _smaller_patch(memory_after, limit, after)
            advice = f"--patch-size {' '.join(map(str, patch))}"
    return MemoryComparison(
        patch_size=after["patch_size"],
        batch_size=after["batch_size"],
        source_patch_size=before["patch_size"],
        source_batch_size=before["batch_size"],
        source=memory_before,
        derived=memory_after,
        advice=advice,
    )


def _estimate(
    plans: Plans, dataset_json: Mapping[str, Any], name: str, batch_size: int
) -> TrainingMemory:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    configuration = manager.get_configuration(name)
    channels = determine_num_input_channels(manager, configuration, dataset_json)
    with torch.device("meta"):
        network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            channels,
            manager.get_label_manager(dataset_json).num_segmentation_heads,
            allow_init=False,
            deep_supervision=True,
        )
    return estimate_training_memory(network, channels, configuration.patch_size, batch_size)


def _scaled(memory: TrainingMemory, factor: float) -> float:
    """Return the total with the activations scaled; they grow with batch and voxels."""
    return memory.total_bytes - memory.saved_bytes * (1 - factor)


def _smaller_patch(memory: TrainingMemory, limit: int, configuration: dict[str, Any]) -> list[int]:
    """Shrink the longest axis by its total stride until the estimate is within the limit."""
    strides = configuration["architecture"]["arch_kwargs"]["strides"]
    total = [1] * len(strides[0])
    for stride in strides:
        total = [t * s for t, s in zip(total, stride, strict=True)]
    patch = list(configuration["patch_size"])
    voxels = _product(patch)
    while _scaled(memory, _product(patch) / voxels) > limit:
        shrinkable = [i for i, size in enumerate(patch) if size > 2 * total[i]]
        if not shrinkable:
            break
        longest = max(shrinkable, key=lambda i: patch[i])
        patch[longest] -= total[longest]
    return patch


def _product(sizes: list[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def memory_table(memory: Mapping[str, MemoryComparison]) -> str:
    """Return the estimates as a table for people."""
    lines = [
        "Estimated memory of a training step (float32; activations kept for the backward, "
        "weights, gradients, momentum):",
        f"  {'configuration':<20}{'patch':<16}{'batch':>6}{'source GiB':>12}{'ours GiB':>10}",
    ]
    for name, row in memory.items():
        patch = "x".join(map(str, row.patch_size))
        before, after = row.source.total_bytes / _GIB, row.derived.total_bytes / _GIB
        hint = f"   above its source; {row.advice} would fit" if row.advice else ""
        lines.append(
            f"  {name:<20}{patch:<16}{row.batch_size:>6}{before:>12.2f}{after:>10.2f}{hint}"
        )
    return "\n".join(lines) + "\n"
