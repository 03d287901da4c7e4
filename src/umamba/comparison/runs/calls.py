"""Calls of a comparison: run it, or open it to show what it would train."""

from pathlib import Path
from typing import Any, cast

from umamba.comparison.controls import with_controls
from umamba.comparison.results import AnalysisSettings, Results
from umamba.comparison.runs import collecting
from umamba.comparison.runs.case_tables import read_case_table
from umamba.comparison.runs.engine import run_comparison
from umamba.comparison.runs.opening import comparing, open_comparison
from umamba.comparison.runs.planning import ComparisonRequest
from umamba.comparison.runs.progress import ComparisonProgress
from umamba.comparison.runs.requests import CompareRequest
from umamba.comparison.runs.state import Comparison
from umamba.comparison.runs.status_page import StatusPage
from umamba.comparison.training_options import training_options
from umamba.evaluation.settings import EvaluationSettings
from umamba.executors.jobs import Event
from umamba.nnunet.paths import Paths
from umamba.nnunet.places import PLACES
from umamba.nnunet.preparation import find_dataset

__all__ = ["asked_by", "compare", "open_dry"]


def compare(request: CompareRequest, paths: Paths) -> tuple[Path, Results]:
    """Train, evaluate and compare.

    Returns:
        The folder of the results, and the results.

    Raises:
        UMambaError: If the request cannot be met.
        ResumableInterruptError: If it was interrupted; the same call continues.
    """
    place = PLACES[request.executor](request)
    asked = asked_by(request, paths, place.device, place.stage)
    with comparing(asked.output):
        comparison = open_comparison(
            asked, paths, place.n_threads, dry=False, elsewhere=place.is_elsewhere
        )
        progress = ComparisonProgress()
        page = StatusPage(place.n_at_a_time or len(comparison.asked))

        def tell(comparison: Comparison, event: Event | None) -> None:
            progress.update(comparison, event)
            page.update(comparison, event)

        try:
            executor = place.executor(asked.output)
            results = run_comparison(comparison, executor, tell, collecting.Collector())
        finally:
            progress.close()
            page.close()
    return asked.output, results


def open_dry(request: CompareRequest, paths: Paths, *, measured: bool) -> tuple[Comparison, int]:
    """Return the comparison of a request, and the number of trainings it runs at a time.

    Args:
        request: The request.
        paths: nnU-Net's folders.
        measured: Whether unknown costs are measured.

    Raises:
        UMambaError: If the request cannot be met.
    """
    place = PLACES[request.executor](request)
    asked = asked_by(request, paths, place.device, place.stage)
    comparison = open_comparison(
        asked, paths, place.n_threads, dry=True, measured=measured, elsewhere=place.is_elsewhere
    )
    return comparison, place.n_at_a_time or len(comparison.asked)


def asked_by(
    request: CompareRequest, paths: Paths, device: str, stage: str | Path | None = None
) -> ComparisonRequest:
    """Return the internal form of a request.

    Args:
        request: The request.
        paths: nnU-Net's folders.
        device: Type of the device that trains.
        stage: Folder for copies of data where that is, unless the request names one.

    Raises:
        UMambaError: If the data set does not exist, or a table does not fit.
    """
    dataset, stage = find_dataset(str(request.dataset), paths), request.stage or stage
    output = Path(request.output or Path("umamba-compare") / dataset)
    models = tuple(request.models)
    return ComparisonRequest(
        dataset=dataset,
        models=models if request.no_controls else with_controls(models),
        folds=cast("tuple[int, ...]", request.folds),
        seeds=tuple(range(request.seeds)),
        budget=cast("Any", request.budget),
        output=output.expanduser().resolve(),
        baseline=request.baseline,
        configuration=request.configuration,
        source=request.source,
        **training_options(request),
        device=device,
        stage=None if stage is None else str(stage),
        evaluation=EvaluationSettings(**request.metric_settings()),
        analysis=_analysis(request),
        trust_plans=request.trust_plans,
        tensorboard=request.tensorboard,
        test=_test_set(request),
        credit=request.credit,
    )


def _test_set(request: CompareRequest) -> tuple[Path, Path] | None:
    if request.test_images is None or request.test_labels is None:
        return None
    images, labels = (
        Path(folder).expanduser().resolve() for folder in (request.test_images, request.test_labels)
    )
    return images, labels


def _analysis(request: CompareRequest) -> AnalysisSettings:
    tables = {"cluster": request.clusters, "group": request.groups}
    clusters, groups = (
        {} if file is None else read_case_table(Path(file), column)
        for column, file in tables.items()
    )
    return AnalysisSettings(cast("Any", request.empty), request.margin, clusters, groups)
