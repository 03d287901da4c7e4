"""The memory that derived plans need, compared with the plans they come from."""

import json
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from umamba.errors import PlansError
from umamba.nnunet.plans.derivation import Plans, resolve
from umamba.nnunet.plans.networks import build_network
from umamba.patches import total_stride
from umamba.profiling import TrainingMemory, estimate_training_memory
from umamba.recipes import RECIPES

__all__ = ["MemoryComparison", "compare_memory", "memory_table", "planned_memory"]

_GIB = 2**30
_SETTINGS = ("norms", "blocks")  # the cheaper first
_LEAST_BATCH = 2
_COMPILED = (
    "  counted without torch.compile, nnU-Net's default on a GPU, which may keep some of what is "
    "otherwise computed again (of umamba_bot 1.3 times as much);\n  `export nnUNet_compile=f` "
    "trains without it, and with Mamba's matrix products in float32, which is slower"
)
_NEGLIGIBLE = 1.05  # times the source's memory; the estimate is not more accurate


@dataclass(frozen=True)
class MemoryComparison:
    """One configuration, before and after, with the memory of one training step.

    `half` is whether the step is in mixed precision, `recipe` the one that the derived plans are
    trained by, `advice` how to need no more than before.
    """

    patch_size: list[int]
    batch_size: int
    source_patch_size: list[int]
    source_batch_size: int
    source: TrainingMemory
    derived: TrainingMemory
    advice: str
    half: bool
    recipe: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, with the totals."""
        return asdict(self) | {
            "source_total_bytes": self.source.total_bytes,
            "derived_total_bytes": self.derived.total_bytes,
        }


def planned_memory(
    plans: Plans,
    dataset_json: Mapping[str, Any],
    name: str,
    *,
    device: str = "cpu",
    recipe: str = "nnunet",
) -> TrainingMemory:
    """Estimate the memory of a training step; asked again, the same number comes at once.

    Args:
        plans: The plans.
        dataset_json: The data set's `dataset.json`.
        name: The configuration.
        device: Type of the device; training on `cuda` is in mixed precision.
        recipe: The recipe of training, whose optimiser keeps something per weight.

    Raises:
        PlansError: If the network cannot be built.
    """
    alone = resolve(plans, name)
    alone.pop("inherits_from", None)
    whole = {**plans, "configurations": {name: alone}}
    known = json.dumps([whole, dict(dataset_json)])
    memory = _estimated(known, name, device, torch.get_num_threads())
    return replace(memory, moments=RECIPES[recipe].moments)


@lru_cache(maxsize=512)
def _estimated(
    plans_and_dataset: str,
    name: str,
    device: str,
    _n_threads: int,  # on which the workspaces of convolutions on a CPU depend
) -> TrainingMemory:
    plans, dataset_json = json.loads(plans_and_dataset)
    return estimate_training_memory(*build_network(plans, dataset_json, name), device=device)


def compare_memory(
    source: Plans,
    derived: Plans,
    dataset_json: Mapping[str, Any],
    command: str,
    *,
    device: str = "cpu",
    recipe: str = "nnunet",
    advised: Collection[str] | None = None,
) -> dict[str, MemoryComparison]:
    """Estimate the memory of a training step of every configuration, before and after.

    Args:
        source: The plans that were derived from.
        derived: The derived plans.
        dataset_json: The data set's `dataset.json`.
        command: The command that derives such plans, without patch, batch and activation
            checkpointing, for advice; "" for none.
        device: Type of the device; training on `cuda` is in mixed precision.
        recipe: The recipe of training the derived plans; that of the source is nnU-Net's.
        advised: Configurations that advice is for; `None` stands for all.

    Returns:
        Estimates by name of the configuration.

    Raises:
        PlansError: If a network cannot be built.
    """
    names = derived["configurations"]
    advised = names if advised is None else advised
    return {
        name: _compare(
            source,
            _Trial(derived, name, dataset_json, device, recipe),
            command if name in advised else "",
        )
        for name in names
    }


def _compare(source: Plans, trial: "_Trial", command: str) -> MemoryComparison:
    name, device = trial.name, trial.device
    before, after = resolve(source, name), trial.resolved
    memory_before = planned_memory(source, trial.dataset_json, name, device=device)
    memory_after = trial.memory()
    limit = memory_before.total_bytes
    advice = ""
    if command and memory_after.total_bytes > _NEGLIGIBLE * limit:
        found = _advice(trial, limit, before)
        advice = found and f"{command} --configurations {name}{found} --overwrite needs no more"
        advice = advice or (
            "even the smallest batch and patch need more; use fewer channels (--features, such as "
            "half of each)"
        )
    return MemoryComparison(
        patch_size=after["patch_size"],
        batch_size=after["batch_size"],
        source_patch_size=before["patch_size"],
        source_batch_size=before["batch_size"],
        source=memory_before,
        derived=memory_after,
        advice=advice,
        half=device == "cuda",
        recipe=trial.recipe,
    )


@dataclass(frozen=True)
class _Trial:
    """A configuration, whose memory can be estimated with some of it changed."""

    plans: Plans
    name: str
    dataset_json: Mapping[str, Any]
    device: str
    recipe: str

    @property
    def resolved(self) -> dict[str, Any]:
        """Return the configuration with all that it inherits."""
        return resolve(self.plans, self.name)

    def memory(
        self,
        setting: str | None = None,
        batch: int | None = None,
        patch: Sequence[int] | None = None,
    ) -> TrainingMemory:
        """Estimate the memory of a step with another setting of checkpointing, batch or patch.

        Raises:
            PlansError: If the network does not have the setting.
        """
        changed = self.resolved
        changed.pop("inherits_from", None)  # it has all that it inherits
        keywords = changed["architecture"]["arch_kwargs"]
        if setting is not None:
            keywords["activation_checkpointing"] = setting
        if batch is not None:
            changed["batch_size"] = batch
        if patch is not None:
            changed["patch_size"] = list(patch)
            if "input_size" in keywords:
                keywords["input_size"] = list(patch)
        plans = self.plans | {"configurations": {self.name: changed}}
        return planned_memory(
            plans, self.dataset_json, self.name, device=self.device, recipe=self.recipe
        )


def _advice(trial: _Trial, limit: int, source: Mapping[str, Any]) -> str:
    """Return the options that bring the memory down to the limit, the cheapest first; "" if none.

    Activations are computed again before the batch shrinks, to two at least; then the longest axis
    of the patch does, by its total stride. Activations grow with batch and voxels. Options that
    the plans need besides, as they differ from their source, are repeated.
    """
    configuration, memory = trial.resolved, trial.memory()
    keywords = configuration["architecture"]["arch_kwargs"]
    chosen = keywords.get("activation_checkpointing")
    for setting in _SETTINGS:
        if memory.total_bytes <= limit:
            break
        try:
            cheaper = trial.memory(setting)
        except PlansError:  # as of networks that are not ours
            continue
        if cheaper.total_bytes < memory.total_bytes:
            memory, chosen = cheaper, setting
    total = total_stride(keywords["strides"])
    batch, patch = configuration["batch_size"], list(configuration["patch_size"])
    per_patch = memory.peak_bytes / batch
    while batch > _LEAST_BATCH and memory.total_bytes > limit:
        # At least one less, and no more than what is surely too much.
        surplus = int((memory.total_bytes - limit) / (2 * per_patch))
        batch = max(_LEAST_BATCH, batch - max(1, surplus))
        memory = trial.memory(chosen, batch)
    if memory.total_bytes > limit:
        patches = _smaller_patches(patch, total)

        def fits(size: list[int]) -> bool:
            return trial.memory(chosen, batch, size).total_bytes <= limit

        first = bisect_left(patches, 1, key=fits)  # as each needs less than the one before
        if first == len(patches):
            return ""
        patch = patches[first]
    options = f" --activation-checkpointing {chosen}" if chosen else ""
    options += "" if batch == source["batch_size"] else f" --batch-size {batch}"
    if patch != list(source["patch_size"]):
        options += f" --patch-size {' '.join(map(str, patch))}"
    return options


def _smaller_patches(patch: Sequence[int], total: Sequence[int]) -> list[list[int]]:
    """Return ever smaller patches; each is one total stride shorter along the longest axis."""
    patches, size = [], list(patch)
    while shrinkable := [i for i, length in enumerate(size) if length > 2 * total[i]]:
        longest = max(shrinkable, key=lambda i: size[i])
        size[longest] -= total[longest]
        patches.append(list(size))
    return patches


def memory_table(memory: Mapping[str, MemoryComparison]) -> str:
    """Return the estimates as a table for people."""
    half = any(row.half for row in memory.values())
    precision = "mixed precision, as on a GPU" if half else "float32"
    recipes = " or ".join(sorted({row.recipe for row in memory.values()}))
    lines = [
        f"Estimated memory of a training step ({precision}; activations and gradients at their "
        f"peak, weights, optimiser of recipe {recipes}):",
        f"  {'configuration':<20}{'patch':<16}{'batch':>6}{'source GiB':>12}{'ours GiB':>10}",
    ]
    for name, row in memory.items():
        patch = "x".join(map(str, row.patch_size))
        before, after = row.source.total_bytes / _GIB, row.derived.total_bytes / _GIB
        lines.append(f"  {name:<20}{patch:<16}{row.batch_size:>6}{before:>12.2f}{after:>10.2f}")
        sizes = list(row.source_patch_size), row.source_batch_size
        if sizes != (list(row.patch_size), row.batch_size):
            patch = "x".join(map(str, row.source_patch_size))
            lines.append(f"    its source has patch {patch} and batch {row.source_batch_size}")
        if row.advice:
            lines.append(f"    more than its source: {row.advice}")
    if half:
        lines.append(_COMPILED)
    return "\n".join(lines) + "\n"
