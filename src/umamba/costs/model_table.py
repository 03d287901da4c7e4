"""Costs of the models on a plan: a table for people, data for machines."""

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
    """One training step: median and interquartile range in seconds, and peak bytes.

    `peak_bytes` excludes memory that was in use before; `None` if it cannot be measured.
    """

    seconds: float
    spread_s: float
    peak_bytes: int | None


@dataclass(frozen=True)
class ModelRow:
    """One model on one plan.

    Args:
        model: The model.
        patch_size: Patch size in its plans; `None` if there are none.
        profile: Its costs; `None` if it cannot be built.
        step: Costs of a training step; `None` if not measured.
        problem: Reason why something is missing.
    """

    model: Architecture
    patch_size: tuple[int, ...] | None = None
    profile: NetworkProfile | None = None
    step: MeasuredStep | None = None
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold."""
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
    """All models on one configuration of a plan, with the plan's own patch and batch size."""

    configuration: str
    patch_size: tuple[int, ...]
    batch_size: int
    rows: tuple[ModelRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold."""
        return {
            "configuration": self.configuration,
            "patch_size": list(self.patch_size),
            "batch_size": self.batch_size,
            "models": [row.to_dict() for row in self.rows],
        }

    def to_markdown(self, *, measured: bool) -> list[str]:
        """Return the lines of a heading, the table, and notes on what its rows lack."""
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
    """Tables of the models for every configuration requested.

    Args:
        plans: The plans that those of the models derive from, in words.
        tables: One table per configuration.
        rounds: Number of times that each step was timed.
        machine: Conditions of the measurement; `None` without one.
    """

    plans: str
    tables: tuple[PlanTable, ...]
    rounds: int
    machine: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold."""
        return {
            "plans": self.plans,
            "configurations": [table.to_dict() for table in self.tables],
            "rounds": None if self.machine is None else self.rounds,
            "machine": self.machine,
        }

    def to_markdown(self) -> str:
        """Return the tables with their explanation."""
        lines = ["# What the models cost", "", f"Derived from {self.plans}.", ""]
        for table in self.tables:
            lines += [*table.to_markdown(measured=self.machine is not None), ""]
        return "\n".join([*lines, *self._notes(), ""])

    def _notes(self) -> list[str]:
        notes = [
            "Multiply-adds (MACs, half the FLOPs; G is 10^9) are those for predicting one patch: "
            "convolutions, matrix products, attention, Fourier transforms and the selective scan. "
            "Norms, activations and sums are not counted. Saved is the memory that training keeps "
            "for the backward pass of one batch, in float32, with the heads of deep supervision. "
            "Our networks compute norms, activations and mixers again by default, without which "
            "they would keep more (`--activation-checkpointing none`). Weights, gradients and "
            "momentum take another 12 bytes per parameter, or 16 where AdamW trains. All models "
            "use the plans above, including resenc_m, resenc_l and "
            "resenc_xl, although nnU-Net's planners choose other patches and batches (`--from "
            "nnUNetResEncUNetLPlans`).",
        ]
        models = {row.model.name: row.model for table in self.tables for row in table.rows}
        rounded: dict[int, list[str]] = {}
        for name, model in models.items():
            if model.topology.patch_multiple is not None:
                rounded.setdefault(model.topology.patch_multiple, []).append(f"`{name}`")
        if rounded:
            what = "; ".join(
                f"to multiples of {multiple} for {', '.join(names)}"
                for multiple, names in rounded.items()
            )
            notes += ["", f"Networks that keep their own topology have patches rounded up: {what}."]
        if self.machine is None:
            notes += ["", "`--time` measures training steps on this machine."]
        else:
            notes += [
                "",
                "A step is the forward and backward pass of one batch in float32, without "
                f"optimizer, augmentation and data: the median of {self.rounds} steps, all models "
                "in turn. The peak does not include memory in use before.",
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
