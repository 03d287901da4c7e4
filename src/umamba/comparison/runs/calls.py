"""Calls of a comparison: run it, or open it to show what it would train."""

from pathlib import Path
from typing import Any, cast

import torch

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
from umamba.evaluation.settings import EvaluationSettings
from umamba.executors import local
from umamba.nnunet.paths import Paths
from umamba.nnunet.preparation import find_dataset
from umamba.nnunet.training.folds import pick_device

__all__ = ["compare", "open_dry"]


def compare(request: CompareRequest, paths: Paths) -> tuple[Path, Results]:
    """Train, evaluate and compare.

    Returns:
        The folder of the results, and the results.

    Raises:
        UMambaError: If the request cannot be met.
        ResumableInterruptError: If it was interrupted; the same call continues.
    """
    asked, workers = _asked(request, paths)
    with comparing(asked.output):
        comparison = open_comparison(asked, paths, workers[0].n_threads, dry=False)
        progress = ComparisonProgress()
        collector = collecting.Collector()
        try:
            executor = local.LocalExecutor(workers)
            results = run_comparison(comparison, executor, progress.update, collector)
        finally:
            progress.close()
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
    asked, workers = _asked(request, paths)
    n_threads = workers[0].n_threads
    return open_comparison(asked, paths, n_threads, dry=True, measured=measured), len(workers)


def _asked(request: CompareRequest, paths: Paths) -> tuple[ComparisonRequest, list[local.Worker]]:
    device = pick_device(request.device)
    workers = local.local_workers(device, request.workers, torch.cuda.device_count())
    dataset = find_dataset(str(request.dataset), paths)
    output = Path(request.output or Path("umamba-compare") / dataset)
    models, patch_size = tuple(request.models), request.patch_size
    asked = ComparisonRequest(
        dataset=dataset,
        models=models if request.no_controls else with_controls(models),
        folds=cast("tuple[int, ...]", request.folds),
        seeds=tuple(range(request.seeds)),
        budget=cast("Any", request.budget),
        output=output.expanduser().resolve(),
        baseline=request.baseline,
        configuration=request.configuration,
        source=request.source,
        features=None if request.features is None else tuple(request.features),
        patch_size=None if patch_size is None else tuple(patch_size),
        batch_size=request.batch_size,
        validation_tta=request.validation_tta,
        device=device,
        evaluation=EvaluationSettings(**request.metric_settings()),
        analysis=_analysis(request),
        trust_plans=request.trust_plans,
    )
    return asked, workers


def _analysis(request: CompareRequest) -> AnalysisSettings:
    tables = {"cluster": request.clusters, "group": request.groups}
    clusters, groups = (
        {} if file is None else read_case_table(Path(file), column)
        for column, file in tables.items()
    )
    return AnalysisSettings(cast("Any", request.empty), request.margin, clusters, groups)
