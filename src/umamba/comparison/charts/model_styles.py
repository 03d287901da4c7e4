"""The styles of models in all charts: a colour per family, shape and dashes within it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from umamba.registry import family_colours, family_of
from umamba.system.terminal import one_line

__all__ = ["ModelStyle", "ModelStyles"]

_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4])
_SHAPES = ("circle", "square", "diamond", "triangle-down", "triangle-up")
_LIGHTER = 0.35  # share of white in the colours of variants and controls


@dataclass(frozen=True)
class ModelStyle:
    """The style in which a model is drawn.

    Attributes:
        colour: That of its family; lighter for a control or variant.
        dash: Lengths of the dashes and gaps of its lines.
        shape: Shape of its points.
        filled: Whether points are filled, as only those of the first model of a family are.
    """

    colour: str
    dash: tuple[int, ...]
    shape: str
    filled: bool


class ModelStyles:
    """A style for every model; a family keeps its colour, whatever it is compared with.

    Args:
        models: Names of the models; those that are not ours are families of their own.
        controls: Those that are controls of others.
    """

    def __init__(self, models: Sequence[str], controls: Collection[str] = ()) -> None:
        counts: dict[str, int] = {}
        strangers = [name for name in models if family_of(name) is None]
        unused = list(family_colours().values())
        self._styles: dict[str, ModelStyle] = {}
        for name in sorted(models, key=lambda name: name in controls):
            family = family_of(name) or name
            index = counts.get(family, 0)
            counts[family] = index + 1
            colour = (
                unused[strangers.index(name) % len(unused)]
                if name in strangers
                else family_colours()[family]
            )
            self._styles[name] = ModelStyle(
                colour=_lighten(colour) if index else colour,
                dash=tuple(_DASHES[index % len(_DASHES)]),
                shape=_SHAPES[index % len(_SHAPES)],
                filled=index == 0,
            )

    def __getitem__(self, model: str) -> ModelStyle:
        return self._styles[model]

    def colour(self, models: Sequence[str], *, legend: bool = False) -> dict[str, Any]:
        """Return the channel that gives the field `model` its colours."""
        return self._channel(models, [self[m].colour for m in models], legend=legend)

    def lines(self, models: Sequence[str]) -> dict[str, Any]:
        """Return the channels that give the field `model` its lines, with a legend of lines."""
        of_channels: dict[str, list[Any]] = {
            "color": [self[m].colour for m in models],
            "strokeDash": [list(self[m].dash) for m in models],
        }
        found = {n: self._channel(models, v, legend=True) for n, v in of_channels.items()}
        for channel in found.values():
            channel["legend"]["symbolType"] = "stroke"
        return found

    def points(self, models: Sequence[str], *, legend: bool = False) -> dict[str, Any]:
        """Return the channels that give the field `model` its points."""
        fills = [self[m].colour if self[m].filled else "transparent" for m in models]
        of_channels = {
            "stroke": [self[m].colour for m in models],
            "fill": fills,
            "shape": [self[m].shape for m in models],
        }
        return {
            name: self._channel(models, values, legend=legend)
            for name, values in of_channels.items()
        }

    def _channel(
        self, models: Sequence[str], values: Sequence[Any], *, legend: bool
    ) -> dict[str, Any]:
        return {
            "field": "model",
            "type": "nominal",
            "scale": {"domain": [one_line(m) for m in models], "range": list(values)},
            "legend": {"title": None, "orient": "bottom", "columns": 4} if legend else None,
        }


def _lighten(colour: str) -> str:
    channels = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(c + (255 - c) * _LIGHTER):02x}" for c in channels)
