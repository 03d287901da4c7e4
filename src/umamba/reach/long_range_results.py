"""Results of the tasks that need a long range: a table for people, data for machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.reach.field_results import size_as_dict, size_from_dict
from umamba.reach.gradients import FieldSize
from umamba.reporting.tables import markdown_table

__all__ = ["SEEN", "SHARE", "Group", "LongRangeResult", "Trial"]

SEEN = 0.75  # half-way between labels by chance, 0.5, and all right, 1
SHARE = 50  # per cent of the gradient, whose radius is in the table: more is mostly the norms'

Maps = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Trial:
    """One training of one network, and what came of it.

    Attributes:
        model: Its name in the registry.
        n_stages: Its stages.
        dim: Axes of the pictures.
        seed: Seed of initial weights and pictures.
        parameters: Number of its weights.
        loss: Mean of the last tenth of the steps.
        seconds: Processor time of the training.
        dice: By distance, that of the objects, which need the range.
        control: By distance, that of the markers, which need none.
        before: Its receptive field with initial weights, by per cent of the gradient.
        after: The same after training.
        maps: The shares of all voxels before and after; `None` where they were not read.
    """

    model: str
    n_stages: int
    dim: int
    seed: int
    parameters: int
    loss: float
    seconds: float
    dice: Mapping[int, float]
    control: Mapping[int, float]
    before: Mapping[int, FieldSize]
    after: Mapping[int, FieldSize]
    maps: Maps | None = field(default=None, compare=False)

    @property
    def title(self) -> str:
        """The network's name for people."""
        return f"{self.model}, {self.n_stages} stages"

    @property
    def reach(self) -> int:
        """The largest distance up to which every Dice of objects is at least `SEEN`, or 0."""
        reached = 0
        for distance, dice in sorted(self.dice.items()):
            if dice < SEEN:
                break
            reached = distance
        return reached

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold, without the maps."""
        return {
            "model": self.model,
            "n_stages": self.n_stages,
            "dim": self.dim,
            "seed": self.seed,
            "parameters": self.parameters,
            "loss": round(self.loss, 5),
            "seconds": round(self.seconds, 1),
            "dice": {str(distance): round(dice, 4) for distance, dice in self.dice.items()},
            "control": {str(distance): round(dice, 4) for distance, dice in self.control.items()},
            "before": size_as_dict(self.before),
            "after": size_as_dict(self.after),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], maps: Maps | None = None) -> "Trial":
        """Read the output of `to_dict`."""
        given = dict(content)
        for name in ("dice", "control"):
            given[name] = {int(distance): dice for distance, dice in given[name].items()}
        for name in ("before", "after"):
            given[name] = size_from_dict(given[name])
        return cls(**given, maps=maps)


@dataclass(frozen=True)
class Group:
    """The trainings of one network that differ only in their seeds."""

    trials: tuple[Trial, ...]

    @property
    def title(self) -> str:
        """The network's name for people."""
        return self.trials[0].title

    @property
    def reach(self) -> int:
        """The reach of the training that reaches least."""
        return min(trial.reach for trial in self.trials)

    @property
    def dice(self) -> dict[int, float]:
        """The mean Dice of objects by distance."""
        return _means([trial.dice for trial in self.trials])

    @property
    def control(self) -> dict[int, float]:
        """The mean Dice of the control by distance."""
        return _means([trial.control for trial in self.trials])

    @property
    def radii(self) -> tuple[float, float]:
        """The mean radii that hold `SHARE` per cent of the gradient before and after training."""
        before, after = (
            fmean(sizes[SHARE].radius for sizes in fields)
            for fields in zip(*((trial.before, trial.after) for trial in self.trials), strict=True)
        )
        return before, after


def _means(found: Sequence[Mapping[int, float]]) -> dict[int, float]:
    return {distance: fmean(one[distance] for one in found) for distance in found[0]}


@dataclass(frozen=True)
class LongRangeResult:
    """All trainings of a request, and the settings that they share.

    Attributes:
        trials: The trainings.
        settings: By number of image axes: sizes of pictures and networks, and the training.
    """

    trials: tuple[Trial, ...]
    settings: Mapping[int, Mapping[str, Any]]

    @property
    def dims(self) -> list[int]:
        """The numbers of image axes."""
        return sorted({trial.dim for trial in self.trials})

    def groups(self, dim: int) -> list[Group]:
        """Return the networks in the order of the request.

        Args:
            dim: Number of image axes.
        """
        found: dict[str, list[Trial]] = {}
        for trial in self.trials:
            if trial.dim == dim:
                found.setdefault(trial.title, []).append(trial)
        return [Group(tuple(trials)) for trials in found.values()]

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold, without the maps."""
        return {
            "settings": {str(dim): dict(of_dim) for dim, of_dim in self.settings.items()},
            "trials": [trial.to_dict() for trial in self.trials],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "LongRangeResult":
        """Read the output of `to_dict`."""
        settings = {int(dim): of_dim for dim, of_dim in content["settings"].items()}
        return cls(tuple(map(Trial.from_dict, content["trials"])), settings)

    def to_markdown(self) -> str:
        """Return a table for each number of image axes, with its explanation."""
        parts = [part for dim in self.dims for part in self._of_dim(dim)]
        return "\n\n".join([*parts, *_EXPLAINED]) + "\n"

    def _of_dim(self, dim: int) -> list[str]:
        groups, settings = self.groups(dim), self.settings[dim]
        distances = list(groups[0].dice)
        header = ["network", *map(str, distances), "reach", "control"]
        header += [f"{SHARE} % before", f"{SHARE} % after"]
        rows = [header, *map(_row, groups)]
        patch = " x ".join(map(str, settings["shape"]))
        seeds = len({trial.seed for trial in self.trials if trial.dim == dim})
        title = (
            f"{dim}D, pictures of {patch} voxels: Dice of objects by the distance of their markers"
            f" (mean of {seeds} seed{'s' if seeds > 1 else ''})"
        )
        return [f"{title}:", "\n".join(markdown_table(rows, texts=(0,)))]


_EXPLAINED = (
    "With labels by chance, Dice is 0.5 if half of the objects get either label, and 0.33 if all "
    "get the same. Reach is the largest distance up to which every seed has a Dice of at least "
    f"{SEEN}. Control is the lowest Dice of the markers at any distance.",
    f"The last columns are radii in voxels that hold {SHARE} % of the gradient of an object's "
    "centre over the picture, before and after training.",
)


def _row(group: Group) -> list[str]:
    before, after = group.radii
    return [
        group.title,
        *(f"{dice:.2f}" for dice in group.dice.values()),
        str(group.reach or "-"),
        f"{min(group.control.values()):.2f}",
        f"{before:.1f}",
        f"{after:.1f}",
    ]
