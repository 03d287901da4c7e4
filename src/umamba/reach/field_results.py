"""Results of measuring receptive fields: a table for people, data for machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.reach.gradients import SHARES, FieldSize
from umamba.reporting.tables import markdown_list, markdown_table

__all__ = ["ReceptiveField", "ReceptiveFieldResult", "size_as_dict", "size_from_dict"]


@dataclass(frozen=True)
class ReceptiveField:
    """The effective receptive field of one network.

    Attributes:
        name: The name of the model, or of the folder of a trained one.
        state: `initial` or `trained`.
        family: The family of the model in the registry; `None` if it is not known.
        patch_size: Voxels of a patch along each axis.
        sizes: How large the parts are that hold these per cent of the gradient.
        within: The part of the gradient within 0, 1, 2, ... voxels of the centre.
        shares: The map, which adds up to 1; `None` where it was read from data without it.
    """

    name: str
    state: str
    family: str | None
    patch_size: tuple[int, ...]
    sizes: Mapping[int, FieldSize]
    within: tuple[float, ...]
    shares: npt.NDArray[np.float64] | None = field(default=None, compare=False)

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name if self.state == "initial" else f"{self.name}, {self.state}"

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold, without the map."""
        return {
            "name": self.name,
            "state": self.state,
            "family": self.family,
            "patch_size": list(self.patch_size),
            "sizes": size_as_dict(self.sizes),
            "within": [round(part, 6) for part in self.within],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ReceptiveField":
        """Read the output of `to_dict`."""
        return cls(
            content["name"],
            content["state"],
            content["family"],
            tuple(content["patch_size"]),
            size_from_dict(content["sizes"]),
            tuple(content["within"]),
        )


def size_as_dict(sizes: Mapping[int, FieldSize]) -> dict[str, Any]:
    """Return sizes in a form that JSON can hold."""
    return {
        str(share): {"radius": round(size.radius, 3), "per_axis": list(size.per_axis)}
        for share, size in sizes.items()
    }


def size_from_dict(content: Mapping[str, Any]) -> dict[int, FieldSize]:
    """Read the output of `size_as_dict`."""
    return {
        int(share): FieldSize(size["radius"], tuple(size["per_axis"]))
        for share, size in content.items()
    }


@dataclass(frozen=True)
class ReceptiveFieldResult:
    """The receptive fields of several networks, measured under the same conditions.

    Attributes:
        fields: In the order of the request.
        whole_patch: For every patch size, the field of a network to which all voxels are equal.
        left_out: Reasons why networks could not be measured, by name.
        patches: What they were looked through with, in words.
        n_patches: Their number.
        seed: The seed.
        constant_norms: Whether the statistics of norms were constants.
    """

    fields: tuple[ReceptiveField, ...]
    whole_patch: tuple[ReceptiveField, ...]
    left_out: Mapping[str, str]
    patches: str
    n_patches: int
    seed: int
    constant_norms: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold, without the maps."""
        return {
            "fields": [field.to_dict() for field in self.fields],
            "whole_patch": [field.to_dict() for field in self.whole_patch],
            "left_out": dict(self.left_out),
            "patches": self.patches,
            "n_patches": self.n_patches,
            "seed": self.seed,
            "constant_norms": self.constant_norms,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ReceptiveFieldResult":
        """Read the output of `to_dict`."""
        rest = {name: content[name] for name in _SETTINGS}
        return cls(
            tuple(map(ReceptiveField.from_dict, content["fields"])),
            tuple(map(ReceptiveField.from_dict, content["whole_patch"])),
            **rest,
        )

    def to_markdown(self) -> str:
        """Return the table with its explanation."""
        header = ["network", "patch", *(f"{share} %" for share in SHARES)]
        header += [f"{share} % per axis" for share in SHARES]
        rows = [header, *map(_row, (*self.fields, *self.whole_patch))]
        notes = [f"{name} was left out: {reason}" for name, reason in self.left_out.items()]
        parts = ["\n".join(markdown_table(rows, texts=(0, 1))), *_EXPLAINED, self._conditions()]
        return "\n\n".join(filter(None, [*parts, markdown_list(notes)])) + "\n"

    @property
    def norms(self) -> str:
        """Say how norms took part."""
        constant = "constants" if self.constant_norms else "part of the gradient"
        return f"means and variances of norms are {constant}"

    def _conditions(self) -> str:
        patches = "patch" if self.n_patches == 1 else "patches"
        looked = f"Mean over {self.n_patches} {patches} of {self.patches}"
        return f"{looked}; {self.norms}; seed {self.seed}."


_SETTINGS = ("left_out", "patches", "n_patches", "seed", "constant_norms")
_EXPLAINED = (
    "Radius in voxels of the smallest ball around the central voxel that holds so many per cent of "
    "the absolute gradient of its logits over the input; and per axis, half the width of the "
    "smallest slab.",
    "Whole patch: what these would be if every voxel of the patch counted the same, the most that "
    "a network without any preference for near voxels could have.",
)


def _row(field: ReceptiveField) -> list[str]:
    sizes: Sequence[FieldSize] = [field.sizes[share] for share in SHARES]
    return [
        field.title,
        " x ".join(map(str, field.patch_size)),
        *(f"{size.radius:.1f}" for size in sizes),
        *(" / ".join(map(str, size.per_axis)) for size in sizes),
    ]
