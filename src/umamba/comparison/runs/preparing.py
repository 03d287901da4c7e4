"""Jobs for the trainings of a comparison, with all that they need to run elsewhere."""

from collections.abc import Iterable, Iterator

from umamba.comparison.rows import Ensemble, Training
from umamba.comparison.runs.cells import Cell, CellTraining, EvaluationTask, write_cell
from umamba.comparison.runs.estimates import prediction_hours, training_hours
from umamba.comparison.runs.existing import StockTraining, find_stock_trainings
from umamba.comparison.runs.external_tasks import external_task
from umamba.comparison.runs.state import Comparison, Tester
from umamba.executors.jobs import Job, Resources

__all__ = [
    "ensemble_jobs_of",
    "evaluation_of",
    "jobs_of",
    "needs_of",
    "stock_trainings",
    "write_cells",
]

_GIB = 2**30
_MARGIN = 1.5


def stock_trainings(comparison: Comparison) -> Iterator[StockTraining]:
    """Yield the trainings of stock nnU-Net that fit into a comparison."""
    return find_stock_trainings(
        comparison.planned,
        comparison.lengths,
        comparison.cases,
        comparison.paths,
        comparison.request.validated,
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


def jobs_of(comparison: Comparison) -> dict[Job, Tester]:
    """Return a job for each cell that this call finishes; nothing is written."""
    stock = (
        training
        for training in stock_trainings(comparison)
        if comparison.lacks_test(training) or evaluation_of(comparison, training).recall() is None
    )
    undone: list[Training | StockTraining] = [*stock, *comparison.undone]
    return {_job(comparison, training): training for training in undone}


def ensemble_jobs_of(comparison: Comparison) -> dict[Job, Tester]:
    """Return a job for each ensemble that has yet to predict the test set."""
    return {
        _job(comparison, one): one for one in comparison.ensembles if comparison.lacks_test(one)
    }


def write_cells(comparison: Comparison, testers: Iterable[Tester]) -> None:
    """Write what the jobs of some trainings or ensembles read.

    Raises:
        UMambaError: If a file cannot be written.
    """
    for one in testers:
        write_cell(comparison.cell(str(one)), _cell(comparison, one))


def _job(comparison: Comparison, training: Tester) -> Job:
    name = str(training)
    command = ("cell", str(comparison.cell(name)))
    return Job(name, command, comparison.log(name), needs_of(comparison, training.model))


def needs_of(comparison: Comparison, model: str) -> Resources:
    """Return what a model's cell needs on a machine that is shared with others.

    Memory is that of augmentation and of reading cases, and on a CPU that of training. Hours are
    those of the training and of whole cases as estimated, with a margin for other machines.
    """
    cost, on_gpu = comparison.costs[model], comparison.request.device == "cuda"
    training = 0.0 if on_gpu else (cost.peak_memory_bytes or cost.memory_bytes) / _GIB
    hours = training_hours(comparison, model)
    predicts = max(prediction_hours(comparison, model, fold) or 0.0 for fold in comparison.cases)
    return Resources.of_training(
        n_gpus=int(on_gpu),
        more_gib=_MARGIN * training,
        hours=None if hours is None else 1 + _MARGIN * (hours + predicts),
    )


def _cell(comparison: Comparison, training: Tester) -> Cell:
    trained, external = None, external_task(comparison, training)
    if isinstance(training, Ensemble):
        return Cell(None, external=external)
    if isinstance(training, Training):
        length = comparison.lengths[training.model]
        command, validated = _command(comparison, training), comparison.request.validated
        trained = CellTraining(training, length, command, validated)
    return Cell(evaluation_of(comparison, training), trained, external)


def _command(comparison: Comparison, training: Training) -> tuple[str, ...]:
    """Return the arguments of `umamba` that train, without those of the beginning."""
    request, source = comparison.request, comparison.planned.source
    plans_name = comparison.planned.plans_name(training)
    command = ["train", source.dataset, source.configuration, str(training.fold), "-p", plans_name]
    command += ["-device", request.device, "--validation-tta", request.validation_tta]
    command += ["--recipe", comparison.planned.recipe_of(training.model).name]
    if request.tensorboard:
        command.append("--tensorboard")
    if request.validation_cases is not None:
        command += ["--validation-cases", str(request.validation_cases)]
    if request.stage is not None:
        command += ["--stage", request.stage]
    if request.trust_plans:
        command.append("--trust-plans")
    return (*command, *comparison.paths.as_arguments())
