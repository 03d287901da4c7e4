"""Labels from named masks: which ROI is which label, and where they overlap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.dicom.image_grid import ImageGrid
from umamba.dicom.structures import Structures
from umamba.errors import UMambaError
from umamba.system.json_files import load_json
from umamba.system.path_names import listed

__all__ = ["RoiRules", "roi_patterns"]

Labels = npt.NDArray[np.uint16]


def roi_patterns(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the patterns of labels from texts such as `tumour=GTV*`, or a JSON file of them.

    Raises:
        UMambaError: If a text or the file is not of that kind.
    """
    pairs: list[tuple[str, Any]] = []
    for text in given:
        name, equals, pattern = text.partition("=")
        if equals:
            pairs.append((name, pattern))
        else:
            pairs += load_json(Path(text)).items()
    patterns: dict[str, tuple[str, ...]] = {}
    for name, pattern in pairs:
        several = pattern if isinstance(pattern, list) else [pattern]
        if not name or not all(isinstance(one, str) and one for one in several):
            msg = f"--rois {name}: give LABEL=PATTERN, such as tumour=GTV*, or a JSON file of these"
            raise UMambaError(msg)
        patterns[name] = (*patterns.get(name, ()), *several)
    return patterns


@dataclass(frozen=True)
class RoiRules:
    """The names that ROIs or segments of a label have.

    Args:
        values: The value of each label.
        patterns: Patterns of the names of its ROIs, with `*` for anything; upper and lower case
            are the same. A label without one has its own name.
        may_lack: Whether a label may have no ROI in a case; it has no voxel then.

    Raises:
        UMambaError: If a pattern is for a label that does not exist.
    """

    values: Mapping[str, int]
    patterns: Mapping[str, tuple[str, ...]]
    may_lack: bool = False

    def __post_init__(self) -> None:
        strangers = [name for name in self.patterns if name not in self.values]
        if strangers:
            msg = f"--rois names {strangers[0]}, which is not one of the labels: "
            msg += listed(self.values)
            raise UMambaError(msg)

    def chosen(self, names: Sequence[str]) -> dict[str, list[int]]:
        """Return the places of the names of each label."""
        return {label: self._fitting(label, names) for label in self.values}

    def _fitting(self, label: str, names: Sequence[str]) -> list[int]:
        patterns = [pattern.casefold() for pattern in self.patterns.get(label, (label,))]
        folded = [name.casefold() for name in names]
        return [n for n, name in enumerate(folded) if any(fnmatchcase(name, p) for p in patterns)]

    def problem(self, structures: Structures) -> tuple[str, str] | None:
        """Return what is wrong with the names of ROIs, and what to do; `None` if nothing is."""
        chosen = self.chosen(structures.names)
        lacking = [label for label, places in chosen.items() if not places]
        there = listed(structures.names) or "none"
        if lacking and (not self.may_lack or len(lacking) == len(chosen)):
            text = f"no ROI for {listed(lacking)} (its ROIs: {there})"
            fix = f"give --rois {lacking[0]}=PATTERN, or --rois-may-lack if it has none"
            return text, fix
        counts = [place for places in chosen.values() for place in places]
        twice = sorted({place for place in counts if counts.count(place) > 1})
        if twice:
            text = f"ROI {structures.names[twice[0]]!r} fits several labels"
            return text, "give patterns with --rois of which only one fits"
        return None

    def label_map(self, structures: Structures, grid: ImageGrid) -> tuple[Labels, tuple[str, ...]]:
        """Paint the masks, the last label on top.

        Args:
            structures: The masks, with whose names there is no problem.
            grid: The voxels of the image.

        Returns:
            The labels, and remarks on what overlaps, or what a mask does not show.

        Raises:
            SeriesError: If the file cannot be read, or a mask does not lie on the grid.
        """
        labels = np.zeros(grid.shape, np.uint16)
        notes: list[str] = []
        names = {value: label for label, value in self.values.items()}
        chosen = self.chosen(structures.names)
        masks = structures.masks([n for places in chosen.values() for n in places], grid)
        for label, places in chosen.items():
            mask = np.zeros(grid.shape, bool)
            for one, remarks in islice(masks, len(places)):
                mask |= one
                notes += remarks
            covered = labels[mask]
            for value in np.unique(covered[covered > 0]).tolist():
                count = int((covered == value).sum())
                notes.append(
                    f"{count} voxels lie in both {names[value]} and {label}, and become {label}"
                )
            labels[mask] = self.values[label]
        return labels, tuple(notes)
