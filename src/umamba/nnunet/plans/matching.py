"""Widen the networks of plans until they have as many parameters as those of other plans."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from itertools import combinations, product
from typing import Any

from umamba.errors import PlansError
from umamba.nnunet.plans.networks import build_network
from umamba.nnunet.plans.values import Plans

__all__ = ["TOLERANCE", "match_parameters"]

TOLERANCE = 0.02
_HALVINGS = 24  # of the factor's interval: far finer than whole features

_Features = tuple[int, ...]


def match_parameters(plans: Plans, reference: Plans, dataset_json: Mapping[str, Any]) -> Plans:
    """Return plans whose networks have as many parameters as those of other plans, within 2 %.

    The features of all stages are scaled by one factor and rounded. Only where that misses the
    tolerance, as it may in very narrow networks, single stages get a channel more or less.

    Args:
        plans: The plans to widen. Not changed.
        reference: Plans with the same configurations and larger networks.
        dataset_json: The data set's `dataset.json`, which says how many channels and classes
            there are.

    Raises:
        PlansError: If no features meet the tolerance; the message says how close they come.
    """
    matched = deepcopy(plans)
    for name, entry in matched["configurations"].items():
        if "architecture" not in entry:
            continue
        keywords = entry["architecture"]["arch_kwargs"]
        target = _n_parameters(reference, dataset_json, name)

        @cache
        def count(features: _Features, name: str = name, keywords: Any = keywords) -> int:
            keywords["features_per_stage"] = list(features)
            return _n_parameters(matched, dataset_json, name)

        features = _widen(tuple(keywords["features_per_stage"]), target, count)
        found = count(features)
        if abs(found - target) > TOLERANCE * target:
            msg = (
                f"no features give configuration {name!r} {target} parameters within "
                f"{TOLERANCE:.0%}: {list(features)} come nearest, with {found}. "
                "Choose larger --features."
            )
            raise PlansError(msg)
        keywords["features_per_stage"] = list(features)
    return matched


def _n_parameters(plans: Plans, dataset_json: Mapping[str, Any], name: str) -> int:
    network = build_network(plans, dataset_json, name).network
    return sum(parameter.numel() for parameter in network.parameters())


def _widen(features: _Features, target: int, count: Callable[[_Features], int]) -> _Features:
    """Return the features whose count is as near to the target as the search gets."""

    def scaled(factor: float) -> _Features:
        return tuple(round(factor * n) for n in features)

    def miss(candidate: _Features) -> int:
        return abs(count(candidate) - target)

    low, high = 1.0, 2.0
    while count(scaled(high)) < target:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if count(scaled(middle)) < target else (low, middle)
    best = min(scaled(low), scaled(high), key=miss)
    while miss(best) > TOLERANCE * target:
        neighbours = _neighbours(best)
        nearest = min(neighbours, key=miss)
        if miss(nearest) >= miss(best):
            break
        best = nearest
    return best


def _neighbours(features: _Features) -> list[_Features]:
    """Return the features with one channel more or less in one or two stages."""
    found = []
    for pair in combinations(range(len(features)), 2):
        for steps in product((-1, 0, 1), repeat=2):
            changed = list(features)
            for stage, step in zip(pair, steps, strict=True):
                changed[stage] = max(1, changed[stage] + step)
            found.append(tuple(changed))
    return found
