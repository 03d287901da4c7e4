"""Jobs for the trainings of a comparison, with all that they need to run elsewhere."""

from collections.abc import Iterator

from umamba.comparison.rows import Training
from umamba.comparison.runs.cells import Cell, CellTraining, EvaluationTask, write_cell
from umamba.comparison.runs.existing import StockTraining, find_stock_trainings
from umamba.comparison.runs.state import Comparison
from umamba.executors.jobs import Job

__all__ = ["evaluation_of", "job_of", "stock_trainings"]


def stock_trainings(comparison: Comparison) -> Iterator[StockTraining]:
    """Yield the trainings of stock nnU-Net that fit into a comparison."""
    return find_stock_trainings(
        comparison.planned,
        comparison.lengths,
        comparison.cases,
        comparison.paths,
        mirroring=comparison.request.mirroring,
    )


def evaluation_of(comparison: Comparison, training: Training | StockTraining) -> EvaluationTask:
    """Return the evaluation of a training."""
    source = comparison.planned.source
    return EvaluationTask(
        training.folder if isinstance(training, StockTraining) else comparison.folder(training),
        comparison.cache(str(training)),
        comparison.references,
        comparison.cases[training.fold],
        source.file_ending,
        source.labels,
        comparison.request.evaluation,
        comparison.evaluated_as[training.fold],
    )


def job_of(comparison: Comparison, training: Training | StockTraining) -> Job:
    """Write the file of a training's cell, and return the job that does it.

    Raises:
        UMambaError: If the file cannot be written.
    """
    trained = None
    if isinstance(training, Training):
        length = comparison.lengths[training.model]
        command, mirroring = _command(comparison, training), comparison.request.mirroring
        trained = CellTraining(training, length, command, mirroring)
    file = comparison.cell(str(training))
    write_cell(file, Cell(evaluation_of(comparison, training), trained))
    return Job(str(training), ("cell", str(file)), comparison.log(str(training)))


def _command(comparison: Comparison, training: Training) -> tuple[str, ...]:
    """Return the arguments of `umamba` that train, without those of the beginning."""
    request, source = comparison.request, comparison.planned.source
    plans_name = comparison.planned.plans_name(training)
    command = ["train", source.dataset, source.configuration, str(training.fold), "-p", plans_name]
    command += ["-device", request.device, "--validation-tta", request.validation_tta]
    if request.trust_plans:
        command.append("--trust-plans")
    for name, folder in vars(comparison.paths).items():
        if folder is not None:
            command += [f"--{name}", str(folder)]
    return tuple(command)
