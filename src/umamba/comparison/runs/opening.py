"""Opening of a comparison: plan it, claim its folder, and determine its progress."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from umamba.comparison.rows import Training
from umamba.comparison.runs.budget import Length
from umamba.comparison.runs.case_tables import check_cases, check_test_names
from umamba.comparison.runs.cost import estimate_costs, measure_costs, seconds_with_validation
from umamba.comparison.runs.evaluated import size_cut_points
from umamba.comparison.runs.external import ExternalSet, find_external, record_external
from umamba.comparison.runs.external_tasks import external_task
from umamba.comparison.runs.finished import file_marks, recall_finished
from umamba.comparison.runs.planning import (
    ComparisonRequest,
    Source,
    derive_all,
    find_source,
    prepare,
    validation_cases,
)
from umamba.comparison.runs.settings import (
    check_output,
    extend_request,
    is_begun,
    read_lengths,
    write_settings,
)
from umamba.comparison.runs.state import Comparison, Tester
from umamba.comparison.runs.training_states import (
    TrainingState,
    check_length,
    inspect_training,
    wait_for_trainings,
)
from umamba.errors import UMambaError
from umamba.evaluation.metrics import chosen_metrics
from umamba.nnunet.paths import Paths
from umamba.system.interruption import STOP_FILE, StopRequest, resumable, run_again
from umamba.system.run_lock import only_process

__all__ = ["comparing", "open_comparison"]

_COST = "cost.json"


@contextmanager
def comparing(output: Path) -> Iterator[StopRequest]:
    """Keep other comparisons out of a folder of results, and listen to signals.

    Args:
        output: The folder.

    Yields:
        The object that receives requests to stop.

    Raises:
        UMambaError: If the folder is not usable for a comparison, or another is at work in it.
        ResumableInterruptError: If it was interrupted; the same call continues.
    """
    check_output(output)
    stop = StopRequest(output / STOP_FILE)

    def advice() -> str | None:
        (output / STOP_FILE).unlink(missing_ok=True)  # it has done its work
        if not is_begun(output):
            return None
        return f"{run_again('continue')}; {output} keeps what is done"

    with (
        only_process(output, "give another --output", inside=True),
        resumable(advice, as_a_whole=True),
        stop.listening(),
    ):
        yield stop


def open_comparison(
    request: ComparisonRequest,
    paths: Paths,
    n_threads: int | None = None,
    *,
    dry: bool,
    measured: bool = False,
    elsewhere: bool = False,
) -> Comparison:
    """Plan a comparison, and determine its progress.

    Args:
        request: The comparison to open.
        paths: nnU-Net's folders.
        n_threads: Threads of a training on a CPU, for the measurement of costs.
        dry: Whether nothing is written, except nnU-Net's own plans if there are none.
        measured: Whether unknown costs are measured in a dry run as well.
        elsewhere: Whether other machines train, so that nothing is measured here unless a dry
            run is asked to, and trainings that are at work are left alone.

    Raises:
        UMambaError: If anything does not fit, or existing trainings are different ones.
    """
    source = find_source(request, paths)
    unknown = sorted(request.evaluation.nsd_tolerances.keys() - source.labels.keys())
    if unknown:
        msg = f"--tolerance: {unknown[0]} is not a label; there are {', '.join(source.labels)}"
        raise UMambaError(msg)
    chosen_metrics(request.evaluation)
    evaluation = replace(request.evaluation, ignore=source.ignore)
    request = replace(request, evaluation=evaluation)
    if dry:
        return _open_dry(request, source, paths, n_threads, measured=measured)
    with comparing(request.output):
        return _open(request, source, paths, n_threads, elsewhere=elsewhere)


def _open_dry(
    request: ComparisonRequest,
    source: Source,
    paths: Paths,
    n_threads: int | None,
    *,
    measured: bool,
) -> Comparison:
    comparison = _plan(request, source, paths)
    planned, cache = comparison.planned, request.output / _COST
    if measured:
        costs = measure_costs(planned, request.device, n_threads, cache, keep=False)
    else:
        costs = estimate_costs(planned, request.device, n_threads, cache)
    comparison.costs = costs
    in_hours = request.budget.kind == "hours"
    settled = read_lengths(request.output)
    comparison.lengths = _lengths(
        comparison,
        [m for m in planned.models if not in_hours or m in settled or costs[m].problem is None],
    )
    _inspect_all(comparison)
    return comparison


def _open(
    request: ComparisonRequest,
    source: Source,
    paths: Paths,
    n_threads: int | None,
    *,
    elsewhere: bool,
) -> Comparison:
    comparison = _plan(request, source, paths)
    prepare(comparison.planned, paths)
    number = comparison.request.validation_cases
    comparison.cases = validation_cases(source, comparison.request.folds, paths, number)
    _check_tables(comparison)
    # The claim on the folder comes before anything else in it.
    write_settings(comparison.request, source.dataset, source.configuration)
    comparison.request = request = _with_cut_points(comparison)
    if comparison.external is not None:
        comparison.external = record_external(comparison.external, request, source, paths)
        _check_test_names(comparison, comparison.external)
    cache = request.output / _COST
    if elsewhere:
        costs = estimate_costs(comparison.planned, request.device, n_threads, cache)
    else:
        wait_for_trainings(map(comparison.folder, comparison.asked))
        costs = measure_costs(comparison.planned, request.device, n_threads, cache)
    comparison.costs = costs
    comparison.lengths = _lengths(comparison, comparison.planned.models)
    write_settings(request, source.dataset, source.configuration, comparison.lengths)
    _inspect_all(comparison)
    return comparison


def _plan(request: ComparisonRequest, source: Source, paths: Paths) -> Comparison:
    request = extend_request(request, source.dataset, source.configuration)
    planned = derive_all(request, source, paths)
    if request.baseline is not None and request.baseline not in planned.models:
        known = ", ".join(planned.models)
        msg = f"--baseline {request.baseline} is not among the compared models; give one of {known}"
        raise UMambaError(msg)
    cases = validation_cases(source, request.folds, paths, request.validation_cases)
    external = find_external(request, source)
    comparison = Comparison(request, paths, planned, cases, external=external)
    _check_tables(comparison)  # before hours of preprocessing, if the splits exist already
    return comparison


def _check_tables(comparison: Comparison) -> None:
    """Check clusters and groups against the cases, if the cases are known."""
    tested = comparison.external.case_ids if comparison.external else frozenset()
    compared = frozenset().union(*comparison.cases.values())
    ending = comparison.planned.source.file_ending
    known = compared | {
        file.name.removesuffix(ending) for file in comparison.references.glob(f"*{ending}")
    }
    analysis, known = comparison.request.analysis, known | tested
    if compared:
        compared |= tested
        check_cases("--clusters", analysis.clusters, compared, known)
        check_cases("--groups", analysis.groups, compared, known)


def _check_test_names(comparison: Comparison, external: ExternalSet) -> None:
    """Check that clusters and groups do not mean two cases by one name."""
    analysis, trained = comparison.request.analysis, frozenset().union(*comparison.cases.values())
    for option, table in (("--clusters", analysis.clusters), ("--groups", analysis.groups)):
        check_test_names(option, table, trained, external.case_ids, external.in_training)


def _with_cut_points(comparison: Comparison) -> ComparisonRequest:
    """Find the cut points of object sizes for each label, the same for all trainings."""
    request, source = comparison.request, comparison.planned.source
    cut_points = request.evaluation.size_cut_points
    if not cut_points:
        sys.stderr.write(f"measuring the objects in {comparison.references}\n")
        cut_points = size_cut_points(
            comparison.references, source.file_ending, source.labels, request.evaluation
        )
    evaluation = replace(request.evaluation, size_cut_points=cut_points)
    return replace(request, evaluation=evaluation)


def _lengths(comparison: Comparison, models: Iterable[str]) -> dict[str, Length]:
    """Determine how long models train; for a budget in hours this is done only once."""
    budget, lengths = comparison.request.budget, read_lengths(comparison.request.output)
    for model in models:
        if model in lengths:
            continue
        cost = comparison.costs[model]
        if budget.kind == "hours" and (cost.problem or seconds_with_validation(cost) is None):
            msg = f"no budget in hours for {model}: {cost.problem}; give --budget epochs:N"
            raise UMambaError(msg)
        lengths[model] = budget.length(seconds_with_validation(cost))
    return lengths


def _inspect_all(comparison: Comparison) -> None:
    folds = comparison.request.folds
    comparison.evaluated_as = {fold: _evaluated_as(comparison, fold) for fold in folds}
    for training in comparison.trainings:
        comparison.states[training] = _inspect(comparison, training)
    testers: list[Tester] = [*comparison.finished, *comparison.ensembles]
    for one in testers:
        task = external_task(comparison, one)
        if task is not None and task.recall() is not None:
            comparison.tested.add(one)


def _evaluated_as(comparison: Comparison, fold: int) -> Mapping[str, Any]:
    """Return everything except the predictions that the evaluation depends on."""
    source, cases = comparison.planned.source, sorted(comparison.cases[fold])
    files = (comparison.references / f"{case}{source.file_ending}" for case in cases)
    return {
        "cases": cases,
        "references": file_marks(file for file in files if file.is_file()),
        "labels": source.dataset_json["labels"],
        "options": comparison.request.evaluation.to_dict(),
        "metrics": list(chosen_metrics(comparison.request.evaluation)),
    }


def _inspect(comparison: Comparison, training: Training) -> TrainingState:
    folder, length = comparison.folder(training), comparison.lengths.get(training.model)
    if length is None:  # in a dry run, which does not know how many iterations fit into hours
        return TrainingState("pending")
    finished = recall_finished(
        folder, comparison.cache(str(training)), comparison.evaluated_as[training.fold]
    )
    if finished is not None:
        check_length(folder, training, length, finished.length, finished.seed)
        comparison.finished[training] = finished
        return TrainingState("done")
    cases, ending = comparison.cases[training.fold], comparison.planned.source.file_ending
    validated = comparison.request.validated
    state = inspect_training(folder, training, length, cases, ending, validated)
    failure = comparison.failure(training)
    if state.status != "done" and failure.is_file():
        reason = failure.read_text(encoding="utf-8", errors="replace")
        return replace(state, status="failed", reason=reason)
    return state
