"""Patch and batch for the memory of a GPU, by nnU-Net's rules and the network's own needs."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from umamba.errors import PlansError, UMambaError
from umamba.nnunet.plans.architectures import planned_architecture
from umamba.nnunet.plans.derivation import PlanOptions, Plans, derive_plans, resolve
from umamba.nnunet.plans.memory import planned_memory
from umamba.registry import Architecture

__all__ = ["fit_to_memory", "gpu_memory"]

_GIB = 2**30
# The driver's own memory, and what workspaces and the allocator's gaps take of the rest.
_CONTEXT = 0.6 * _GIB
_USABLE = 0.9
# nnU-Net's rules: volume of the first patch, smallest map, smallest batch, share of the voxels of
# the data set that a batch may hold.
_FIRST_EDGE = {2: 2048, 3: 256}
_SMALLEST_EDGE = 4
_LEAST_BATCH = 2
_MOST_OF_DATASET = 0.05
_MOST_POOLINGS = 999_999


def gpu_memory(asked: float | str) -> float:
    """Return the memory of a GPU in GiB.

    Args:
        asked: That memory, or `auto` for this machine's first GPU.

    Raises:
        UMambaError: If there is none.
    """
    if asked != "auto":
        return float(asked)
    import torch

    if not torch.cuda.is_available():
        msg = (
            "--gpu-memory auto: there is no GPU here; give the memory of the one that will train, "
            "such as --gpu-memory 24"
        )
        raise UMambaError(msg)
    return torch.cuda.get_device_properties(0).total_memory / _GIB


def fit_to_memory(
    source: Plans,
    architecture: Architecture,
    options: PlanOptions,
    dataset_json: Mapping[str, Any],
    gib: float,
) -> Plans:
    """Return the source with the largest patch, then batch, whose training fits a GPU.

    Spacing and preprocessed data stay. The patch begins and shrinks as nnU-Net's planner has it,
    and stages, strides and kernels follow from it; the memory is that of the network that will be
    trained, in a step of mixed precision.

    Args:
        source: nnU-Net's plans. Not changed.
        architecture: The network.
        options: Further changes of the plans, without patch and batch.
        dataset_json: The data set's `dataset.json`.
        gib: Memory of the GPU in GiB.

    Raises:
        PlansError: If nothing fits.

    Source:
        Isensee et al. 2021, doi:10.1038/s41592-020-01008-z, supplementary note 2.
    """
    fitted = deepcopy(source)
    limit = _USABLE * (gib * _GIB - _CONTEXT)
    if limit <= 0:
        msg = (
            f"--gpu-memory {gib:g} leaves nothing: the driver alone takes {_CONTEXT / _GIB:g} GiB; "
            "give all memory that the GPU has, in GiB, such as --gpu-memory 24"
        )
        raise PlansError(msg)
    configurations = source["configurations"]
    own = [
        name
        for name in options.configurations or configurations
        if len(configurations[name].get("patch_size", ())) in architecture.dims
    ]
    if not own:
        msg = (
            f"{', '.join(options.configurations or configurations)} has no patch of its own that "
            f"{architecture.name} can have; name the configuration that has it"
        )
        raise PlansError(msg)
    for name in own:
        _Search(fitted, name, architecture, options, dataset_json, limit).run()
    return fitted


class _Search:
    """The search for the patch and the batch of one configuration, which it changes in place."""

    def __init__(
        self,
        plans: Plans,
        name: str,
        architecture: Architecture,
        options: PlanOptions,
        dataset_json: Mapping[str, Any],
        limit: float,
    ) -> None:
        self.plans, self.name, self.limit = plans, name, limit
        self.architecture, self.options = architecture, options
        self.dataset_json = dataset_json
        self.resolved = resolve(plans, name)
        self.spacing = self.resolved["spacing"]
        self.median = self.resolved["median_image_size_in_voxels"]

    def run(self) -> None:
        """Choose the patch by the smallest batch, and then the batch."""
        divisor = self._plan_patch(self._first_patch())
        while (needed := self._memory(_LEAST_BATCH)) > self.limit:
            patch = self._smaller(self._patch, divisor)
            if patch is None:
                msg = (
                    f"{self.name} does not fit: even patch_size {self._patch} with batch_size "
                    f"{_LEAST_BATCH} needs an estimated {needed / _GIB:.1f} GiB of the "
                    f"{self.limit / _GIB:.1f} that are left to it; use fewer channels, such as "
                    "--features 16,32,64,128,256, or another model"
                )
                raise PlansError(msg)
            divisor = self._plan_patch(patch)
        self._own["batch_size"] = self._largest_batch()

    @property
    def _own(self) -> dict[str, Any]:
        configuration: dict[str, Any] = self.plans["configurations"][self.name]
        return configuration

    @property
    def _patch(self) -> list[int]:
        patch: list[int] = self._own["patch_size"]
        return patch

    def _first_patch(self) -> list[int]:
        """Return a patch that is as wide along each axis as others in millimetres, and large."""
        inverse = [1 / spacing for spacing in self.spacing]
        dim = len(inverse)
        scale = _FIRST_EDGE[dim] / math.prod(inverse) ** (1 / dim)
        sizes = [round(scale * one) for one in inverse]
        return [int(min(size, most)) for size, most in zip(sizes, self.median, strict=True)]

    def _plan_patch(self, patch: Sequence[int]) -> list[int]:
        """Plan for a patch, rounded up to what its poolings need; return what must divide it."""
        _, strides, kernels, rounded, divisor = _topology(self.spacing, patch)
        self._own["patch_size"] = [int(size) for size in rounded]
        self._own["architecture"] = planned_architecture(self.name, self.resolved, strides, kernels)
        return [int(size) for size in divisor]

    def _smaller(self, patch: Sequence[int], divisor: Sequence[int]) -> list[int] | None:
        """Shrink the axis that shows most of the median image; `None` if it cannot get smaller."""
        shown = [size / most for size, most in zip(patch, self.median, strict=True)]
        axis = max(range(len(patch)), key=lambda i: (shown[i], i))
        smaller = list(patch)
        smaller[axis] -= divisor[axis]
        if smaller[axis] < _SMALLEST_EDGE:
            return None
        # With fewer poolings, less has to be taken away.
        smaller[axis] = patch[axis] - int(_topology(self.spacing, smaller)[-1][axis])
        has_stages = len(_topology(self.spacing, smaller)[1]) > 1
        return smaller if has_stages else None

    def _memory(self, batch: int) -> int:
        self._own["batch_size"] = batch
        options = PlanOptions(
            features=self.options.features,
            activation_checkpointing=self.options.activation_checkpointing,
            plans_name=self.options.plans_name,
        )
        alone = self.plans | {"configurations": {self.name: self.resolved | self._own}}
        alone["configurations"][self.name].pop("inherits_from", None)
        derived = derive_plans(alone, self.architecture, options, self.dataset_json)
        recipe = self.architecture.recipe
        memory = planned_memory(derived, self.dataset_json, self.name, device="cuda", recipe=recipe)
        return memory.total_bytes

    def _largest_batch(self) -> int:
        """Return the largest batch that fits, and shows little enough of the data set."""
        configurations = self.plans["configurations"]
        whole = self.resolved if len(self._patch) == 3 else configurations.get("3d_fullres")
        whole = whole or self.resolved
        two, three = self._memory(2), self._memory(3)
        fitting = 2 + int((self.limit - two) / max(1, three - two))
        n_cases = self.dataset_json.get("numTraining")
        if n_cases is not None:
            voxels = math.prod(whole["median_image_size_in_voxels"]) * n_cases
            fitting = min(fitting, round(voxels * _MOST_OF_DATASET / math.prod(self._patch)))
        return int(max(_LEAST_BATCH, fitting))


def _topology(spacing: Sequence[float], patch: Sequence[int]) -> tuple[Any, ...]:
    from nnunetv2.experiment_planning.experiment_planners.network_topology import (
        get_pool_and_conv_props,
    )

    found: tuple[Any, ...] = get_pool_and_conv_props(spacing, patch, _SMALLEST_EDGE, _MOST_POOLINGS)
    return found
