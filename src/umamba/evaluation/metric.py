"""A metric of one label: its formula, and everything that tables and figures need about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from umamba.evaluation.extra_metrics import EXTRA_METRICS
from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.surfaces import SurfaceDefinition

__all__ = ["Metric", "size_title", "volume_unit"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric; `umamba.evaluation.metrics.METRICS` lists them all.

    Attributes:
        name: Its key in JSON and its column in CSV.
        title: Its name in tables and figures, without the unit.
        measure: Returns its value for two masks; NaN where undefined.
        definition: One or two sentences for the reference page, in Markdown.
        source: The publication that defines it.
        empty: Its value if a mask is empty, for the reference page.
        unit: The kind of its unit; `None` for shares and counts, which have none.
        higher_is_better: `None` if neither higher nor lower is, as for a signed difference.
        decimals: Number of decimals in tables of means.
        is_overlap: Whether it takes the value of `--empty` if both masks are empty.
        of_surfaces: Whether it depends on the definition of surfaces.
        of_probabilities: Whether it needs the probabilities of the prediction.
    """

    name: str
    title: str
    measure: Callable[[LabelMasks], float]
    definition: str
    source: str
    empty: str
    unit: Literal["length", "volume"] | None = None
    higher_is_better: bool | None = True
    decimals: int = 3
    is_overlap: bool = False
    of_surfaces: bool = False
    of_probabilities: bool = False

    @property
    def is_standard(self) -> bool:
        """True if it is measured without being asked for."""
        return self.name not in EXTRA_METRICS

    def heading(
        self,
        length: str,
        n_dims: int | None = None,
        surface: SurfaceDefinition | None = None,
    ) -> str:
        """Return the title with the unit and, if the metric depends on it, the surface definition.

        Args:
            length: The unit of lengths, such as `mm`.
            n_dims: Number of dimensions of the masks; `None` if it is not known.
            surface: The definition of surfaces used; `None` if the table states it elsewhere.
        """
        units = {None: "", "length": f", {length}", "volume": f", {volume_unit(length, n_dims)}"}
        return (
            self.title
            + (f" ({surface})" if surface and self.of_surfaces else "")
            + units[self.unit]
        )


def volume_unit(length: str, n_dims: int | None = None) -> str:
    """Return the unit of volumes, which are areas in 2D.

    Args:
        length: The unit of lengths, such as `mm`.
        n_dims: Number of dimensions of the masks; `None`, if it is not known, gives both.
    """
    return f"{length}^{n_dims}" if n_dims else f"{length}^3, in 2D {length}^2"


def size_title(length: str, n_dims: int | None = None) -> str:
    """Return what to call the size of the reference's objects in a case; as in `volume_unit`."""
    kind = {2: "area", 3: "volume"}.get(n_dims or 0, "size")
    return f"reference {kind} ({volume_unit(length, n_dims)})"
