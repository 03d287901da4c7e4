"""What `umamba evaluate` does: masks of two folders, maybe DICOM, are compared as asked for."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from umamba.dicom.roi_rules import roi_patterns
from umamba.evaluation.dicom_masks import DicomOptions, readable_masks
from umamba.evaluation.folders import FolderEvaluation, FolderRequest, evaluate_folders
from umamba.evaluation.labels import labels_from_dataset_json
from umamba.evaluation.requests import EvaluationRequest
from umamba.evaluation.settings import EvaluationSettings
from umamba.system.limits import available_cores
from umamba.system.progress import ShowProgress

__all__ = ["evaluate_requested"]


def evaluate_requested(request: EvaluationRequest, progress: ShowProgress) -> FolderEvaluation:
    """Compare predicted masks with their references, which may be DICOM.

    Args:
        request: The folders and settings.
        progress: Shows how far it is.

    Raises:
        UMambaError: If nothing can be evaluated, or the settings do not fit.
    """
    labels, ignore = request.labels, request.ignore
    if request.dataset_json is not None:
        labels, own_ignore = labels_from_dataset_json(Path(request.dataset_json))
        ignore = own_ignore if ignore is None else ignore
    settings = EvaluationSettings(
        **request.metric_settings(),
        size_measure=cast("Any", request.size_measure),
        matching_iou=request.matching_iou,
        ignore=ignore,
    )
    folders = FolderRequest(
        predictions=Path(request.predictions),
        references=Path(request.references),
        labels=cast("Any", labels),
        instances=request.instances,
        settings=settings,
        cut_points=None if request.size_cuts is None else tuple(request.size_cuts),
        spacing=None if request.spacing is None else tuple(request.spacing),
        n_workers=request.workers or available_cores(),
    )
    dicom = DicomOptions(
        patterns=roi_patterns(request.rois),
        may_lack=request.rois_may_lack,
        key=None if request.key is None else Path(request.key),
        study=None if request.study is None else Path(request.study),
    )
    with readable_masks(folders.predictions, folders.references, folders.labels, dicom) as masks:
        folders = replace(folders, predictions=masks.predictions, references=masks.references)
        found = evaluate_folders(folders, progress)
        return replace(
            found,
            failed={**masks.failed, **found.failed},
            missing=tuple(case for case in found.missing if case not in masks.failed),
            extra=(*masks.extra, *(case for case in found.extra if case not in masks.failed)),
            notes=(*masks.notes, *found.notes),
        )
