"""Costs of the models in a comparison: measured in turn on an idle machine, or estimated."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from umamba.comparison.results import from_plain, to_plain
from umamba.comparison.rows import Cost
from umamba.comparison.runs.planning import Planned
from umamba.costs.machine import USABLE, describe_machine, free_memory, is_out_of_memory
from umamba.errors import UMambaError
from umamba.nnunet.plans.derivation import Plans, resolve
from umamba.nnunet.plans.networks import BuiltNetwork, build_network
from umamba.nnunet.training.pace import estimate_seconds, with_validation
from umamba.patches import count_windows
from umamba.profiling import (
    peak_memory,
    prediction_step,
    profile_network,
    time_interleaved,
    training_step,
)
from umamba.system.atomic_files import make_folder, write_whole
from umamba.system.json_files import load_json

__all__ = ["estimate_costs", "measure_costs", "n_mirrorings", "seconds_with_validation"]

Measure = Callable[[Planned, Mapping[str, Plans], str], dict[str, Cost]]

_ROUNDS = 5
_FORWARDS = 3  # of a training step: its backward takes about twice as long as its forward


@dataclass(frozen=True)
class _Key:
    """Everything that measured costs depend on.

    Attributes:
        networks: Configuration of each model in its plans.
        machine: Description of the machine.
        recipes: Name of each model's recipe; older versions had only nnU-Net's.
    """

    networks: dict[str, Any]
    machine: dict[str, Any]
    recipes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Measured:
    """The contents of the cache of measured costs, by model."""

    key: _Key
    costs: dict[str, Cost]


def seconds_with_validation(cost: Cost) -> float | None:
    """Return the time of an iteration, including its share of the validation on patches."""
    seconds = cost.seconds_per_iteration
    return None if seconds is None else with_validation(seconds)


def measure_costs(
    planned: Planned,
    device: str,
    n_threads: int | None,
    cache: Path,
    *,
    keep: bool = True,
    measure: Measure | None = None,
) -> dict[str, Cost]:
    """Measure all models in turn, so that other work on the machine affects all of them alike.

    Args:
        planned: The comparison.
        device: `cpu`, `cuda` or `mps`; nothing is measured on the last.
        n_threads: Threads of a training on a CPU; `None` is as torch chooses.
        cache: File with earlier results, which are used if plans and device are the same.
        keep: Whether to write results to it.
        measure: Measures all models, given their plans; by default their steps are run.
    """
    plans = _by_model(planned)
    key = _key(planned, plans, device, n_threads)
    known = _recall(cache, key)
    if len(known) == len(plans):
        return known
    sys.stderr.write(f"measuring the costs of {len(plans)} models, up to a few minutes each\n")
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads or before)
    try:
        costs = (measure or _measure)(planned, plans, device)
    finally:
        torch.set_num_threads(before)
        if device == "cuda":
            torch.cuda.empty_cache()  # trainings, which run in other processes, need it
    if keep:
        make_folder(cache.parent)
        write_whole(cache, json.dumps(to_plain(_Measured(key, costs)), indent=2) + "\n")
    return costs


def estimate_costs(
    planned: Planned, device: str, n_threads: int | None, cache: Path
) -> dict[str, Cost]:
    """Return costs measured before; for other models, those known without measuring.

    Parameters, multiply-adds and memory are counted. Times are estimated from the multiply-adds and
    the times of measured models; if there are none, from the time of a convolution on a CPU, and
    elsewhere they are unknown. `problem` says so.

    Args:
        planned: The comparison.
        device: `cpu`, `cuda` or `mps`.
        n_threads: Threads of a training on a CPU; `None` is as torch chooses.
        cache: File with the results of `measure_costs`.
    """
    plans = _by_model(planned)
    known = _recall(cache, _key(planned, plans, device, n_threads))
    name = planned.source.configuration
    pace = [
        cost.seconds_per_iteration / _work(cost, plans[model], name)
        for model, cost in known.items()
        if cost.seconds_per_iteration is not None
    ]
    costs = {}
    for model, derived in plans.items():
        cost = known.get(model) or _count(planned, model, derived)
        if model not in known and (pace or device == "cpu"):
            work = _work(cost, derived, name)
            seconds = median(pace) * work if pace else _estimate(work, n_threads)
            patch = seconds / _FORWARDS / int(resolve(derived, name)["batch_size"])
            cost = replace(
                cost,
                seconds_per_iteration=seconds,
                seconds_per_case=patch * _patches_per_case(derived, name),
                problem="estimated from its multiply-adds",
            )
        elif model not in known:
            cost = replace(cost, problem="not measured yet")
        costs[model] = cost
    return costs


def _estimate(multiply_adds: int, n_threads: int | None) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads or before)
    try:
        return estimate_seconds(multiply_adds)
    finally:
        torch.set_num_threads(before)


def _work(cost: Cost, plans: Plans, configuration: str) -> int:
    return cost.multiply_adds * int(resolve(plans, configuration)["batch_size"])


def _by_model(planned: Planned) -> dict[str, Plans]:
    plans: dict[str, Plans] = {}
    for (model, _), derived in planned.plans.items():
        plans.setdefault(model, derived)  # plans of other seeds differ only in their names
    return plans


def _recall(cache: Path, key: _Key) -> dict[str, Cost]:
    """Return earlier measurements of the same networks on the same machine; none if damaged."""
    try:
        kept = from_plain(load_json(cache), _Measured)
    except (UMambaError, ValueError):
        return {}
    if kept.key.machine != key.machine:
        return {}
    return {
        model: kept.costs[model]
        for model, network in key.networks.items()
        if model in kept.costs
        and kept.key.networks.get(model) == network
        and kept.key.recipes.get(model, "nnunet") == key.recipes.get(model, "nnunet")
    }


def _key(planned: Planned, plans: Mapping[str, Plans], device: str, n_threads: int | None) -> _Key:
    networks = {m: resolve(p, planned.source.configuration) for m, p in plans.items()}
    machine = describe_machine(device) | {"threads": n_threads}
    recipes = {model: planned.recipe_of(model).name for model in plans}
    return from_plain(
        to_plain(_Key(networks, machine, recipes)), _Key
    )  # as it comes back from JSON


def _measure(planned: Planned, plans: Mapping[str, Plans], device: str) -> dict[str, Cost]:
    """Count on the meta device, measure memory one by one, then the times of all in turn."""
    name = planned.source.configuration
    costs = {}
    steps: dict[str, Callable[[], object]] = {}
    for model, derived in plans.items():
        cost = _count(planned, model, derived)
        problem = _too_large(cost, device)
        if not problem:
            network = build_network(derived, planned.source.dataset_json, name, device)
            try:
                cost, own_steps = _with_peak(cost, network, device)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                problem = "its step does not fit into memory"
            else:
                steps |= {f"{model} {kind}": step for kind, step in own_steps.items()}
        costs[model] = replace(cost, problem=f"not measured: {problem}") if problem else cost
    timings = time_interleaved(steps, _ROUNDS)
    for model, cost in costs.items():
        if not cost.problem:
            costs[model] = replace(
                cost,
                seconds_per_iteration=timings[f"{model} trains"].median,
                seconds_per_case=timings[f"{model} predicts"].median
                * _patches_per_case(plans[model], name),
            )
    return costs


def _count(planned: Planned, model: str, plans: Plans) -> Cost:
    source, moments = planned.source, planned.recipe_of(model).moments
    network = build_network(plans, source.dataset_json, source.configuration)
    profile = profile_network(*network, moments=moments)
    return Cost(profile.n_parameters, profile.multiply_adds, profile.training_bytes)


def _too_large(cost: Cost, device: str) -> str:
    """Return the reason why nothing can be measured; "" if it can."""
    free = None if device == "mps" else free_memory(device)
    if free is None:
        return "the free memory is unknown"
    return "its step would not fit into memory" if cost.memory_bytes > USABLE * free else ""


def _with_peak(
    cost: Cost, network: BuiltNetwork, device: str
) -> tuple[Cost, dict[str, Callable[[], object]]]:
    """Measure the peak memory of a training step; also return the steps to be timed."""
    train = training_step(*network)
    train()  # load and compile everything that is not part of the peak
    cost = replace(cost, peak_memory_bytes=peak_memory(train, device))
    return cost, {"trains": train, "predicts": prediction_step(*network)}


def _patches_per_case(plans: Plans, name: str) -> int:
    """Return the number of patches predicted for the median case, including mirrored ones."""
    configuration = resolve(plans, name)
    patch = configuration["patch_size"]
    shape = [round(size) for size in configuration["median_image_size_in_voxels"]]
    slices = plans["original_median_shape_after_transp"][0] if len(patch) == 2 else 1
    return int(count_windows(shape, patch) * round(slices) * 2 ** len(patch))


def n_mirrorings(planned: Planned, model: str) -> int:
    """Return how often a model predicts each patch with mirroring: along every set of axes."""
    configuration = resolve(_by_model(planned)[model], planned.source.configuration)
    return int(2 ** len(configuration["patch_size"]))
