"""Measurement of the receptive fields that a request names."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from umamba.errors import UMambaError
from umamba.reach.field_results import ReceptiveField, ReceptiveFieldResult
from umamba.reach.gradients import field_sizes, gradient_map, mass_within
from umamba.reach.networks import initial_network
from umamba.reach.requests import ReceptiveFieldRequest
from umamba.reach.trained import noise_patches, trained_network
from umamba.registry import architectures, family_of

__all__ = ["measure_receptive_fields"]

log = logging.getLogger(__name__)

_Measure = Callable[[], list[ReceptiveField]]


def measure_receptive_fields(request: ReceptiveFieldRequest) -> ReceptiveFieldResult:
    """Measure the effective receptive field of each network.

    Args:
        request: Networks and patches.

    Returns:
        The fields with their maps; with `all`, reasons why some networks could not be measured.

    Raises:
        UMambaError: If a network that is named, or all, cannot be measured.
    """
    fields: list[ReceptiveField] = []
    left_out: dict[str, str] = {}
    works = list(_works(request))
    for number, (name, measure) in enumerate(works, start=1):
        try:
            found = measure()
        except UMambaError as error:
            if not request.all or len(works) == 1:
                raise
            left_out[name] = str(error)
            log.info("%d of %d, %s: left out: %s", number, len(works), name, error)
            continue
        fields += found
        for one in found:
            log.info("%d of %d, %s: %s", number, len(works), one.title, _summary(one))
    sizes = dict.fromkeys(field.patch_size for field in fields)
    return ReceptiveFieldResult(
        tuple(fields),
        tuple(_field("whole patch", "initial", torch.ones(size).double()) for size in sizes),
        left_out,
        "normal noise" if request.images is None else "real images",
        request.number,
        request.seed,
        request.constant_norms,
    )


def _works(request: ReceptiveFieldRequest) -> Iterator[tuple[str, _Measure]]:
    """Yield the name of each model, and the function that measures it."""
    models = request.chosen_models
    if request.all:
        models = _different(len(request.patch_size))
    for model in models:
        yield model, lambda model=model: [_measure_initial(model, request)]  # type: ignore[misc]
    for folder in map(Path, request.trained):
        yield folder.name, lambda folder=folder: _measure_trained(folder, request)  # type: ignore[misc]


def _different(dim: int) -> tuple[str, ...]:
    """Return the names of all networks for so many axes that differ in one and the same plan."""
    found: dict[str, str] = {}
    for a in architectures():
        if dim in a.dims and a.same_as is None:
            key = repr((a.class_path, a.topology, a.keywords, a.parameters_of))
            found.setdefault(key, a.name)
    return tuple(found.values())


def _measure_initial(model: str, request: ReceptiveFieldRequest) -> ReceptiveField:
    built = initial_network(model, request.patch_size, features=request.features, seed=request.seed)
    patches = noise_patches(request.number, 1, built.patch_size, request.seed)
    return _measure(model, "initial", built.network, patches, request)


def _measure_trained(folder: Path, request: ReceptiveFieldRequest) -> list[ReceptiveField]:
    """Measure a model before and after training, on the same patches."""
    read = trained_network(
        folder,
        None if request.fold is None else str(request.fold),
        request.checkpoint,
        None if request.images is None else Path(request.images),
        request.number,
        request.seed,
        trust_plans=request.trust_plans,
    )
    name = folder.absolute().name.removesuffix(".zip")
    return [
        _measure(name, state, network, read.patches, request)
        for state, network in (("initial", read.initial), ("trained", read.trained))
    ]


def _measure(
    name: str,
    state: str,
    network: nn.Module,
    patches: Sequence[Tensor],
    request: ReceptiveFieldRequest,
) -> ReceptiveField:
    constant = request.constant_norms
    shares = gradient_map(network, patches, request.seed, constant_norms=constant)
    return _field(name, state, shares)


def _field(name: str, state: str, shares: Tensor) -> ReceptiveField:
    shares = shares / shares.sum()
    return ReceptiveField(
        name,
        state,
        family_of(name),
        tuple(shares.shape),
        field_sizes(shares),
        tuple(mass_within(shares)),
        shares.numpy(),
    )


def _summary(field: ReceptiveField) -> str:
    parts = (f"{share} % within {size.radius:.1f}" for share, size in field.sizes.items())
    return ", ".join(parts) + " voxels"
