"""The options of the commands that manage jobs, and what the jobs themselves run.

`umamba train`, `predict` and `compare` with `--executor` can write, submit, tell of and cancel
their jobs; this module does so for the command line. The functions that wait for results are in
`umamba.api`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from umamba.api import at_work
from umamba.comparison.runs.requests import CompareRequest
from umamba.nnunet.prediction_request import PredictionRequest
from umamba.nnunet.requests import TrainingRequest
from umamba.nnunet.workers import default_workers
from umamba.system.environment import environment

if TYPE_CHECKING:
    from umamba.comparison.runs.state import Comparison

__all__ = [
    "manage_comparison",
    "manage_prediction",
    "manage_training",
    "open_comparison",
    "run_fold",
]


def run_fold(request: TrainingRequest) -> None:
    """Do what is left to do for one fold, in a job of `run_training`.

    Raises:
        UMambaError: If the fold holds another training, or anything is missing.
    """
    with at_work(request.paths) as paths:
        from umamba.nnunet.training.folds import pick_device
        from umamba.nnunet.training.several import continue_fold

        device = pick_device(request.device)
        with environment(**default_workers(device)):
            continue_fold(replace(request, paths=paths, device=device))


def manage_training(request: TrainingRequest, what: str) -> str:
    """Have the jobs of folds written, submitted, told of or cancelled.

    Args:
        request: The training.
        what: `print-jobs`, `detach`, `status` or `cancel`.

    Returns:
        What is to be said.

    Raises:
        UMambaError: If anything requested is missing or does not fit.
    """
    with at_work(request.paths) as paths:
        from umamba.nnunet.managing import MANAGED
        from umamba.nnunet.training.several import jobs_folder, jobs_left

        request = replace(request, paths=paths)
        ready = what == "detach"
        return MANAGED[what](request, jobs_folder(request), lambda: jobs_left(request, ready=ready))


def manage_prediction(request: PredictionRequest, what: str) -> str:
    """Have the jobs of a prediction written, submitted, told of or cancelled.

    Args:
        request: The prediction.
        what: `print-jobs`, `detach`, `status` or `cancel`.

    Returns:
        What is to be said.

    Raises:
        UMambaError: If anything requested is missing or does not fit.
    """
    with at_work(request.paths) as paths:
        from umamba.nnunet.managing import MANAGED
        from umamba.nnunet.prediction.parts import jobs_folder, jobs_of_parts

        request = replace(request, paths=paths)
        return MANAGED[what](request, jobs_folder(request), lambda: jobs_of_parts(request))


@contextmanager
def open_comparison(
    request: CompareRequest, *, measured: bool
) -> Iterator[tuple["Comparison", int]]:
    """Show what a comparison would train: `umamba compare --dry-run`.

    Args:
        request: What to compare.
        measured: Whether unknown costs are measured, which takes minutes.

    Yields:
        The comparison, and the number of trainings it would run at a time.

    Raises:
        UMambaError: If anything requested is missing or does not fit.
    """
    with at_work(request.paths) as paths:
        from umamba.comparison.runs.calls import open_dry

        yield open_dry(request, paths, measured=measured)


def manage_comparison(request: CompareRequest, what: str) -> str:
    """Have a comparison's jobs written, submitted, told or cancelled.

    Args:
        request: What to compare.
        what: `print-jobs`, `detach`, `status` or `cancel`.

    Returns:
        What is to be said.

    Raises:
        UMambaError: If anything requested is missing or does not fit.
    """
    with at_work(request.paths) as paths:
        from umamba.comparison.runs.managing import MANAGED

        return MANAGED[what](request, paths)
