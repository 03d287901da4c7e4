"""A comparison and how far it has come."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from umamba.comparison.budget import Length
from umamba.comparison.cells import Cell, CellState
from umamba.comparison.cost import Cost
from umamba.comparison.existing import StockTraining
from umamba.comparison.finished import Finished
from umamba.comparison.planning import ComparisonRequest, Planned
from umamba.nnunet.paths import Paths

__all__ = ["Comparison"]


@dataclass
class Comparison:
    """A comparison and how far it has come.

    Attributes:
        request: What to compare, earlier calls included.
        paths: nnU-Net's folders.
        planned: The plans of all models.
        cases: The validation cases of each fold.
        evaluated_as: All that the evaluation of a fold depends on besides the predictions.
        costs: What each model costs, as far as it was measured.
        lengths: How long each model's cells train.
        states: How far each cell has come.
        finished: What finished cells have to tell.
        stock: Trainings of stock nnU-Net that are taken in, and what they have to tell.
    """

    request: ComparisonRequest
    paths: Paths
    planned: Planned
    cases: dict[int, frozenset[str]]
    evaluated_as: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    lengths: dict[str, Length] = field(default_factory=dict)
    states: dict[Cell, CellState] = field(default_factory=dict)
    finished: dict[Cell, Finished] = field(default_factory=dict)
    stock: dict[StockTraining, Finished] = field(default_factory=dict)

    @property
    def cells(self) -> list[Cell]:
        """Return all cells of this call and earlier ones, in the order in which they train.

        Models vary fastest.
        """
        request = self.request
        return [
            Cell(model, fold, seed)
            for seed, fold, model in product(request.seeds, request.folds, self.planned.models)
            if any(asked.includes(model, fold, seed) for asked in request.asked)
        ]

    @property
    def asked(self) -> list[Cell]:
        """Return the cells that this call asks for."""
        now = self.request.asked[-1]
        return [cell for cell in self.cells if now.includes(cell.model, cell.fold, cell.seed)]

    @property
    def baseline(self) -> str:
        """Return the model that the others are compared with."""
        models = self.planned.models
        return self.request.baseline or ("nnunet" if "nnunet" in models else models[0])

    def folder(self, cell: Cell) -> Path:
        """Return where a cell trains."""
        return self.planned.folder(cell, self.paths)

    @property
    def references(self) -> Path:
        """Return where the masks are that predictions should be."""
        return self.paths.require("preprocessed") / self.planned.source.dataset / "gt_segmentations"

    def log(self, cell: Cell) -> Path:
        """Return where the output of a cell's training goes."""
        return self.request.output / "logs" / f"{cell}.log"

    def cache(self, name: str) -> Path:
        """Return where it is kept what a training has to tell."""
        return self.request.output / "cells" / f"{name}.json"

    def failure(self, cell: Cell) -> Path:
        """Return where it is kept why a cell failed."""
        return self.cache(str(cell)).with_suffix(".failed.txt")

    def why_not_compared(self, training: StockTraining) -> str | None:
        """Return why a training of stock nnU-Net is left out of the statistics, if it is."""
        found, wanted = self.stock[training].length, self.lengths[training.model]
        if found.iterations == wanted.iterations:
            return None
        return f"trained {found}, and this comparison {wanted}"
