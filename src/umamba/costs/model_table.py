"""What the models cost on a plan: a table for people, data for machines."""

from dataclasses import asdict, dataclass
from typing import Any

from umamba.costs.machine import conditions
from umamba.profiling import NetworkProfile
from umamba.registry import Architecture
from umamba.reporting.tables import markdown_table

__all__ = ["MeasuredStep", "ModelRow", "ModelTables", "PlanTable"]

_GIB = 2**30


@dataclass(frozen=True)
class MeasuredStep:
    """One training step: median and spread between quartiles in seconds, and peak bytes.

    `peak_bytes` is above what was in use before; `None` where it cannot be measured.
    """

    seconds: float
    spread_s: float
    peak_bytes: int | None


@dataclass(frozen=True)
class ModelRow:
    """One model on one plan.

    Args:
        model: The model.
        patch_size: The patch that its plans name; `None` where there are none.
        profile: What it costs; `None` where it cannot be built.
        step: What a training step costs; `None` where that was not measured.
        problem: Why something is missing.
    """

    model: Architecture
    patch_size: tuple[int, ...] | None = None
    profile: NetworkProfile | None = None
    step: MeasuredStep | None = None
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "name": self.model.name,
            "paper": self.model.paper,
            "purpose": self.model.purpose,
            "patch_size": None if self.patch_size is None else list(self.patch_size),
            "profile": None if self.profile is None else self.profile.to_dict(),
            "step": None if self.step is None else asdict(self.step),
            "problem": self.problem,
        }


@dataclass(frozen=True)
class PlanTable:
    """All models on one configuration of a plan, whose own patch and batch these are."""

    configuration: str
    patch_size: tuple[int, ...]
    batch_size: int
    rows: tuple[ModelRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "configuration": self.configuration,
            "patch_size": list(self.patch_size),
            "batch_size": self.batch_size,
            "models": [row.to_dict() for row in self.rows],
        }

    def to_markdown(self, *, measured: bool) -> list[str]:
        """Return the lines of a heading, the table, and what its rows lack."""
        steps = ["step, s", "peak, GiB"] if measured else []
        header = ["model", "parameters, M", "multiply-adds, G", "saved, GiB", *steps]
        header += ["what it is for", "paper"]
        texts = (0, len(header) - 2, len(header) - 1)
        rows = [_cells(row, measured=measured) for row in self.rows]
        title = f"## {self.configuration}: patch {_by(self.patch_size)}, batch {self.batch_size}"
        notes = [note for row in self.rows for note in self._notes(row)]
        return [
            title,
            "",
            *markdown_table([header, *rows], texts),
            *([""] if notes else []),
            *notes,
        ]

    def _notes(self, row: ModelRow) -> list[str]:
        notes = [row.problem] if row.problem else []
        if row.patch_size not in (None, self.patch_size):
            notes.append(f"its patch is {_by(row.patch_size or ())}")
        return [f"- `{row.model.name}`: {note}" for note in notes]


@dataclass(frozen=True)
class ModelTables:
    """The models on every configuration that was asked for.

    Args:
        plans: The plans that those of the models derive from, in words.
        tables: One per configuration.
        rounds: How often each step was timed.
        machine: What a measurement depends on; `None` without one.
    """

    plans: str
    tables: tuple[PlanTable, ...]
    rounds: int
    machine: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "plans": self.plans,
            "configurations": [table.to_dict() for table in self.tables],
            "rounds": None if self.machine is None else self.rounds,
            "machine": self.machine,
        }

    def to_markdown(self) -> str:
        """Return the tables with what belongs to them."""
        lines = ["# What the models cost", "", f"Derived from {self.plans}.", ""]
        for table in self.tables:
            lines += [*table.to_markdown(measured=self.machine is not None), ""]
        return "\n".join([*lines, *self._notes(), ""])

    def _notes(self) -> list[str]:
        notes = [
            "Multiply-adds (MACs, half the FLOPs; G is 10^9) are those of predicting one patch: "
            "convolutions, matrix products, attention, Fourier transforms and the selective scan. "
            "Norms, activations and sums are left out. Saved is what training keeps for the "
            "backward of one batch, in float32, with the heads of deep supervision; weights, "
            "gradients and momentum, 12 bytes per parameter, come on top. Every model is on the "
            "plans above, also resenc_m, resenc_l and resenc_xl: they differ in the patch and the "
            "batch that nnU-Net's planners choose (`--from nnUNetResEncUNetLPlans`).",
        ]
        models = {row.model.name: row.model for table in self.tables for row in table.rows}
        own = {name: model.topology.patch_multiple for name, model in models.items()}
        rounded = [f"`{name}` to multiples of {n}" for name, n in own.items() if n is not None]
        if rounded:
            what = ", ".join(rounded)
            notes += [
                "",
                f"Networks that keep their own topology have patches rounded up: {what}.",
            ]
        if self.machine is None:
            notes += ["", "`--time` measures training steps, on the machine at hand."]
        else:
            notes += [
                "",
                "A step is forward and backward of one batch in float32, without optimizer, "
                f"augmentation and data: the median of {self.rounds} in turn with the other "
                "models; the peak is above what was in use before.",
                f"Measured on {conditions(self.machine)}.",
            ]
        return notes


def _cells(row: ModelRow, *, measured: bool) -> list[str]:
    profile, step = row.profile, row.step
    figures = ["-"] * 3
    if profile is not None:
        figures = [
            f"{profile.n_parameters / 1e6:.2f}",
            f"{profile.multiply_adds / 1e9:.1f}",
            f"{profile.saved_bytes / _GIB:.2f}",
        ]
    if measured:
        figures.append("-" if step is None else f"{step.seconds:.3g}")
        peak = None if step is None else step.peak_bytes
        figures.append("-" if peak is None else f"{peak / _GIB:.2f}")
    return [row.model.name, *figures, row.model.purpose, row.model.paper]


def _by(patch_size: tuple[int, ...]) -> str:
    return "x".join(map(str, patch_size))
