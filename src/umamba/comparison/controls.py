"""Controls of models, as listed in the registry."""

from collections.abc import Collection, Sequence

from umamba.registry import architectures, find_architecture

__all__ = ["control_of", "controls_of", "with_controls"]


def control_of(model: str) -> str | None:
    """Return the model that this one is a control of; `None` if it is not a control."""
    name, at, recipe = model.partition("@")
    found = next((a.control_of for a in architectures() if a.name == name), None)
    return found and f"{found}{at}{recipe}"


def controls_of(model: str, models: Collection[str]) -> list[str]:
    """Return those of the given models that are controls of a model.

    Without Mamba, all of U-Mamba's networks are the same, so `umamba_bot_nomamba` is a control of
    `umamba_enc` as well.
    """
    found = (
        next((name for name in (control, *_same_network(control)) if name in models), None)
        for control in _controls(model)
    )
    return [name for name in found if name is not None]


def with_controls(models: Sequence[str]) -> tuple[str, ...]:
    """Return models, each followed by its controls if it has any.

    Of models that are the same network, only the first is kept.
    """
    complete: dict[str, None] = {}  # a dict keeps the order
    for model in models:
        complete[model] = None
        for control in _controls(model):
            if not {*complete, *models}.intersection(_same_network(control)):
                complete[control] = None
    return tuple(complete)


def _controls(model: str) -> list[str]:
    """Return the controls of a model, trained by the same recipe."""
    name, at, recipe = model.partition("@")
    return [f"{a.name}{at}{recipe}" for a in architectures() if a.control_of == name]


def _same_network(model: str) -> list[str]:
    """Return all names of a network, including the given one, trained by the same recipe."""
    name, at, recipe = model.partition("@")
    first = find_architecture(name).same_as or name
    same = [a.name for a in architectures() if first in (a.name, a.same_as)]
    return [f"{other}{at}{recipe}" for other in same]
