"""The memory that derived plans need, compared with the plans they come from."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from umamba.nnunet.plans.derivation import Plans, resolve
from umamba.nnunet.plans.networks import build_network
from umamba.patches import total_stride
from umamba.profiling import TrainingMemory, estimate_training_memory

__all__ = ["MemoryComparison", "compare_memory", "memory_table"]

_GIB = 2**30
_NEGLIGIBLE = 1.05  # times the source's memory; the estimate is not more accurate


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
    """Estimate the memory of a training step of every configuration, before and after.

    Args:
        source: The plans that were derived from.
        derived: The derived plans.
        dataset_json: The data set's `dataset.json`.

    Returns:
        Estimates by name of the configuration.
    """
    return {
        name: _compare(source, derived, dataset_json, name) for name in derived["configurations"]
    }


def _compare(
    source: Plans, derived: Plans, dataset_json: Mapping[str, Any], name: str
) -> MemoryComparison:
    before, after = resolve(source, name), resolve(derived, name)
    memory_before = estimate_training_memory(*build_network(source, dataset_json, name))
    memory_after = estimate_training_memory(*build_network(derived, dataset_json, name))
    advice = _advice(name, memory_after, memory_before.total_bytes, after)
    return MemoryComparison(
        patch_size=after["patch_size"],
        batch_size=after["batch_size"],
        source_patch_size=before["patch_size"],
        source_batch_size=before["batch_size"],
        source=memory_before,
        derived=memory_after,
        advice=advice,
    )


def _advice(name: str, memory: TrainingMemory, limit: int, configuration: dict[str, Any]) -> str:
    """Name options that bring the estimate down to the limit; "" if it is there, or almost.

    The batch shrinks first, to two at least; then the longest axis of the patch, by its total
    stride. Activations grow with batch and voxels.
    """
    total = total_stride(configuration["architecture"]["arch_kwargs"]["strides"])
    batch = full_batch = configuration["batch_size"]
    patch = list(configuration["patch_size"])
    voxels = math.prod(patch)

    if memory.total_bytes <= _NEGLIGIBLE * limit:
        return ""

    def fits() -> bool:
        share = batch / full_batch * math.prod(patch) / voxels
        return bool(memory.total_bytes - memory.saved_bytes * (1 - share) <= limit)

    while batch > 2 and not fits():
        batch -= 1
    while not fits():
        shrinkable = [i for i, size in enumerate(patch) if size > 2 * total[i]]
        if not shrinkable:
            break
        longest = max(shrinkable, key=lambda i: patch[i])
        patch[longest] -= total[longest]
    if not fits():
        return (
            "even the smallest batch and patch need more; use fewer channels (--features, such as "
            "half of each)"
        )
    advice = "" if batch == full_batch else f" --batch-size {batch}"
    if patch != list(configuration["patch_size"]):
        advice += f" --patch-size {' '.join(map(str, patch))}"
    return f"--configurations {name}{advice} --overwrite needs no more" if advice else ""


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
        hint = f"   more than its source: {row.advice}" if row.advice else ""
        lines.append(
            f"  {name:<20}{patch:<16}{row.batch_size:>6}{before:>12.2f}{after:>10.2f}{hint}"
        )
    return "\n".join(lines) + "\n"
