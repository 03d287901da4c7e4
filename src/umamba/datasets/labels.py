"""The meaning of the values in masks: names, mapping, instances, and nnU-Net's ignore label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.datasets.checks import CaseFacts, Problem
from umamba.errors import DatasetError

__all__ = ["LabelRules"]

Array = npt.NDArray[Any]

_MANY_LABELS = 20
_SHOWN_CASES = 3
_MOST_MAPPED = 120  # values in a proposed --map, which users copy
_BLURRED_FIX = (
    "the values between the lowest and the highest look like blurred edges, as smoothing and "
    "interpolation make them: threshold the masks (128 and above becomes 1), or resample them "
    "again by nearest neighbour"
)


@dataclass(frozen=True)
class LabelRules:
    """The rules by which values in masks become nnU-Net's labels.

    Args:
        names: Label names and values after the mapping; if empty, the masks' values are used.
        mapping: Values in the masks, and the values they become; others stay.
        instances: The masks number single objects: everything above 0 becomes 1.
        ignore: The value in the masks that marks voxels to be left out of training.
        described: The labels are those of a `dataset.json`: messages name it, not our options.

    Raises:
        DatasetError: If these contradict each other, or break nnU-Net's rules.
    """

    names: Mapping[str, int] = field(default_factory=dict)
    mapping: Mapping[int, int] = field(default_factory=dict)
    instances: bool = False
    ignore: int | None = None
    described: bool = False

    def __post_init__(self) -> None:
        if self.instances and self.mapping:
            msg = "--instances already turns all objects into 1: leave out --map or --instances"
            raise DatasetError(msg)
        if self.ignore is not None and (self.ignore in self.mapping or self.ignore == 0):
            msg = f"--ignore {self.ignore}: the value is background, or --map uses it as well"
            raise DatasetError(msg)
        if "ignore" in self.names:
            msg = "the label name 'ignore' is nnU-Net's own; use --ignore VALUE instead"
            raise DatasetError(msg)
        values = sorted({0, *self.names.values()})
        if self.names and len(values) != len({**self.names, "background": 0}):
            msg = (
                f"--labels {_pairs(self.names)}: every label needs a value of its own, "
                "and 0 is the background"
            )
            raise DatasetError(msg)
        if values != list(range(len(values))):
            msg = (
                f"--labels {_pairs(self.names)}: nnU-Net needs the values 0, 1, 2, ... without "
                f"gaps; change the values in the masks with --map, e.g. --map {values[-1]}=1"
            )
            raise DatasetError(msg)
        strangers = [new for new in self.mapping.values() if self.names and new not in values]
        if strangers:
            msg = f"--map turns a value into {strangers[0]}, which --labels does not name"
            raise DatasetError(msg)
        if self.instances and self.names and values != [0, 1]:
            msg = "--instances makes one label, of value 1; name it with --labels NAME=1"
            raise DatasetError(msg)

    def labels(self, facts: Sequence[CaseFacts]) -> dict[str, int]:
        """Return `labels` of `dataset.json`, with only the usable ones of the masks' values."""
        if self.names or self.instances:
            given = self.names or {"object": 1}
            named = {"background": 0, **dict(sorted(given.items(), key=lambda item: item[1]))}
        else:
            found = self._mapped_values(facts)
            n_labels = next(n for n in range(1, len(found) + 2) if n not in found)
            named = {"background": 0, **{f"label_{n}": n for n in range(1, n_labels)}}
        if self.ignore is not None:
            named["ignore"] = len(named)
        return named

    def final(self, value: int, labels: Mapping[str, int]) -> int:
        """Return the value that a value in a mask becomes."""
        if value == self.ignore:
            return labels["ignore"]
        if self.instances:
            return min(value, 1)
        return self.mapping.get(value, value)

    def apply(self, mask: Array, labels: Mapping[str, int]) -> Array:
        """Return the mask as nnU-Net should see it, in the smallest unsigned type."""
        final = np.zeros(mask.shape, np.uint8 if max(labels.values()) <= 255 else np.uint16)
        if self.instances:
            final[mask > 0] = 1
        else:
            for value in {*labels.values(), *self.mapping}:
                final[mask == value] = self.mapping.get(value, value)
        if self.ignore is not None:
            final[mask == self.ignore] = labels["ignore"]
        return final

    def check(self, facts: Sequence[CaseFacts]) -> list[Problem]:
        """Compare the values in all masks with the labels.

        Args:
            facts: All cases.

        Returns:
            Values that no label has, masks without foreground, and rules that never apply.
        """
        labels = self.labels(facts)
        facts = [fact for fact in facts if fact.case.mask is not None]
        # What is not there can only be told once all masks are read.
        is_complete = all(fact.has_values for fact in facts)
        problems = [] if self.names or self.instances else self._check_gaps(facts, labels)
        for fact in facts:
            if self.names or self.instances:
                problems += self._check_declared(fact, labels)
            problems += self._check_foreground(fact)
        if facts and is_complete and len(self._mapped_values(facts) - {0}) == 0:
            text = "no mask holds any foreground"
            problems.append(Problem("", None, text, "check that these are the masks"))
        return [*problems, *(self._check_unused(facts, labels) if is_complete else ())]

    def _mapped_values(self, facts: Sequence[CaseFacts]) -> set[int]:
        found = {value for fact in facts for value in fact.values if value != self.ignore}
        return {min(v, 1) if self.instances else self.mapping.get(v, v) for v in found}

    def _check_gaps(self, facts: Sequence[CaseFacts], labels: Mapping[str, int]) -> list[Problem]:
        """Check that values are 0, 1, 2, ..., as without declared labels each one is a label."""
        odd = sorted(self._mapped_values(facts) - set(labels.values()))
        if not odd:
            if len(labels) <= _MANY_LABELS:
                return []
            text = f"the masks hold the values 0 to {max(self._mapped_values(facts))}"
            fix = "if they number single objects, use --instances; if not, name them with --labels"
            return [Problem("", None, text, fix)]
        holders = {v: [f.case.case_id for f in facts if self._holds(f, v)] for v in odd[:10]}
        shown = "; ".join(_held_by(value, cases) for value, cases in holders.items())
        more = f"; and {len(odd) - 10} more values" if len(odd) > 10 else ""
        text = f"the values in the masks are not 0, 1, 2, ... without gaps: {shown}{more}"
        first = max(set(labels.values()) - {labels.get("ignore")}) + 1
        options = " ".join(
            f"{value}={n}" for n, value in enumerate(odd[:_MOST_MAPPED], start=first)
        )
        fix = f"change them with --map, e.g. --map {options} (0 is background)"
        if len(odd) > _MANY_LABELS:
            fix = f"if they number single objects, use --instances; if not, {fix}"
        if any(_is_blurred(fact) for fact in facts):
            fix = _BLURRED_FIX
        if not all(fact.has_values for fact in facts):
            text = text.replace("the masks are", "the masks that could be read are")
            fix = "make all masks readable first, then check which values they hold"
        return [Problem("", None, text, fix)]

    def _holds(self, fact: CaseFacts, mapped: int) -> bool:
        return any(v != self.ignore and self.mapping.get(v, v) == mapped for v in fact.values)

    def _check_declared(self, fact: CaseFacts, labels: Mapping[str, int]) -> list[Problem]:
        allowed = set(labels.values()) - {labels.get("ignore")}
        odd = sorted(
            value
            for value in fact.values
            if value != self.ignore and self.final(value, labels) not in allowed
        )
        if not odd:
            return []
        text = f"the mask holds {_some(odd)}, which no label has (labels: {_pairs(labels)})"
        fix = f"correct the mask, name a label, or use --map {odd[0]}=LABEL"
        if self.instances:
            fix = "correct the mask: objects are numbered from 1"
        elif self.described:
            fix = "correct the mask, or name the value under labels in dataset.json"
        if _is_blurred(fact):
            fix = _BLURRED_FIX
        return [Problem(fact.case.case_id, fact.case.mask, text, fix)]

    def _check_foreground(self, fact: CaseFacts) -> list[Problem]:
        if not fact.has_values or self._mapped_values([fact]) - {0} or self.ignore in fact.values:
            return []
        text, fix = "the mask holds no foreground", "correct it unless that is right"
        return [Problem(fact.case.case_id, fact.case.mask, text, fix, "warning")]

    def _check_unused(self, facts: Sequence[CaseFacts], labels: Mapping[str, int]) -> list[Problem]:
        found = {value for fact in facts for value in fact.values}
        mapped = self._mapped_values(facts)
        unused = [f"--map {old}={new}" for old, new in self.mapping.items() if old not in found]
        if self.ignore is not None and self.ignore not in found:
            option = f"label ignore={self.ignore}" if self.described else f"--ignore {self.ignore}"
            unused.append(option)
        unused += [
            f"label {name}={value}"
            for name, value in labels.items()
            if name != "ignore" and value not in mapped | {0}
        ]
        text, fix = "no mask holds a voxel of it", "check the value"
        return [Problem("", None, f"{what}: {text}", fix, "warning") for what in unused]


def _is_blurred(fact: CaseFacts) -> bool:
    return bool(fact.mask and fact.mask.mask and fact.mask.mask.is_blurred)


def _pairs(labels: Mapping[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in labels.items())


def _some(values: Sequence[int]) -> str:
    shown = ", ".join(map(str, values[:10]))
    noun = "value" if len(values) == 1 else "values"
    return f"the {noun} {shown}" + (f" and {len(values) - 10} more" if len(values) > 10 else "")


def _held_by(value: int, cases: Sequence[str]) -> str:
    if len(cases) > _SHOWN_CASES:
        return f"{value} in {len(cases)} cases"
    return f"{value} in {', '.join(cases)}"
