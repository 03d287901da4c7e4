"""Which models are controls of which, as the registry has it."""

from collections.abc import Collection, Sequence

from umamba.registry import Architecture, architectures

__all__ = ["control_of", "controls_of", "with_controls"]


def control_of(model: str) -> str | None:
    """Return the model that this one is a control of, if it is one."""
    return next((a.control_of for a in architectures() if a.name == model), None)


def controls_of(model: str, models: Collection[str]) -> list[str]:
    """Return those of the models that are controls of one.

    U-Mamba without Mamba is one network, wherever Mamba is in U-Mamba: `umamba_bot_nomamba` is a
    control of `umamba_enc`, too.
    """
    found = (
        next((name for name in (control.name, *_same_network(control)) if name in models), None)
        for control in _controls(model)
    )
    return [name for name in found if name is not None]


def with_controls(models: Sequence[str]) -> tuple[str, ...]:
    """Return models, each followed by its controls as far as there are any.

    Of networks that are one and the same, there is only the first.
    """
    complete: dict[str, None] = {}  # keeps the order
    for model in models:
        complete[model] = None
        for control in _controls(model):
            if not {*complete, *models}.intersection(_same_network(control)):
                complete[control.name] = None
    return tuple(complete)


def _controls(model: str) -> list[Architecture]:
    return [architecture for architecture in architectures() if architecture.control_of == model]


def _same_network(architecture: Architecture) -> list[str]:
    """Return the names of a network, its own one among them."""
    first = architecture.same_as or architecture.name
    return [a.name for a in architectures() if first in (a.name, a.same_as)]
