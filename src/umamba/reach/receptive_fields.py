"""Measurement of the receptive fields that a request names."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import takewhile
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
        UMambaError: If a network that is named, or every network, cannot be measured.
    """
    fields: list[ReceptiveField] = []
    left_out: dict[str, str] = {}
    works = list(_works(request))
    for number, (name, named, measure) in enumerate(works, start=1):
        try:
            found = measure()
        except UMambaError as error:
            if named:
                raise
            left_out[name] = str(error)
            log.info("%d of %d, %s: left out: %s", number, len(works), name, error)
            continue
        fields += found
        for one in found:
            log.info("%d of %d, %s: %s", number, len(works), one.title, _summary(one))
    if not fields:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        msg = f"no network can be measured: {reasons or 'none is for such patches'}"
        raise UMambaError(msg)
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


def _works(request: ReceptiveFieldRequest) -> Iterator[tuple[str, bool, _Measure]]:
    """Yield each model's name, whether the user named it, and what measures it."""
    models = request.chosen_models
    if request.all:
        models = _different(len(request.patch_size))
    for model in models:
        yield model, not request.all, partial(_measure_initial, model, request)
    for name, folder in _trained_names(request.trained).items():
        yield name, True, partial(_measure_trained, name, folder, request)


def _trained_names(folders: Sequence[str | Path]) -> dict[str, Path]:
    """Return trained models by what tells their names apart, or else the ends of their paths."""
    paths = list(dict.fromkeys(Path(folder).absolute() for folder in folders))
    names = {path.name.removesuffix(".zip"): path for path in paths}
    n_parts = 1
    while len(names) < len(paths):
        n_parts += 1
        names = {"/".join(path.parts[-n_parts:]): path for path in paths}
    return dict(zip(_distinct_parts(list(names)), names.values(), strict=True))


def _distinct_parts(names: Sequence[str]) -> list[str]:
    """Leave out the parts between underscores that all names begin or end with."""
    parts = [name.split("_") for name in names]
    shortest = min(map(len, parts), default=1)
    if len(names) == 1 or shortest == 1:
        return list(names)
    first = min(_n_shared(parts), shortest - 1)
    last = _n_shared([of_name[:first:-1] for of_name in parts])
    return ["_".join(of_name[first : len(of_name) - last]) for of_name in parts]


def _n_shared(parts: Sequence[Sequence[str]]) -> int:
    """Return with how many of the same parts all begin."""
    return len(list(takewhile(lambda same: len(set(same)) == 1, zip(*parts, strict=False))))


def _different(dim: int) -> tuple[str, ...]:
    """Return the names of all networks for so many axes that differ in one and the same plan."""
    found: dict[str, str] = {}
    for a in architectures():
        if dim in a.dims and a.same_as is None:
            key = repr((a.class_path, a.topology, a.keywords, a.parameters_of))
            found.setdefault(key, a.name)
    return tuple(found.values())


def _measure_initial(model: str, request: ReceptiveFieldRequest) -> list[ReceptiveField]:
    built = initial_network(model, request.patch_size, features=request.features, seed=request.seed)
    patches = noise_patches(request.number, 1, built.patch_size, request.seed)
    return [_measure(model, "initial", built.network, patches, request)]


def _measure_trained(
    name: str, folder: Path, request: ReceptiveFieldRequest
) -> list[ReceptiveField]:
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
