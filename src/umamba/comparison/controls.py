"""Which models are controls of which."""

from collections.abc import Collection, Sequence

from umamba import registry

__all__ = ["control_of", "controls_of", "with_controls"]

_SUFFIXES = ("_nomamba", "_matched")
# Without Mamba nothing tells these apart: same modules, same weights from the same seed.
_PLACES = ("umamba_bot", "umamba_enc")


def control_of(model: str) -> str | None:
    """Return the model that this one is a control of, if it is one."""
    found = (model.removesuffix(suffix) for suffix in _SUFFIXES if model.endswith(suffix))
    return next(found, None)


def controls_of(model: str, models: Collection[str]) -> list[str]:
    """Return those of the models that are controls of one.

    U-Mamba without Mamba is one network, wherever Mamba is in U-Mamba: `umamba_bot_nomamba` is a
    control of `umamba_enc`, too.
    """
    own = [model + suffix for suffix in _SUFFIXES]
    found = (next((n for n in (name, *_same_as(name)) if n in models), None) for name in own)
    return [name for name in found if name is not None]


def _same_as(model: str) -> tuple[str, ...]:
    if not model.endswith("_nomamba"):
        return ()
    form = model.removeprefix(_PLACES[0]).removeprefix(_PLACES[1])
    return tuple(place + form for place in _PLACES)


def with_controls(models: Sequence[str]) -> tuple[str, ...]:
    """Return models, each of U-Mamba followed by its controls as far as there are any.

    Of the networks without Mamba that are one and the same, there is only the first.
    """
    known = registry.names()
    complete: dict[str, None] = {}  # keeps the order
    for model in models:
        complete[model] = None
        if not model.startswith("umamba_"):
            continue
        for control in (model + suffix for suffix in _SUFFIXES):
            if control in known and not {*complete, *models}.intersection(_same_as(control)):
                complete[control] = None
    return tuple(complete)
