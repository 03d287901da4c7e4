"""Costs of every model on a plan: counted without running it and, on request, measured."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from umamba import registry
from umamba.costs.machine import (
    USABLE,
    choose_device,
    describe_machine,
    free_memory,
    is_out_of_memory,
)
from umamba.costs.model_table import MeasuredStep, ModelRow, ModelTables, PlanTable
from umamba.costs.requests import CostsRequest
from umamba.errors import PlansError, UMambaError, closest
from umamba.nnunet.plans.derivation import PlanOptions, Plans, derive_plans, resolve
from umamba.nnunet.plans.example import EXAMPLE_DATASET, EXAMPLE_TITLE, example_plans
from umamba.nnunet.plans.networks import build_network
from umamba.nnunet.preparation import find_dataset
from umamba.nnunet.trust import read_trusted_plans
from umamba.profiling import (
    peak_memory,
    profile_network,
    time_interleaved,
    training_step,
)
from umamba.registry import Architecture
from umamba.system.json_files import load_json

__all__ = ["ModelsRequest", "profile_models", "profile_requested"]

log = logging.getLogger(__name__)

_ROUNDS = 3
_GIB = 2**30


@dataclass(frozen=True)
class ModelsRequest:
    """Models to profile, and the plans to profile them on.

    Args:
        models: The models.
        source: nnU-Net's plans, from which those of the models derive.
        dataset_json: The data set's `dataset.json`.
        title: Description of the source.
        configurations: Names of configurations; `None` is all.
        patch_size: Another patch size, for the configurations with as many axes.
        batch_size: Another batch size.
        times_steps: Whether training steps are measured.
        device: Device for measuring steps: `cpu` or `cuda`; `None` is CUDA if there is a GPU.
    """

    models: Sequence[Architecture]
    source: Plans
    dataset_json: Mapping[str, Any]
    title: str
    configurations: Sequence[str] | None = None
    patch_size: tuple[int, ...] | None = None
    batch_size: int | None = None
    times_steps: bool = False
    device: str | None = None


def profile_requested(request: CostsRequest) -> ModelTables:
    """Profile the models that were asked for, on nnU-Net's plans of a data set, or on an example.

    Args:
        request: The models, and the plans.

    Raises:
        UMambaError: If anything requested is missing or does not fit.
    """
    if request.dataset is None:
        source, dataset_json, title = example_plans(), EXAMPLE_DATASET, EXAMPLE_TITLE
    else:
        paths = request.paths.completed()
        dataset = find_dataset(str(request.dataset), paths)
        folder = paths.require("preprocessed") / dataset
        source = read_trusted_plans(folder, request.source, trusted=request.trust_plans)
        dataset_json, title = load_json(folder / "dataset.json"), f"{request.source} of {dataset}"
    models = [registry.find_architecture(name) for name in request.models or registry.names()]
    patch_size = request.patch_size
    asked = ModelsRequest(
        models=models,
        source=source,
        dataset_json=dataset_json,
        title=title,
        configurations=request.configurations,
        patch_size=None if patch_size is None else tuple(patch_size),
        batch_size=request.batch_size,
        times_steps=request.time,
        device=request.device,
    )
    return profile_models(asked)


def profile_models(request: ModelsRequest) -> ModelTables:
    """Profile models on plans that derive from one source.

    If a model cannot be built, or its step does not fit into memory, its row says why.

    Args:
        request: The models and plans.

    Returns:
        A table per configuration.

    Raises:
        UMambaError: If the request cannot be met, or no model can be built.
    """
    names = _configurations(request)
    device = choose_device(request.device) if request.times_steps else None
    tables = tuple(_profile_configuration(request, name, device) for name in names)
    rows = [row for table in tables for row in table.rows]
    if not any(row.profile for row in rows):
        raise PlansError("; ".join(dict.fromkeys(row.problem for row in rows)))
    machine = None if device is None else describe_machine(device)
    return ModelTables(request.title, tables, _ROUNDS, machine)


def _configurations(request: ModelsRequest) -> list[str]:
    """Return the configurations to show."""
    source = request.source
    names = list(request.configurations or source["configurations"])
    unknown = [name for name in names if name not in source["configurations"]]
    if unknown:
        known = source["configurations"]
        msg = (
            f"configuration {unknown[0]} is not in plans {source.get('plans_name')!r}; "
            f"{closest(unknown[0], known)}they have {', '.join(known)}"
        )
        raise PlansError(msg)
    patch = request.patch_size
    axes = {name: len(resolve(source, name)["patch_size"]) for name in names}
    if patch is not None and len(patch) not in axes.values():
        found = ", ".join(f"{name} has {n}" for name, n in axes.items())
        msg = f"--patch-size {list(patch)} has {len(patch)} axes, but {found}"
        raise PlansError(msg)
    return names


def _profile_configuration(request: ModelsRequest, name: str, device: str | None) -> PlanTable:
    # One at a time, so that no other configuration keeps a model from being derived.
    configuration = resolve(request.source, name)
    configuration.pop("inherits_from", None)
    patch = tuple(configuration["patch_size"])
    if request.patch_size is not None and len(request.patch_size) == len(patch):
        patch = request.patch_size
    batch_size = request.batch_size or configuration["batch_size"]
    # Set in the source, not as options of the plans, as options are never rounded up to fit.
    configuration |= {"patch_size": list(patch), "batch_size": batch_size}
    source = request.source | {"configurations": {name: configuration}}
    plans: dict[str, Plans] = {}
    rows: dict[str, ModelRow] = {}
    fitting = [model for model in request.models if len(patch) in model.dims]
    for model in fitting or request.models:
        rows[model.name], derived = _profile_model(request, name, source, model)
        if derived is not None:
            plans[model.name] = derived
    if device is not None:
        rows |= _measure({key: rows[key] for key in plans}, plans, request, name, device)
    return PlanTable(name, patch, batch_size, tuple(rows.values()))


def _profile_model(
    request: ModelsRequest, name: str, source: Plans, model: Architecture
) -> tuple[ModelRow, Plans | None]:
    """Return the costs of a model and its plans; `None` and the reason if it has none."""
    options = PlanOptions(plans_name="models")  # not that of the source; never written
    try:
        plans = derive_plans(source, model, options, request.dataset_json)
        planned = build_network(plans, request.dataset_json, name)
        return ModelRow(model, planned.patch_size, profile_network(*planned)), plans
    except UMambaError as error:
        return ModelRow(model, problem=str(error)), None


def _measure(
    rows: dict[str, ModelRow],
    plans: Mapping[str, Plans],
    request: ModelsRequest,
    name: str,
    device: str,
) -> dict[str, ModelRow]:
    """Measure the memory of each model's step, then the times of all in turn."""
    steps: dict[str, Callable[[], None]] = {}
    peaks: dict[str, int | None] = {}
    for key, row in rows.items():
        problem = _too_large(row, device)
        if not problem:
            try:
                planned = plans[key], request.dataset_json, name
                steps[key], peaks[key] = _step_and_peak(*planned, device)
            except UMambaError as error:
                problem = f"not measured: {error}"
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                problem = "not measured: its step does not fit into memory"
        rows[key] = replace(row, problem=problem)
        log.info("%s, %s: %s", name, key, problem or "peak memory measured")
    if steps:
        log.info("%s: timing %d models, %d rounds", name, len(steps), _ROUNDS)
    for key, timing in time_interleaved(steps, _ROUNDS).items():
        measured = MeasuredStep(timing.median, timing.spread, peaks[key])
        rows[key] = replace(rows[key], step=measured)
    return rows


def _step_and_peak(
    plans: Plans, dataset_json: Mapping[str, Any], name: str, device: str
) -> tuple[Callable[[], None], int | None]:
    """Return a training step of a new network, and its peak memory."""
    step = training_step(*build_network(plans, dataset_json, name, device))
    step()  # load and compile everything that is not part of the peak
    return step, peak_memory(step, device)


def _too_large(row: ModelRow, device: str) -> str:
    """Say that a step would not fit into the free memory; "" if it should fit."""
    profile, free_bytes = row.profile, free_memory(device)
    if profile is None or free_bytes is None:
        return ""
    needed = profile.training_bytes
    if needed <= USABLE * free_bytes:
        return ""
    return (
        f"not measured: its step needs {needed / _GIB:.1f} GiB, but only {free_bytes / _GIB:.1f} "
        "GiB are free; give a smaller --patch-size or --batch-size"
    )
