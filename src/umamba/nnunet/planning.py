"""Derive and write plans for one of our networks, planning the data set first if need be."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from umamba import registry
from umamba.errors import UMambaError
from umamba.nnunet.plans.attention_cost import check_attention
from umamba.nnunet.plans.derivation import PlanOptions, Plans, derive_plans, resolve
from umamba.nnunet.plans.files import keep_existing, keep_others, write_plans
from umamba.nnunet.plans.fitting import fit_to_memory, gpu_memory
from umamba.nnunet.plans.memory import MemoryComparison, compare_memory
from umamba.nnunet.plans.networks import build_network
from umamba.nnunet.preparation import ensure_plans, find_dataset
from umamba.nnunet.requests import PlanRequest
from umamba.nnunet.training.folds import pick_device
from umamba.nnunet.training.pace import describe_days, estimate_seconds, remedy, with_validation
from umamba.nnunet.trust import check_plans, read_trusted_plans
from umamba.options import as_arguments
from umamba.patches import describe_small_map
from umamba.profiling import prediction_multiply_adds
from umamba.system.json_files import load_json

__all__ = ["WrittenPlans", "plan", "preferred_configuration"]

Item = TypeVar("Item")
_EPOCHS, _ITERATIONS = 1000, 250  # nnU-Net's defaults


class WrittenPlans(NamedTuple):
    """Plans in their file, and the memory of training with them by configuration."""

    dataset: str
    model: str
    path: Path
    plans: Plans
    memory: dict[str, MemoryComparison]


def plan(request: PlanRequest) -> WrittenPlans:
    """Derive plans and write them; warnings and notes go to stderr.

    Raises:
        UMambaError: If the request cannot be met, or other plans of that name exist.
    """
    if request.gpu_memory is not None and (request.patch_size or request.batch_size):
        msg = "--gpu-memory chooses patch and batch; leave --patch-size and --batch-size out"
        raise UMambaError(msg)
    architecture = registry.with_keywords(
        registry.find_architecture(request.model),
        variant=request.variant,
        mixer=request.mixer,
        scan=request.scan,
    )
    paths = request.paths.completed()
    dataset = find_dataset(str(request.dataset), paths)
    folder = paths.require("preprocessed") / dataset
    dataset_json, source, plans = _derive(request, architecture, dataset, folder)
    device = pick_device(None) if request.gpu_memory is None else "cuda"
    compare = partial(
        compare_memory, source, plans, dataset_json, device=device, recipe=architecture.recipe
    )
    names = _options(request).configurations or tuple(plans["configurations"])
    warnings = check_attention(plans, dataset_json, compare(command=""), names)
    # Looks for advice, which takes longest. Its command would change what was not asked for.
    memory = compare(command=_command(request), advised=names)
    for warning in [*warnings, *_small_maps(plans, architecture, names)]:
        sys.stderr.write(f"warning: {warning}\n")
    path = write_plans(folder, plans, overwrite=request.overwrite)
    sys.stderr.write(_left_out_note(source, plans, architecture))
    sys.stderr.write(_rounding_note(memory, architecture, _options(request)))
    sys.stderr.write(_duration_note(plans, dataset_json, preferred_configuration(names)))
    return WrittenPlans(dataset, architecture.name, path, plans, memory)


def _command(request: PlanRequest) -> str:
    """Return the command that derives such plans, without what advice may change."""
    if request.gpu_memory is not None:
        return ""  # patch and batch are chosen already
    kept = replace(
        request,
        patch_size=None,
        batch_size=None,
        activation_checkpointing=None,
        configurations=None,
        overwrite=False,
    )
    return f"umamba plan {shlex.join(as_arguments(kept))}"


def preferred_configuration(names: Sequence[str]) -> str:
    """Return the configuration that users train first."""
    return "3d_fullres" if "3d_fullres" in names else names[0]


def _derive(
    request: PlanRequest, architecture: registry.Architecture, dataset: str, folder: Path
) -> tuple[dict[str, Any], Plans, Plans]:
    """Return `dataset.json`, the source plans and the derived ones, which may be the same."""
    own_plans = architecture.plans_name if architecture.planner else None
    source_name = request.source or own_plans or "nnUNetPlans"
    ensure_plans(dataset, source_name, request.paths.completed())
    source = read_trusted_plans(folder, source_name, trusted=request.trust_plans)
    options = _options(request)
    dataset_json = load_json(folder / "dataset.json")
    plans = source
    if request.gpu_memory is not None:
        derive_plans(source, architecture, options, dataset_json)  # checks the options
        gib = gpu_memory(request.gpu_memory)
        fitted = fit_to_memory(source, architecture, options, dataset_json, gib)
        plans = derive_plans(fitted, architecture, options, dataset_json)
    elif source_name != own_plans or options != PlanOptions():
        plans = derive_plans(source, architecture, options, dataset_json)
    if options.configurations is not None:
        plans = keep_others(folder, plans, options.configurations)
        check_plans(plans, folder / f"{plans['plans_name']}.json", trusted=request.trust_plans)
    if request.activation_checkpointing is None and request.gpu_memory is None:
        plans = keep_existing(folder, plans)
    return dataset_json, source, plans


def _tuple(items: Sequence[Item] | None) -> tuple[Item, ...] | None:
    return None if items is None else tuple(items)


def _options(request: PlanRequest) -> PlanOptions:
    return PlanOptions(
        plans_name=request.plans_name,
        features=_tuple(request.features),
        patch_size=_tuple(request.patch_size),
        batch_size=request.batch_size,
        activation_checkpointing=request.activation_checkpointing,
        configurations=_tuple(request.configurations),
    )


def _small_maps(
    plans: dict[str, Any], architecture: registry.Architecture, names: Sequence[str]
) -> list[str]:
    """Warn of patches that leave too little in the deepest stage; the stages are the source's."""
    if not architecture.topology.follows_plan:
        return []
    warnings = []
    for name in names:
        configuration = resolve(plans, name)
        patch, keywords = configuration["patch_size"], configuration["architecture"]["arch_kwargs"]
        small = describe_small_map(patch, keywords["strides"])
        if small:
            mixer = keywords.get("mixer", "none")
            there = "" if mixer == "none" else f" ({mixer} mixes only that many tokens there)"
            warnings.append(
                f"patch_size {patch} of {name} {small}{there}. Plan with a larger --patch-size, or "
                "have nnU-Net plan for less memory (nnUNetv2_plan_experiment -gpu_memory_target, "
                "which drops stages) and derive --from those plans"
            )
    return warnings


def _duration_note(plans: dict[str, Any], dataset_json: dict[str, Any], name: str) -> str:
    """Say how long a training takes on a CPU, if that is days; "" otherwise."""
    if pick_device(None) != "cpu":
        return ""
    network, channels, patch, batch = build_network(plans, dataset_json, name)
    step = estimate_seconds(prediction_multiply_adds(network, channels, patch) * batch)
    days = describe_days(with_validation(step * _EPOCHS * _ITERATIONS))
    if not days:
        return ""
    return (
        f"note: on this CPU the default {_EPOCHS} epochs of {name} would take {days}, estimated by "
        f"the network's multiply-adds; {remedy('cpu')}\n"
    )


def _left_out_note(source: Plans, plans: Plans, architecture: registry.Architecture) -> str:
    """Say which configurations have too many or too few axes; "" if all fit."""
    missing = [name for name in source["configurations"] if name not in plans["configurations"]]
    axes = " or ".join(f"{dim}D" for dim in architecture.dims)
    return f"note: without {', '.join(missing)}: {architecture.name} is {axes}\n" if missing else ""


def _rounding_note(
    memory: dict[str, MemoryComparison],
    architecture: registry.Architecture,
    options: PlanOptions,
) -> str:
    """Say which patches were rounded up; "" if none was."""
    return "".join(
        f"note: patch_size of {name} is {row.patch_size} instead of {row.source_patch_size}, as "
        f"{architecture.name} needs multiples of {architecture.topology.patch_multiple}\n"
        for name, row in memory.items()
        if architecture.topology.patch_multiple
        and tuple(row.patch_size) not in (tuple(row.source_patch_size), options.patch_size)
    )
