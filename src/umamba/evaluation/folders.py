"""Evaluate all masks of a folder, several cases at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from umamba.datasets.checks import short
from umamba.errors import EvaluationError
from umamba.evaluation.cases import (
    OBJECT,
    CaseEvaluation,
    Labels,
    evaluate_case,
)
from umamba.evaluation.instances import object_sizes, tercile_cut_points
from umamba.evaluation.labels import labels_from_values
from umamba.evaluation.mask_files import MaskPair, find_pairs, load_pair, read_values
from umamba.evaluation.metrics import chosen_metrics, needs_probabilities
from umamba.evaluation.probabilities import read_probabilities
from umamba.evaluation.settings import EvaluationSettings, check_cut_points
from umamba.images.contents import UnreadableFileError
from umamba.images.file_names import GEOMETRY_ENDINGS, split_ending
from umamba.images.mask_values import values_in
from umamba.system.interruption import StopRequest
from umamba.system.processes import become_worker, kill_children
from umamba.system.terminal import one_line

__all__ = ["FolderEvaluation", "FolderRequest", "evaluate_folders"]

Item = TypeVar("Item")
Result = TypeVar("Result")
_SHOWN_REASONS = 3
Progress = Callable[[Sequence[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class FolderRequest:
    """What to evaluate, and how.

    Attributes:
        predictions: Folder of masks.
        references: Folder of masks that have the same names.
        labels: By default every value in the references.
        instances: The masks number objects of one kind; there are no labels then.
        settings: Cut points are those below.
        cut_points: Between small and large objects, of all labels; by default the terciles of each
            label's reference objects, of all cases evaluated.
        spacing: Distance of voxels along each axis, for formats that carry none.
        n_workers: How many cases to evaluate at a time.
    """

    predictions: Path
    references: Path
    labels: Labels | None = None
    instances: bool = False
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    cut_points: tuple[float, ...] | None = None
    spacing: tuple[float, ...] | None = None
    n_workers: int = 1


@dataclass(frozen=True)
class FolderEvaluation:
    """What came of it.

    Attributes:
        labels: Those evaluated; `None` for numbered objects.
        settings: As asked for, with the cut points that were used.
        unit: Of all lengths: `mm` or `px`.
        cases: The cases that could be evaluated.
        failed: Why others could not.
        missing: Cases without a prediction.
        extra: Predictions without a reference.
        unnamed: Values in either mask that belong to no label.
        unused: Files that are no masks.
        notes: What the user should know of the files: a line for all of a kind.
    """

    labels: Labels | None
    settings: EvaluationSettings
    unit: str
    cases: Mapping[str, CaseEvaluation]
    failed: Mapping[str, str]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    unnamed: tuple[int, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Outcome:
    """What came of one case: an evaluation, or why there is none."""

    case: str
    evaluation: CaseEvaluation | None = None
    reason: str = ""
    values: frozenset[int] = frozenset()
    notes: Mapping[str, str] = field(default_factory=dict)


def evaluate_folders(
    request: FolderRequest, progress: Progress = lambda items, _: items
) -> FolderEvaluation:
    """Evaluate every prediction that has a reference.

    Args:
        request: What to evaluate.
        progress: Wraps the cases, for a bar; called with them and a title.

    Returns:
        The cases in alphabetical order, whatever the number of workers.

    Raises:
        EvaluationError: If the folders have nothing in common, labels cannot be told, or a worker
            was killed, or a metric does not exist.
    """
    check_cut_points(request.cut_points or ())
    chosen_metrics(request.settings)
    found = find_pairs(request.predictions, request.references)
    unit = _unit(found.pairs, request.spacing)
    n_workers = min(request.n_workers, len(found.pairs))
    with StopRequest().listening(), _mapping(n_workers) as run:
        labels = request.labels
        if labels is None and not request.instances:
            labels = _labels_of(found.pairs, request.settings.ignore, run)
        _check_tolerances(request.settings.nsd_tolerances, labels or {OBJECT: 1})
        evaluate = partial(
            _evaluate, labels=labels, settings=request.settings, spacing=request.spacing
        )
        results = run(evaluate, found.pairs)
        outcomes = [next(results) for _ in progress(found.pairs, "evaluating")]
    cases = {done.case: done.evaluation for done in outcomes if done.evaluation is not None}
    failed = dict(found.failed)
    failed |= {done.case: done.reason for done in outcomes if done.evaluation is None}
    if not cases:
        reasons = "".join("\n  " + one_line(f"case {case}: {why}") for case, why in failed.items())
        msg = f"no case in {request.predictions} can be evaluated:{reasons}"
        raise EvaluationError(msg)
    settings = replace(
        request.settings, size_cut_points=_cut_points(cases.values(), labels, request)
    )
    return FolderEvaluation(
        labels=labels,
        settings=settings,
        unit=unit,
        cases=cases,
        failed=failed,
        missing=found.missing,
        extra=found.extra,
        unused=tuple(map(short, found.unused)),
        unnamed=_unnamed(outcomes, labels, settings.ignore),
        notes=(*_notes(outcomes), *_numbering_notes(cases.values(), labels)),
    )


def _unit(pairs: Sequence[MaskPair], spacing: tuple[float, ...] | None) -> str:
    if spacing is not None:
        return "mm"
    physical = {split_ending(pair.reference)[1] in GEOMETRY_ENDINGS for pair in pairs}
    if len(physical) > 1:
        msg = (
            "some references have a voxel size and others, PNG or TIFF, have none: give theirs "
            "with --spacing, or evaluate them apart"
        )
        raise EvaluationError(msg)
    return "mm" if physical.pop() else "px"


@contextmanager
def _mapping(
    n_workers: int,
) -> Iterator[Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]]:
    """Give a `map` that works in several processes, in the order of its items."""
    if n_workers == 1:
        yield map
        return
    others = active_children()
    with ProcessPoolExecutor(
        n_workers, mp_context=get_context("spawn"), initializer=become_worker
    ) as pool:
        try:
            yield pool.map
        except BrokenProcessPool:
            msg = (
                "a worker process was killed, which happens where memory runs out: "
                "give fewer --workers"
            )
            raise EvaluationError(msg) from None
        except BaseException:
            kill_children(but=others)
            pool.shutdown(cancel_futures=True)
            raise


def _labels_of(
    pairs: Sequence[MaskPair],
    ignore: int | None,
    run: Callable[
        [Callable[[Path], "frozenset[int] | str"], Iterable[Path]],
        Iterator["frozenset[int] | str"],
    ],
) -> Labels:
    """Name the values of all references that can be read; nothing follows from the others."""
    found = list(run(_values_or_reason, [pair.reference for pair in pairs]))
    reasons = [one for one in found if isinstance(one, str)]
    if len(reasons) == len(found):
        msg = f"none of the references can be read: {_grouped_reasons(reasons)}"
        raise EvaluationError(msg)
    values = {value for one in found if not isinstance(one, str) for value in one}
    try:
        return labels_from_values(values - {ignore})
    except EvaluationError as error:
        if not reasons:
            raise
        msg = (
            f"{error} (of {len(found)} references {len(reasons)} could not be read: "
            f"{_grouped_reasons(reasons)})"
        )
        raise EvaluationError(msg) from None


def _values_or_reason(path: Path) -> "frozenset[int] | str":
    """Return the values of a mask, or why they are not known."""
    try:
        return read_values(path)
    except UnreadableFileError as error:
        return str(error)


def _grouped_reasons(reasons: Sequence[str]) -> str:
    """Return the first few reasons, and of each kind, but for the file's name, how many."""
    groups: dict[str, list[str]] = {}
    for reason in reasons:
        groups.setdefault(reason.partition(": ")[2], []).append(reason)
    shown = [
        same[0] + (f" (and {len(same) - 1} more alike)" if len(same) > 1 else "")
        for same in list(groups.values())[:_SHOWN_REASONS]
    ]
    more = len(groups) - len(shown)
    return "; ".join(shown) + (f"; and {more} other reasons" if more else "")


def _notes(outcomes: Iterable[_Outcome]) -> tuple[str, ...]:
    """Return a line for all notes of a kind: the first, and how many cases have one."""
    groups: dict[str, list[str]] = {}
    for done in outcomes:
        for kind, text in done.notes.items():
            groups.setdefault(kind, []).append(text)
    return tuple(
        same[0] + (f" (likewise in {len(same)} cases)" if len(same) > 1 else "")
        for same in groups.values()
    )


def _numbering_notes(cases: Iterable[CaseEvaluation], labels: Labels | None) -> tuple[str, ...]:
    """Say so where predictions are masks of a class, as networks make them, not of objects."""
    objects = [label.objects for case in cases for label in case.labels]
    numbered = any(len(one.prediction_volumes) > 1 for one in objects)
    if labels is not None or numbered or all(len(o.reference_volumes) < 2 for o in objects):
        return ()
    return (
        "no prediction numbers more than one object, so each counts as a single one: if they are "
        "masks of a class, give references of that class and leave out --instances; objects are "
        "connected components then",
    )


def _evaluate(
    pair: MaskPair,
    labels: Labels | None,
    settings: EvaluationSettings,
    spacing: tuple[float, ...] | None,
) -> _Outcome:
    try:
        loaded = load_pair(pair, spacing)
        prediction, reference = loaded.prediction, loaded.reference
        probabilities, notes = None, dict(loaded.notes)
        if labels is not None and needs_probabilities(settings):
            probabilities = read_probabilities(pair.prediction, reference.shape, labels)
            if probabilities is None:
                text = f"{short(pair.prediction)}: no probabilities (.npz) lie beside it"
                notes["no probabilities"] = f"{text}; what needs them is undefined"
        evaluation = evaluate_case(
            prediction, reference, loaded.spacing, labels, settings, probabilities
        )
    except (UnreadableFileError, EvaluationError) as error:
        return _Outcome(pair.case, reason=str(error))
    except MemoryError:
        return _Outcome(pair.case, reason="memory ran out; give fewer --workers")
    values = values_in(prediction) | values_in(reference)
    return _Outcome(pair.case, evaluation, values=values, notes=notes)


def _check_tolerances(tolerances: Iterable[str], labels: Iterable[str]) -> None:
    strangers = set(tolerances) - set(labels)
    if strangers:
        msg = f"there is a tolerance for {min(strangers)}, but the labels are {', '.join(labels)}"
        raise EvaluationError(msg)


def _cut_points(
    cases: Iterable[CaseEvaluation], labels: Labels | None, request: FolderRequest
) -> dict[str, tuple[float, ...]]:
    names = list(labels or {OBJECT: 1})
    if request.cut_points is not None:
        return dict.fromkeys(names, request.cut_points)
    sizes: dict[str, list[Any]] = {name: [] for name in names}
    for case in cases:
        for label in case.labels:
            volumes, n_dims = label.objects.reference_volumes, label.objects.n_dims
            found = object_sizes(volumes, request.settings.size_measure, n_dims)
            sizes[label.label].append(found)
    return {
        name: tercile_cut_points(np.concatenate(found)) if found else ()
        for name, found in sizes.items()
    }


def _unnamed(
    outcomes: Iterable[_Outcome], labels: Labels | None, ignore: int | None
) -> tuple[int, ...]:
    if labels is None:
        return ()
    named = {0, ignore}
    for values in labels.values():
        named |= set(values) if isinstance(values, tuple) else {values}
    return tuple(sorted({value for done in outcomes for value in done.values} - named))
