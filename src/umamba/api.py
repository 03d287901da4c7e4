"""The commands as functions: with typed keywords, typed results, and nothing left behind.

A function takes the fields of its request as keywords. It writes what its command writes, returns
the result in place of printing it, and leaves environment, folders of nnU-Net and signal handlers
as they were. What the user could do about is raised as a `UMambaError`; Ctrl-C as a
`UserInterruptError`, a `KeyboardInterrupt` that says how to go on.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from umamba.errors import ResumableInterruptError, UserInterruptError
from umamba.nnunet.paths import Paths, default_workers, environment, patient_threads
from umamba.nnunet.requests import PlanRequest, PredictionRequest, TrainingRequest
from umamba.options import Request, describe_options
from umamba.results import PlanResult, PredictionResult, TrainingResult

__all__ = ["plan", "predict", "run_planning", "run_prediction", "run_training", "train"]

P = ParamSpec("P")
Asked = TypeVar("Asked", bound=Request)
Result = TypeVar("Result")


def _function(
    name: str, request: Callable[P, Asked], run: Callable[[Asked], Result]
) -> Callable[P, Result]:
    """Return the public function that makes a request of its keywords, and runs it."""

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
def _at_work(paths: Paths) -> Iterator[Paths]:
    """Set what nnU-Net and torch read from the environment, for the time of a call."""
    with paths.in_use() as completed, environment(**patient_threads()):
        import torch

        n_threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
        try:
            yield completed
        finally:
            torch.set_num_threads(n_threads)
            torch.backends.cudnn.benchmark = benchmark


def run_planning(request: PlanRequest) -> PlanResult:
    """Derive plans for a network from nnU-Net's plans, which are made first if there are none.

    Returns:
        The plans, where they are, and what training with them needs.

    Raises:
        UMambaError: If anything that is asked for is missing or does not fit, or other plans of
            that name are there.
    """
    with _at_work(request.paths) as paths, environment(**default_workers("cpu")):
        from umamba.nnunet.planning import plan

        return PlanResult(*plan(replace(request, paths=paths)))


def run_training(request: TrainingRequest) -> TrainingResult:
    """Train one fold, and predict its validation cases; missing preprocessed data are made first.

    Returns:
        The folder of the fold, and the Dice of its validation.

    Raises:
        UMambaError: If anything that is asked for is missing or does not fit.
    """
    with _at_work(request.paths) as paths:
        from umamba.nnunet.training import pick_device, train, validation_dice

        device = pick_device(request.device)
        with environment(**default_workers(device)):
            folder = train(replace(request, paths=paths, device=device))
    return TrainingResult(folder, *validation_dice(folder))


def run_prediction(request: PredictionRequest) -> PredictionResult:
    """Segment a folder of images; cases that cannot be read or do not fit are left out.

    The same call does what is missing after an interrupt.

    Returns:
        What was segmented, what had been before, and what could not be and why.

    Raises:
        UMambaError: If the model cannot be used, no case can be predicted, or outputs cannot be
            written.
    """
    with _at_work(request.paths) as paths:
        from umamba.nnunet.prediction_of_models import predict_with
        from umamba.nnunet.training import pick_device

        device = pick_device(request.device)
        with environment(**default_workers(device)):
            report = predict_with(replace(request, paths=paths, device=device))
    return PredictionResult(Path(request.output), **vars(report))


plan = _function("plan", PlanRequest, run_planning)
predict = _function("predict", PredictionRequest, run_prediction)
train = _function("train", TrainingRequest, run_training)
