"""Overhead of a comparison: the scheduling process's own time per job, and collecting results.

Jobs do nothing for a tenth of a second, so that what the executor itself needs can be seen. The
time is the processor time of the process that schedules, without that of the jobs.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environment import environment
from umamba.comparison.rows import Training
from umamba.comparison.runs.budget import Budget, Length
from umamba.comparison.runs.building import build_results, write_results
from umamba.comparison.runs.cells import Cell, CellTraining, write_cell
from umamba.comparison.runs.finished import read_finished
from umamba.comparison.runs.planning import ComparisonRequest, Planned, Source
from umamba.comparison.runs.preparing import evaluation_of
from umamba.comparison.runs.state import Comparison
from umamba.comparison.runs.training_states import FINAL, TrainingState
from umamba.executors.jobs import Executor, Job
from umamba.executors.local import LocalExecutor, Worker
from umamba.executors.ray import RayExecutor
from umamba.executors.slurm.executor import SlurmExecutor
from umamba.executors.slurm.site import Site
from umamba.nnunet.checkpoints.files import write_checkpoint
from umamba.nnunet.paths import Paths
from umamba.system.interruption import StopRequest

_SECONDS_OF_A_JOB = 0.1
_SLEEP = ("-c", f"import time; time.sleep({_SECONDS_OF_A_JOB})")
_MODELS = ("nnunet", "umamba_bot")


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--executors", nargs="+", default=["local"], help="local, slurm, ray")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = [_collect(Path(name), args.cells, args.cases)]
        rows += [_schedule(Path(name), kind, args.cells) for kind in args.executors]
    for row in rows:
        sys.stdout.write(json.dumps(row | environment()) + "\n")


def _schedule(folder: Path, kind: str, n_cells: int) -> dict[str, object]:
    executor: Executor = LocalExecutor([Worker(), Worker()], program=_SLEEP)
    if kind == "slurm":
        site = Site(memory="100M", cpus=1)
        executor = SlurmExecutor(site, folder / "slurm", program=_SLEEP)
    if kind == "ray":
        executor = RayExecutor("local", program=_SLEEP)  # a Ray of this machine alone
    jobs = [Job(f"{i}", (), folder / "logs" / f"{i}.log") for i in range(n_cells)]
    began, used = time.monotonic(), time.process_time()
    ended = [event for event in executor.run(jobs, StopRequest()) if event.kind == "ended"]
    if [event.exit_code for event in ended] != [0] * n_cells:
        msg = f"not all jobs have ended well: {ended}"
        raise RuntimeError(msg)
    return {
        "what": f"{n_cells} jobs of {_SECONDS_OF_A_JOB} s",
        "executor": kind,
        "seconds": round(time.monotonic() - began, 1),
        "own_seconds_per_job": round((time.process_time() - used) / n_cells, 5),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
    }


def _collect(folder: Path, n_cells: int, n_cases: int) -> dict[str, object]:
    comparison = _finished_comparison(folder, n_cells, [f"case_{i:04d}" for i in range(n_cases)])
    began = time.process_time()
    for training in comparison.trainings:
        length = comparison.lengths[training.model]
        trained = CellTraining(training, length, ("train",), mirroring=True)
        cell = Cell(evaluation_of(comparison, training), trained)
        write_cell(comparison.cell(str(training)), cell)
        finished = cell.evaluation.recall()
        if finished is None:
            msg = f"{training} cannot be collected"
            raise RuntimeError(msg)
        comparison.finished[training] = finished
    per_cell = (time.process_time() - began) / n_cells
    began = time.process_time()
    write_results(folder, build_results(comparison), {})
    return {
        "what": f"collecting {n_cells} cells of {n_cases} cases",
        "own_seconds_per_cell": round(per_cell, 5),
        "seconds_to_write_results": round(time.process_time() - began, 1),
    }


def _finished_comparison(folder: Path, n_cells: int, cases: Sequence[str]) -> Comparison:
    description = {"labels": {"background": 0, "a": 1, "b": 2}, "file_ending": ".nii.gz"}
    source = Source("Dataset901_Toy", "2d", {}, description, {"a": 1, "b": 2}, None)
    seeds = tuple(range(n_cells // len(_MODELS)))
    budget = Budget("epochs", 100.0)
    request = ComparisonRequest("901", _MODELS, (0,), seeds, budget, folder)
    plans = {
        (model, seed): {"plans_name": f"{model}_{seed}"} for model in _MODELS for seed in seeds
    }
    paths = Paths(preprocessed=folder / "preprocessed", results=folder / "results")
    comparison = Comparison(request, paths, Planned(source, _MODELS, plans), {0: frozenset(cases)})
    comparison.evaluated_as = {0: {"cases": list(cases)}}
    comparison.lengths = {model: budget.length() for model in _MODELS}
    for training in comparison.trainings:
        comparison.states[training] = TrainingState("done")
        _write_training(comparison, training, comparison.lengths[training.model])
    return comparison


def _write_training(comparison: Comparison, training: Training, length: Length) -> None:
    """Write what a finished training of nothing leaves, and keep an evaluation of it."""
    folder = comparison.folder(training)
    (folder / "validation").mkdir(parents=True)
    (folder / "validation" / "summary.json").write_text("{}")
    values = [float(epoch) for epoch in range(length.epochs)]
    logged = ("epoch_start_timestamps", "epoch_end_timestamps", "mean_fg_dice")
    logging = dict.fromkeys((*logged, "train_losses", "val_losses"), values)
    settings = {"epochs": length.epochs, "iterations_per_epoch": 250, "seed": training.seed}
    checkpoint = {"network_weights": {}, "logging": logging, "umamba": settings}
    write_checkpoint(checkpoint, folder / FINAL, keep_previous=False)
    metrics = {"dice": 0.8, "iou": 0.7, "nsd": 0.9, "hd95": 3.0, "assd": 1.0}
    volumes = {"reference_volume": 9.0, "prediction_volume": 8.0}
    task = evaluation_of(comparison, training)
    rows = [
        {"case": case, "label": label, "metrics": metrics, "empty": None} | volumes
        for case in task.cases
        for label in task.labels
    ]
    evaluated = {"cases": rows, "instances": []}
    read_finished(task.folder, task.cache, task.evaluated_as, lambda _: evaluated)


if __name__ == "__main__":
    main()
