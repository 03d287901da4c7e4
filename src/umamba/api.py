"""The commands as functions with typed keywords and typed results; nothing is left behind.

Each function takes the fields of its request as keywords. It writes the same files as its command,
returns the result instead of printing it, and leaves the environment, nnU-Net's folders and signal
handlers as they were. Errors that the user can act on are raised as a `UMambaError`; Ctrl-C as a
`UserInterruptError`, a `KeyboardInterrupt` that says how to continue.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from umamba.comparison.ranking.requests import RankRequest
from umamba.comparison.report.requests import ReportRequest
from umamba.comparison.runs.requests import CompareRequest
from umamba.costs.requests import CostsRequest
from umamba.errors import ResumableInterruptError, UserInterruptError
from umamba.evaluation.requests import EvaluationRequest
from umamba.nnunet.paths import Paths
from umamba.nnunet.prediction_request import PredictionRequest
from umamba.nnunet.requests import PlanRequest, TrainingRequest
from umamba.nnunet.workers import default_workers
from umamba.options import Request, describe_options
from umamba.results import (
    ComparisonResult,
    EvaluationResult,
    FoldsResult,
    ModelsResult,
    PlanResult,
    PredictionResult,
    RankResult,
    TrainingResult,
)
from umamba.system.environment import environment, torch_settings
from umamba.system.progress import ShowProgress

__all__ = [
    "at_work",
    "compare",
    "evaluate",
    "models",
    "plan",
    "predict",
    "rank",
    "report",
    "run_comparison",
    "run_evaluation",
    "run_models",
    "run_planning",
    "run_prediction",
    "run_ranking",
    "run_report",
    "run_training",
    "train",
]

P = ParamSpec("P")
Asked = TypeVar("Asked", bound=Request)
Result = TypeVar("Result")


def _function(
    name: str, request: Callable[P, Asked], run: Callable[[Asked], Result]
) -> Callable[P, Result]:
    """Return the public function that turns its keywords into a request, and runs it."""

    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        asked = request(*args, **kwargs)
        try:
            return run(asked)
        except ResumableInterruptError as interrupt:
            raise UserInterruptError(str(interrupt)) from None

    signature = inspect.signature(request)
    returned = inspect.signature(run).return_annotation
    call.__name__ = call.__qualname__ = name
    call.__signature__ = signature.replace(return_annotation=returned)  # type: ignore[attr-defined]
    keywords = describe_options(cast("type[Request]", request))
    about, *rest = (inspect.getdoc(run) or "").split("\n\n")
    call.__doc__ = "\n\n".join([about, keywords, *rest])
    return call


@contextmanager
def at_work(paths: Paths) -> Iterator[Paths]:
    """Set what nnU-Net and torch read from the environment for the duration of a call."""
    with paths.in_use() as completed, environment(**torch_settings()):
        import torch

        n_threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
        try:
            yield completed
        finally:
            torch.set_num_threads(n_threads)
            torch.backends.cudnn.benchmark = benchmark


def run_planning(request: PlanRequest) -> PlanResult:
    """Derive plans for a network from nnU-Net's plans, which are made first if missing.

    Returns:
        The plans, their file, and the memory that training with them needs.

    Raises:
        UMambaError: If anything requested is missing or does not fit, or other plans of that name
            exist.
    """
    with at_work(request.paths) as paths, environment(**default_workers("cpu")):
        from umamba.nnunet.planning import plan

        return PlanResult(*plan(replace(request, paths=paths)))


def run_training(request: TrainingRequest) -> TrainingResult:
    """Train folds, and predict their validation cases; data are preprocessed first if needed.

    Returns:
        The folder of the fold, and the Dice of its validation; for several folds, or with an
        executor, a `FoldsResult` with the results of all.

    Raises:
        UMambaError: If anything requested is missing or does not fit.
    """
    if request.is_spread:
        return _run_folds(request)
    with at_work(request.paths) as paths:
        from umamba.nnunet.training.folds import pick_device, train, validation_dice

        device = pick_device(request.device)
        with environment(**default_workers(device)):
            folder = train(replace(request, paths=paths, device=device))
    return TrainingResult(folder, *validation_dice(folder))


def _run_folds(request: TrainingRequest) -> FoldsResult:
    """Train several folds, each going on from where it is."""
    with at_work(request.paths) as paths:
        from umamba.nnunet.fold_folders import fold_folder
        from umamba.nnunet.training.folds import validation_dice
        from umamba.nnunet.training.several import train_folds

        with environment(**default_workers(request.device or "cpu")):
            outcome = train_folds(replace(request, paths=paths))
        folders = {fold: fold_folder(outcome.folder, fold) for fold in request.folds}
        done = {
            fold: TrainingResult(folder, *validation_dice(folder))
            for fold, folder in folders.items()
            if fold not in outcome.failed
        }
    return FoldsResult.of(outcome.folder, done, outcome.failed)


def run_prediction(request: PredictionRequest) -> PredictionResult:
    """Segment a folder of images; cases that cannot be read or do not fit are left out.

    After an interruption, the same call predicts the remaining cases.

    Returns:
        The cases that were segmented, had been before, or could not be, with the reasons.

    Raises:
        UMambaError: If the model cannot be used, no case can be predicted, or outputs cannot be
            written.
    """
    with at_work(request.paths) as paths:
        if request.executor is not None:
            from umamba.nnunet.prediction.parts import predict_parts

            report = predict_parts(replace(request, paths=paths))
            return PredictionResult(Path(request.output), **vars(report))
        from umamba.nnunet.prediction.models import predict_with
        from umamba.nnunet.training.folds import pick_device

        device = pick_device(request.device)
        with environment(**default_workers(device)):
            report = predict_with(replace(request, paths=paths, device=device))
    return PredictionResult(Path(request.output), **vars(report))


def run_evaluation(
    request: EvaluationRequest, progress: ShowProgress = lambda items, _: items
) -> EvaluationResult:
    """Compare predicted masks with their references: files of the same name in two folders.

    Returns:
        The metrics of every case and label, and of objects by size.

    Raises:
        UMambaError: If nothing can be evaluated, or the settings do not fit.
    """
    from umamba.evaluation.requested import evaluate_requested

    return EvaluationResult(evaluate_requested(request, progress))


def run_comparison(request: CompareRequest) -> ComparisonResult:
    """Train models on every fold from every seed, evaluate the validation cases, and compare.

    After an interruption, the same call continues; with more models, folds or seeds, it adds them.

    Returns:
        The verdicts, the trainings, and the folder of the results.

    Raises:
        UMambaError: If anything requested is missing or does not fit.
    """
    with at_work(request.paths) as paths:
        from umamba.comparison.runs.calls import compare

        output, results = compare(request, paths)
    return ComparisonResult(output, results)


def run_ranking(request: RankRequest) -> RankResult:
    """Compare and rank the models of any table of scores, without training anything.

    Returns:
        Verdicts, intervals, ranks and all pairs, and the folder they were written to, if any.

    Raises:
        UMambaError: If a file cannot be used, its scores cannot be compared, or the folder cannot
            be written.
    """
    from umamba.comparison.ranking.ranking import rank as rank_scores
    from umamba.comparison.ranking.writing import write_ranking

    ranking = rank_scores(request)
    output = None if request.output is None else Path(request.output)
    if output is not None:
        write_ranking(ranking, output)
    return RankResult(ranking, output)


def run_report(request: ReportRequest) -> ComparisonResult | RankResult:
    """Write the report of a comparison or a ranking again, from its results alone.

    Returns:
        What was found, and the folder of the report.

    Raises:
        UMambaError: If the results cannot be used, a table does not fit, or a file cannot be
            written.
    """
    from umamba.comparison.ranking_records import Ranking
    from umamba.comparison.report_again import report_again

    output, found = report_again(request, request.paths.completed())
    if isinstance(found, Ranking):
        return RankResult(found, output)
    return ComparisonResult(output, found)


def run_models(request: CostsRequest) -> ModelsResult:
    """List the models with paper, purpose, parameters, multiply-adds, and memory for training.

    Returns:
        A table per configuration.

    Raises:
        UMambaError: If anything requested is missing or does not fit.
    """
    from umamba.costs.models import profile_requested

    return ModelsResult(profile_requested(request))


compare = _function("compare", CompareRequest, run_comparison)
evaluate = _function("evaluate", EvaluationRequest, run_evaluation)
models = _function("models", CostsRequest, run_models)
plan = _function("plan", PlanRequest, run_planning)
predict = _function("predict", PredictionRequest, run_prediction)
rank = _function("rank", RankRequest, run_ranking)
report = _function("report", ReportRequest, run_report)
train = _function("train", TrainingRequest, run_training)
