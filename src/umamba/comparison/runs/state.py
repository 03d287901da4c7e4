"""A comparison and its progress."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from umamba.comparison.rows import Cost, Ensemble, Training
from umamba.comparison.runs.budget import Length
from umamba.comparison.runs.existing import StockTraining
from umamba.comparison.runs.external import ExternalSet
from umamba.comparison.runs.finished import Finished
from umamba.comparison.runs.planning import ComparisonRequest, Planned
from umamba.comparison.runs.training_states import TrainingState
from umamba.nnunet.paths import Paths

__all__ = ["Comparison", "Tester"]

Tester = Training | StockTraining | Ensemble  # what predicts a test set


@dataclass
class Comparison:
    """A comparison and its progress.

    Attributes:
        request: The request, including earlier calls.
        paths: nnU-Net's folders.
        planned: The plans of all models.
        cases: The validation cases of each fold.
        evaluated_as: Everything except the predictions that the evaluation of a fold depends on.
        costs: Costs of each model, as far as measured.
        lengths: Length of each model's trainings.
        states: State of each training.
        finished: Summaries of finished trainings.
        stock: Trainings of stock nnU-Net that are taken in, with their summaries.
        external: The test set; `None` if there is none.
        tested: The trainings and ensembles whose predictions of the test set are evaluated.
        untested: Reasons why others are not, as far as somebody tried.
    """

    request: ComparisonRequest
    paths: Paths
    planned: Planned
    cases: dict[int, frozenset[str]]
    evaluated_as: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    lengths: dict[str, Length] = field(default_factory=dict)
    states: dict[Training, TrainingState] = field(default_factory=dict)
    finished: dict[Training, Finished] = field(default_factory=dict)
    stock: dict[StockTraining, Finished] = field(default_factory=dict)
    external: ExternalSet | None = None
    tested: set[Tester] = field(default_factory=set)
    untested: dict[Tester, str] = field(default_factory=dict)

    @property
    def trainings(self) -> list[Training]:
        """Return all trainings of this call and earlier ones, in the order in which they train.

        Models vary fastest.
        """
        request = self.request
        return [
            training
            for seed, fold, model in product(request.seeds, request.folds, self.planned.models)
            for training in [Training(model, fold, seed)]
            if any(asked.includes(training) for asked in request.asked)
        ]

    @property
    def asked(self) -> list[Training]:
        """Return the trainings that this call asks for."""
        now = self.request.asked[-1]
        return [training for training in self.trainings if now.includes(training)]

    @property
    def undone(self) -> list[Training]:
        """Return the trainings that this call finishes, and finished ones to evaluate again."""
        asked = set(self.asked)
        return [
            training
            for training, state in self.states.items()
            if (state.status == "done" and training not in self.finished)
            or (training in asked and (state.status != "done" or self.lacks_test(training)))
        ]

    @property
    def ensembles(self) -> list[Ensemble]:
        """Return the ensembles that can predict: of all folds of a model's seed, two or more."""
        folds: dict[tuple[str, int], list[int]] = {}
        undone = set()
        for training in self.trainings:
            if training.seed is None:
                continue
            name = (training.model, training.seed)
            folds.setdefault(name, []).append(training.fold)
            if training not in self.finished:
                undone.add(name)
        return [
            Ensemble(model, tuple(sorted(found)), seed)
            for (model, seed), found in folds.items()
            if len(found) > 1 and (model, seed) not in undone
        ]

    def lacks_test(self, tester: Tester) -> bool:
        """Return whether a training or an ensemble has yet to predict the test set."""
        return self.external is not None and tester not in self.tested

    @property
    def baseline(self) -> str:
        """Return the model that the others are compared with."""
        models = self.planned.models
        return self.request.baseline or ("nnunet" if "nnunet" in models else models[0])

    def folder(self, training: Training) -> Path:
        """Return the folder of a training."""
        return self.planned.folder(training, self.paths)

    @property
    def references(self) -> Path:
        """Folder of the reference masks."""
        return self.paths.require("preprocessed") / self.planned.source.dataset / "gt_segmentations"

    def log(self, name: str) -> Path:
        """Return the file for the output of a training's job."""
        return self.request.output / "logs" / f"{name}.log"

    def cache(self, name: str) -> Path:
        """Return the file with the cached evaluation of a training."""
        # Comparisons of earlier versions have this folder: their trainings are not evaluated again.
        return self.request.output / "cells" / f"{name}.json"

    def cell(self, name: str) -> Path:
        """Return the file that tells a job what to do for a training."""
        return self.cache(name).with_suffix(".job.json")

    def failure(self, training: Training) -> Path:
        """Return the file with the reason why a training failed."""
        return self.cache(str(training)).with_suffix(".failed.txt")

    def why_not_compared(self, training: StockTraining) -> str | None:
        """Return why a training of stock nnU-Net is left out of the statistics, if it is."""
        found, wanted = self.stock[training].length, self.lengths[training.model]
        if found.iterations == wanted.iterations:
            return None
        return f"trained {found}, and this comparison {wanted}"
