"""A metric of one label: its formula, and all that tables, figures and pages say of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.surfaces import SurfaceDefinition

__all__ = ["Metric"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric; `umamba.evaluation.metrics.METRICS` lists them all.

    Attributes:
        name: Its key in JSON and its column in CSV.
        title: Its name in tables and figures, without the unit.
        measure: Returns its value for two masks; NaN where it is undefined.
        definition: One sentence or two for the reference page, in Markdown.
        source: Where it is defined.
        empty: What it is where a mask is empty, for the reference page.
        unit: The kind of its unit; `None` for shares and counts, which have none.
        higher_is_better: `None` where neither is, as of a signed difference.
        decimals: How many of them tables of means show.
        is_overlap: Whether it takes the value of `--empty` where both masks are empty.
        of_surfaces: Whether it depends on what a surface is.
        is_standard: Whether it is measured unless asked otherwise: those that cost little are.
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
    is_standard: bool = True
    of_probabilities: bool = False

    @property
    def is_distance(self) -> bool:
        """Whether it is a length."""
        return self.unit == "length"

    def heading(self, length: str, surface: SurfaceDefinition | None = None) -> str:
        """Return the title with the unit, and with the definition of surfaces if it depends on it.

        Args:
            length: The unit of lengths, such as `mm`.
            surface: What a surface was; `None` where the table says so elsewhere.
        """
        units = {None: "", "length": f", {length}", "volume": f", {length}^3"}
        return (
            self.title
            + (f" ({surface})" if surface and self.of_surfaces else "")
            + units[self.unit]
        )
