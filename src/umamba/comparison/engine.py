"""Train, evaluate and compare: what `umamba compare` does."""

import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from umamba.comparison.analysis import analyse
from umamba.comparison.budget import Length
from umamba.comparison.cells import (
    Cell,
    CellState,
    check_length,
    inspect_cell,
    wait_for_trainings,
)
from umamba.comparison.cost import measure_costs
from umamba.comparison.evaluated import StoppedError, evaluate_predictions, size_cut_points
from umamba.comparison.executor import Event, Executor, Job
from umamba.comparison.existing import find_stock_trainings
from umamba.comparison.finished import Finished, file_marks, read_finished, recall_finished
from umamba.comparison.manifest import describe_run
from umamba.comparison.planning import (
    ComparisonRequest,
    Source,
    derive_all,
    find_source,
    prepare,
    validation_cases,
)
from umamba.comparison.results import build_results, write_results
from umamba.comparison.settings import extend_request, read_lengths, write_settings
from umamba.comparison.state import Comparison
from umamba.errors import ResumableInterruptError, UMambaError
from umamba.nnunet.interruption import StopRequest
from umamba.nnunet.paths import Paths
from umamba.nnunet.run_lock import only_training

__all__ = ["Listener", "open_comparison", "run_comparison"]

# Is told of every event, and of what is there at the beginning and at the end.
Listener = Callable[[Comparison, Event | None], None]

_LONGEST_REASON = 500
_INTERRUPTED = (ResumableInterruptError.EXIT_CODE, 130)


def open_comparison(
    request: ComparisonRequest, paths: Paths, n_threads: int | None = None, *, dry: bool
) -> Comparison:
    """Plan a comparison, and find out how far it has come.

    Args:
        request: What to compare.
        paths: nnU-Net's folders.
        n_threads: Threads of a training on a CPU, for the measurement of cost.
        dry: Whether nothing is written, but nnU-Net's own plans where there are none.

    Raises:
        UMambaError: If anything does not fit, or trainings that are there are others.
    """
    source = find_source(request, paths)
    request = extend_request(request, source.dataset, source.configuration)
    unknown = sorted(request.evaluation.nsd_tolerances.keys() - source.labels.keys())
    if unknown:
        msg = f"--tolerance: {unknown[0]} is no label; there are {', '.join(source.labels)}"
        raise UMambaError(msg)
    evaluation = replace(request.evaluation, ignore=source.ignore)
    request = replace(request, evaluation=evaluation)
    with nullcontext() if dry else _alone(request.output):
        return _open(request, source, paths, n_threads, dry=dry)


def _alone(output: Path) -> AbstractContextManager[None]:
    """Keep other processes from the folder of results."""
    return only_training(output.absolute(), "give another --output")


def _open(
    request: ComparisonRequest, source: Source, paths: Paths, n_threads: int | None, *, dry: bool
) -> Comparison:
    planned = derive_all(request, source, paths)
    if request.baseline is not None and request.baseline not in planned.models:
        known = ", ".join(planned.models)
        msg = f"--baseline {request.baseline} is not compared; give one of {known}"
        raise UMambaError(msg)
    if not dry:
        prepare(planned, paths)
        request = _with_cut_points(request, source, paths)
    cases = validation_cases(source, request.folds, paths)
    comparison = Comparison(request, paths, planned, cases)
    if not dry:
        wait_for_trainings(map(comparison.folder, comparison.cells))
    cache = request.output / "cost.json"
    comparison.costs = measure_costs(planned, request.device, n_threads, cache, keep=not dry)
    comparison.lengths = _lengths(comparison)
    if not dry:
        write_settings(request, source.dataset, source.configuration, comparison.lengths)
    for cell in comparison.cells:
        comparison.states[cell] = _inspect(comparison, cell)
    return comparison


def _with_cut_points(request: ComparisonRequest, source: Source, paths: Paths) -> ComparisonRequest:
    """Part the objects of each label by size, the same way for all trainings."""
    cut_points = request.evaluation.size_cut_points
    if not cut_points:
        references = _references(source, paths)
        sys.stderr.write(f"measuring the objects in {references}\n")
        cut_points = size_cut_points(
            references, source.file_ending, source.labels, request.evaluation
        )
    evaluation = replace(request.evaluation, size_cut_points=cut_points)
    return replace(request, evaluation=evaluation)


def _references(source: Source, paths: Paths) -> Path:
    return paths.require("preprocessed") / source.dataset / "gt_segmentations"


def _lengths(comparison: Comparison) -> dict[str, Length]:
    """Settle how long the models train; for a budget in hours once and for all."""
    budget, lengths = comparison.request.budget, read_lengths(comparison.request.output)
    for model in comparison.planned.models:
        if model in lengths:
            continue
        cost = comparison.costs[model]
        if budget.kind == "hours" and cost.seconds_with_validation is None:
            msg = f"hours cannot be budgeted for {model}: {cost.problem}; give --budget epochs:N"
            raise UMambaError(msg)
        lengths[model] = budget.length(cost.seconds_with_validation)
    return lengths


def _inspect(comparison: Comparison, cell: Cell) -> CellState:
    folder, length = comparison.folder(cell), comparison.lengths[cell.model]
    finished = recall_finished(
        folder, comparison.cache(str(cell)), _evaluated_as(comparison, cell.fold)
    )
    if finished is not None:
        check_length(folder, cell, length, finished.length, finished.seed)
        comparison.finished[cell] = finished
        return CellState("done")
    cases, ending = comparison.cases[cell.fold], comparison.planned.source.file_ending
    state = inspect_cell(folder, cell, length, cases, ending)
    failure = _failure_file(comparison, cell)
    if state.status != "done" and failure.is_file():
        return replace(state, status="failed", reason=failure.read_text(encoding="utf-8"))
    return state


def run_comparison(
    comparison: Comparison, executor: Executor, listener: Listener
) -> dict[str, Any]:
    """Train what is not done, evaluate, and write the results, anew after every cell.

    Args:
        comparison: What `open_comparison` returned, not dry.
        executor: Runs the trainings.
        listener: Is told of every event.

    Returns:
        The contents of `results.json`.

    Raises:
        ResumableInterruptError: If it was interrupted; the same call goes on.
    """
    output = comparison.request.output
    stop = StopRequest(output / "stop")
    jobs = {
        _job(comparison, cell): cell
        for cell, state in comparison.states.items()
        if state.status != "done"
    }
    with _alone(output), stop.listening():
        try:
            with stop.deferred():
                _read_what_is_done(comparison, stop)
                listener(comparison, None)
                with closing(executor.run(list(jobs), stop)) as events:
                    for event in events:
                        _take_note(comparison, jobs[event.job], event, stop)
                        listener(comparison, event)
        except KeyboardInterrupt:  # a second one
            interrupted = True
        else:
            interrupted = stop.reason() is not None
        for cell in comparison.cells:
            if comparison.states[cell].status == "running":
                comparison.states[cell] = _inspect(comparison, cell)
        results = _write(comparison, analysed=True)
    interrupted = interrupted or any(s.status == "interrupted" for s in comparison.states.values())
    if interrupted:
        (output / "stop").unlink(missing_ok=True)
        msg = f"interrupted; the same command goes on, and {output} has what is done"
        raise ResumableInterruptError(msg)
    return results


def _read_what_is_done(comparison: Comparison, stop: StopRequest) -> None:
    """Read and evaluate finished cells, and trainings of stock nnU-Net."""
    for cell, state in comparison.states.items():
        if state.status == "done" and cell not in comparison.finished:
            _finish(comparison, cell, stop)
    for training in find_stock_trainings(
        comparison.planned, comparison.lengths, comparison.cases, comparison.paths
    ):
        name = f"{training.model}_fold{training.fold}_stock"
        try:
            comparison.stock[training] = _read(
                comparison, training.folder, name, training.fold, stop
            )
        except UMambaError as error:
            sys.stderr.write(f"not taken in: {error}\n")
        except StoppedError:
            return


def _take_note(comparison: Comparison, cell: Cell, event: Event, stop: StopRequest) -> None:
    if event.kind == "started":
        _failure_file(comparison, cell).unlink(missing_ok=True)
        comparison.states[cell] = CellState("running")
    if event.kind == "ended":
        _conclude(comparison, cell, event, stop)
        _write(comparison, analysed=False)


def _job(comparison: Comparison, cell: Cell) -> Job:
    """Return the command that trains a cell, or goes on with it."""
    request, source = comparison.request, comparison.planned.source
    plans_name, length = comparison.planned.plans_name(cell), comparison.lengths[cell.model]
    command = ["train", source.dataset, source.configuration, str(cell.fold), "-p", plans_name]
    command += ["-device", request.device]
    option = comparison.states[cell].option
    if option is None:
        command += ["--epochs", str(length.epochs), "--iterations", str(length.iterations)]
        command += ["--seed", str(cell.seed)]
    else:
        command.append(option)
    if request.trust_plans:
        command.append("--trust-plans")
    for name, folder in vars(comparison.paths).items():
        if folder is not None:
            command += [f"--{name}", str(folder)]
    return Job(str(cell), tuple(command), comparison.log(cell))


def _conclude(comparison: Comparison, cell: Cell, event: Event, stop: StopRequest) -> None:
    """Find out what has become of a cell whose training has ended."""
    try:
        state = _inspect(comparison, cell)
    except UMambaError as error:
        _fail(comparison, cell, str(error))
        return
    if event.exit_code == 0 and state.status == "done":
        _finish(comparison, cell, stop)
    elif event.exit_code in _INTERRUPTED or stop.reason() is not None:
        comparison.states[cell] = state
    else:
        _fail(comparison, cell, _why(event))


def _finish(comparison: Comparison, cell: Cell, stop: StopRequest) -> None:
    folder = comparison.folder(cell)
    try:
        comparison.finished[cell] = _read(comparison, folder, str(cell), cell.fold, stop)
    except UMambaError as error:
        _fail(comparison, cell, str(error))
    except StoppedError:
        comparison.states[cell] = CellState("interrupted", "--val")
    else:
        comparison.states[cell] = CellState("done")


def _fail(comparison: Comparison, cell: Cell, reason: str) -> None:
    file = _failure_file(comparison, cell)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(reason, encoding="utf-8")
    comparison.states[cell] = CellState("failed", reason=reason)


def _failure_file(comparison: Comparison, cell: Cell) -> Path:
    return comparison.cache(str(cell)).with_suffix(".failed.txt")


def _why(event: Event) -> str:
    """Return what a training said last, or which signal ended it."""
    code = event.exit_code or 0
    if code < 0:
        hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
        return f"ended by signal {-code}{hint}"
    lines = event.job.log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return said[-_LONGEST_REASON:] or f"exit code {code}"


def _read(
    comparison: Comparison, folder: Path, name: str, fold: int, stop: StopRequest
) -> Finished:
    """Read and evaluate a training, unless that was done before.

    Raises:
        UMambaError: If a file cannot be read.
        StoppedError: If a stop was asked for meanwhile.
    """
    source = comparison.planned.source
    as_before, cache = _evaluated_as(comparison, fold), comparison.cache(name)
    known = recall_finished(folder, cache, as_before)
    if known is not None:
        return known

    def evaluate(predictions: Path) -> dict[str, list[dict[str, Any]]]:
        return evaluate_predictions(
            predictions,
            _references(source, comparison.paths),
            comparison.cases[fold],
            source.file_ending,
            source.labels,
            comparison.request.evaluation,
            is_stopped=lambda: stop.reason() is not None,
        )

    return read_finished(folder, cache, as_before, evaluate)


def _evaluated_as(comparison: Comparison, fold: int) -> Mapping[str, Any]:
    """Return all that the evaluation depends on besides predictions."""
    source, cases = comparison.planned.source, sorted(comparison.cases[fold])
    folder = _references(source, comparison.paths)
    files = (folder / f"{case}{source.file_ending}" for case in cases)
    return {
        "cases": cases,
        "references": file_marks(file for file in files if file.is_file()),
        "labels": source.dataset_json["labels"],
        "options": comparison.request.evaluation.to_dict(),
    }


def _write(comparison: Comparison, *, analysed: bool) -> dict[str, Any]:
    """Write the results; the statistics, which take their time, only at the end."""
    results = build_results(comparison)
    if analysed:
        results |= analyse(results)
    write_results(comparison.request.output, results, describe_run(comparison))
    return results
