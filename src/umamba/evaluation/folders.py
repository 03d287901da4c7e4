"""Evaluation of all masks in a folder, several cases at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
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
from umamba.system.progress import ShowProgress
from umamba.system.terminal import one_line

__all__ = ["FolderEvaluation", "FolderRequest", "evaluate_folders"]

Item = TypeVar("Item")
Result = TypeVar("Result")
_SHOWN_REASONS = 3


@dataclass(frozen=True)
class FolderRequest:
    """Folders to evaluate, and how.

    Attributes:
        predictions: Folder of masks.
        references: Folder of masks with the same names.
        labels: Labels to evaluate; by default every value in the references.
        instances: Whether the masks number objects of one kind; there are no labels then.
        settings: Settings of the metrics; their cut points are replaced by those below.
        cut_points: Limits between small and large objects, for all labels; by default the terciles
            of each label's reference objects in all cases evaluated.
        spacing: Distance between voxels along each axis, for formats that do not store it.
        n_workers: Number of cases to evaluate at a time.
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
    """The evaluation of two folders.

    Attributes:
        labels: The labels evaluated; `None` for numbered objects.
        settings: The settings requested, with the cut points that were used.
        unit: Unit of all lengths: `mm` or `px`.
        cases: The cases that could be evaluated.
        failed: Reasons why other cases could not.
        missing: Cases without a prediction.
        extra: Predictions without a reference.
        unnamed: Values in either mask that belong to no label.
        unused: Files that are not masks.
        notes: Remarks on the files for the user: one line for all of a kind.
        spacing: Distance between voxels along each axis that was given for formats without one.
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
    spacing: tuple[float, ...] | None = None

    @property
    def n_dims(self) -> int | None:
        """Number of dimensions of all masks; `None` if they differ."""
        found = {label.objects.n_dims for case in self.cases.values() for label in case.labels}
        return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class _Outcome:
    """The outcome for one case: an evaluation, or the reason why there is none."""

    case: str
    evaluation: CaseEvaluation | None = None
    reason: str = ""
    values: frozenset[int] = frozenset()
    notes: Mapping[str, str] = field(default_factory=dict)


def evaluate_folders(
    request: FolderRequest, progress: ShowProgress = lambda items, _: items
) -> FolderEvaluation:
    """Evaluate every prediction that has a reference.

    Args:
        request: The folders, and how to evaluate them.
        progress: Wraps the cases to show a progress bar; called with them and a title.

    Returns:
        The cases in alphabetical order, whatever the number of workers.

    Raises:
        EvaluationError: If the folders have nothing in common, the labels cannot be determined, a
            metric does not exist, or a worker was killed.
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
        spacing=request.spacing,
    )


def _unit(pairs: Sequence[MaskPair], spacing: tuple[float, ...] | None) -> str:
    if spacing is not None:
        return "mm"
    physical = {split_ending(pair.reference)[1] in GEOMETRY_ENDINGS for pair in pairs}
    if len(physical) > 1:
        msg = (
            "some references have a voxel size and others (PNG or TIFF) have none: give it with "
            "--spacing, or evaluate the two kinds separately"
        )
        raise EvaluationError(msg)
    return "mm" if physical.pop() else "px"


@contextmanager
def _mapping(
    n_workers: int,
) -> Iterator[Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]]:
    """Yield a `map` that uses several processes and keeps the order of its items."""
    if n_workers == 1:
        yield map
        return
    others = active_children()
    pool = ProcessPoolExecutor(
        n_workers, mp_context=get_context("spawn"), initializer=become_worker
    )
    try:
        yield pool.map
    except BaseException as error:
        was_killed = isinstance(error, BrokenProcessPool)
        if not was_killed:
            kill_children(but=others)
        with suppress(RuntimeError):  # of a thread that a signal has kept from starting
            pool.shutdown(cancel_futures=True)
        if was_killed:
            msg = (
                "a worker process was killed, as happens when memory runs out: give fewer --workers"
            )
            raise EvaluationError(msg) from None
        raise
    pool.shutdown()


def _labels_of(
    pairs: Sequence[MaskPair],
    ignore: int | None,
    run: Callable[
        [Callable[[Path], "frozenset[int] | str"], Iterable[Path]],
        Iterator["frozenset[int] | str"],
    ],
) -> Labels:
    """Name the values of all references that can be read; the others are left out."""
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
    """Return the values of a mask, or the reason why they are unknown."""
    try:
        return read_values(path)
    except UnreadableFileError as error:
        return str(error)


def _grouped_reasons(reasons: Sequence[str]) -> str:
    """Return the first few reasons, each with the number of files that share it."""
    groups: dict[str, list[str]] = {}
    for reason in reasons:
        groups.setdefault(reason.partition(": ")[2], []).append(reason)
    shown = [
        same[0] + (f" (and {len(same) - 1} more like it)" if len(same) > 1 else "")
        for same in list(groups.values())[:_SHOWN_REASONS]
    ]
    more = len(groups) - len(shown)
    return "; ".join(shown) + (f"; and {more} other reasons" if more else "")


def _notes(outcomes: Iterable[_Outcome]) -> tuple[str, ...]:
    """Return one line per kind of note: the first such note, and the number of cases with one."""
    groups: dict[str, list[str]] = {}
    for done in outcomes:
        for kind, text in done.notes.items():
            groups.setdefault(kind, []).append(text)
    return tuple(
        same[0] + (f" (the same in {len(same)} cases)" if len(same) > 1 else "")
        for same in groups.values()
    )


def _numbering_notes(cases: Iterable[CaseEvaluation], labels: Labels | None) -> tuple[str, ...]:
    """Return a note if predictions are masks of a class, as from networks, and not of objects."""
    objects = [label.objects for case in cases for label in case.labels]
    numbered = any(len(one.prediction_volumes) > 1 for one in objects)
    if labels is not None or numbered or all(len(o.reference_volumes) < 2 for o in objects):
        return ()
    return (
        "no prediction numbers more than one object, so each mask counts as a single object. If "
        "these are masks of a class, give references of that class without --instances; objects "
        "are connected components then",
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
                text = f"{short(pair.prediction)}: there are no probabilities (.npz) next to it"
                notes["no probabilities"] = f"{text}; metrics that need them are undefined"
        evaluation = evaluate_case(
            prediction, reference, loaded.spacing, labels, settings, probabilities
        )
    except (UnreadableFileError, EvaluationError) as error:
        return _Outcome(pair.case, reason=str(error))
    except MemoryError:
        return _Outcome(pair.case, reason="not enough memory; give fewer --workers")
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
