"""Parts of a folder of images, segmented in jobs, each of which loads the model once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from umamba.errors import UMambaError
from umamba.executors.following import follow, submitting
from umamba.executors.jobs import Event, Job, Resources, why_it_failed
from umamba.nnunet.places import PLACES
from umamba.nnunet.prediction.folders import PredictionReport
from umamba.nnunet.prediction.models import model_folder
from umamba.nnunet.prediction_request import PredictionRequest
from umamba.options import as_arguments

__all__ = ["jobs_folder", "jobs_of_parts", "predict_parts"]

_REPORTED = (0, 1)  # exit codes of a prediction that has got to its end


def predict_parts(request: PredictionRequest) -> PredictionReport:
    """Segment a folder of images in jobs, a part of them in each.

    Args:
        request: The prediction; its paths are complete.

    Returns:
        The report on all cases; a part that failed as a whole is named like a case.

    Raises:
        UMambaError: If nothing can be predicted.
        ResumableInterruptError: If it was interrupted; the same call continues.
    """
    jobs = jobs_of_parts(request)
    place = PLACES[str(request.executor)](request)
    with submitting(jobs_folder(request)) as stop:
        ended = follow(place.executor(jobs_folder(request)), jobs, stop)
    return _merged([ended[job.name] for job in jobs])


def jobs_of_parts(request: PredictionRequest) -> list[Job]:
    """Return a job for each part; nothing is written.

    Raises:
        UMambaError: If the images or the model are not there.
    """
    if not Path(request.images).is_dir():
        msg = f"-i {request.images} is not a folder; give one of images"
        raise UMambaError(msg)
    if not model_folder(request).exists():
        msg = f"there is no model {model_folder(request)}; train it, or give another one"
        raise UMambaError(msg)
    device = PLACES[str(request.executor)](request).device
    needs = Resources.of_training(int(device == "cuda"))
    n_parts = request.parts or 1
    parts = (
        request.alone(device=device, parts=None, num_parts=n_parts, part_id=number)
        for number in range(n_parts)
    )
    folder = jobs_folder(request)
    return [
        Job(
            f"part_{part.part_id}",
            ("predict", *as_arguments(part), "--json"),
            folder / f"part_{part.part_id}.log",
            needs,
        )
        for part in parts
    ]


def jobs_folder(request: PredictionRequest) -> Path:
    """Return the folder for logs, scripts and notes of the jobs."""
    return Path(request.output).absolute() / "jobs"


def _merged(ended: Sequence[Event]) -> PredictionReport:
    """Return the report on all parts.

    Raises:
        UMambaError: If none has got anywhere.
    """
    merged = PredictionReport()
    reports = {event: _report(event) for event in ended}
    lost = {event.job.name: why_it_failed(event) for event, report in reports.items() if not report}
    if len(lost) == len(ended):
        msg = f"no part could be predicted: {next(iter(lost.values()))}"
        raise UMambaError(msg)
    for report in filter(None, reports.values()):
        merged.predicted += report["predicted"]
        merged.skipped += report["skipped"]
        merged.failed |= report["failed"]
        merged.notes = report["notes"] | merged.notes
    merged.failed |= lost
    return merged


def _report(event: Event) -> dict[str, Any] | None:
    """Return what a job has printed last, if it has got to its end."""
    if event.exit_code not in _REPORTED:
        return None
    lines = event.job.log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = next((line for line in reversed(lines) if line.startswith('{"output"')), None)
    return None if said is None else json.loads(said)
