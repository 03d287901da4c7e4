"""The parts that a page is made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from umamba.reporting.charts import Chart
from umamba.reporting.tables import Note, Table

__all__ = [
    "Block",
    "CaseBrowser",
    "ChosenCases",
    "ModelTable",
    "Page",
    "ScoreCube",
    "ScoredMetric",
    "Section",
]


@dataclass(frozen=True)
class ScoredMetric:
    """A metric of a page's scores.

    Attributes:
        name: Its key.
        title: Its name for readers, with the unit.
        higher_is_better: `None` if neither higher nor lower is.
        decimals: Number of decimals of means.
        factor: Factor by which differences are multiplied: 100 for Dice points.
        unit: Unit of the differences.
    """

    name: str
    title: str
    higher_is_better: bool | None = True
    decimals: int = 3
    factor: float = 1.0
    unit: str = ""


@dataclass(frozen=True)
class ScoreCube:
    """The scores of models in cases, as means over trainings.

    Attributes:
        cases: Names of the cases.
        models: Names of the models.
        metrics: The metrics.
        labels: Names of the labels; "" stands for the mean over labels.
        values: By metric and label, for each model, the score of each case; `None` if undefined.
        facts: What else is known of each case, such as its fold; `None` where it is not.
    """

    cases: Sequence[str]
    models: Sequence[str]
    metrics: Sequence[ScoredMetric]
    labels: Sequence[str]
    values: Mapping[str, Mapping[str, Sequence[Sequence[float | None]]]]
    facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelTable:
    """The table of the models, once for each baseline that a reader may choose.

    Attributes:
        baseline: The baseline that is shown first.
        tables: The table for each baseline.
    """

    baseline: str
    tables: Mapping[str, Table]


@dataclass(frozen=True)
class CaseBrowser:
    """The cases with images and masks, for the scripts that show them.

    Attributes:
        index: What is known of the cases, as JSON has it.
        cases: Name and compressed data of each case; each is made when it is written.
    """

    index: Mapping[str, Any]
    cases: Iterable[tuple[str, bytes]] = ()


@dataclass(frozen=True)
class ChosenCases:
    """A table of the models' means in the cases that a reader chooses; empty until then.

    Attributes:
        metrics: Names of the metrics in it.
    """

    metrics: Sequence[str]


Block = Note | Table | ModelTable | ChosenCases | Chart | CaseBrowser


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        name: Its anchor: letters, digits and hyphens.
        heading: Its heading.
        blocks: Its contents.
        level: Level of the heading: 2, or 3 for a part of the section before.
    """

    name: str
    heading: str
    blocks: tuple[Block, ...]
    level: int = 2


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: Its title.
        subtitle: A line below.
        sections: Its sections, in order.
        scores: The scores that its scripts use; `None` if there are none.
        credit: Origin and licence of the data shown; "" if nothing need be said.
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    scores: ScoreCube | None = None
    credit: str = ""
