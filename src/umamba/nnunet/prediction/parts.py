"""Parts of a folder of images, segmented in jobs, each of which loads the model once."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from umamba.errors import UMambaError
from umamba.executors.attempts import note_start
from umamba.executors.following import follow, submitting
from umamba.executors.jobs import Event, Job, Resources, why_it_failed
from umamba.images.file_names import visible_files
from umamba.nnunet.places import PLACES
from umamba.nnunet.prediction.folders import PredictionReport
from umamba.nnunet.prediction.models import model_folder
from umamba.nnunet.prediction_request import PredictionRequest
from umamba.options import as_arguments
from umamba.system.atomic_files import make_folder, write_whole
from umamba.system.fencing import claiming
from umamba.system.json_files import load_json

__all__ = ["jobs_folder", "jobs_of_parts", "predict_part", "predict_parts"]

_REPORT = ".json"


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
    return [
        Job(_name(part), ("part", *as_arguments(part)), _file(part, ".log"), needs)
        for part in parts
    ]


def predict_part(
    request: PredictionRequest, predict: Callable[[PredictionRequest], Mapping[str, Any]]
) -> None:
    """Segment one part, as a job that may be started again, and write its report.

    Cases that are left out are named in the report, and do not make the job fail.

    Args:
        request: The prediction of the part.
        predict: Does it, and returns the report.

    Raises:
        UMambaError: If nothing can be predicted, or the job was started too often in vain.
        SupersededError: If a later attempt at this job has taken over.
        ResumableInterruptError: If it was interrupted; the same call continues.
    """
    folder = jobs_folder(request)
    report, starts = _file(request, _REPORT), _file(request, ".starts")
    make_folder(folder)
    with claiming(_file(request, ".claim")):
        report.unlink(missing_ok=True)  # an earlier call's
        # Files of other parts count as well, which only delays the end of a job without progress.
        note_start(starts, (len(visible_files(folder.parent)),))
        write_whole(report, json.dumps(predict(request)))
        starts.unlink(missing_ok=True)  # it may be asked for again as often as one likes


def jobs_folder(request: PredictionRequest) -> Path:
    """Return the folder for logs, scripts and notes of the jobs."""
    return Path(request.output).absolute() / "jobs"


def _name(part: PredictionRequest) -> str:
    return f"part_{part.part_id + 1}_of_{part.num_parts}"


def _file(part: PredictionRequest, ending: str) -> Path:
    return jobs_folder(part) / f"{_name(part)}{ending}"


def _merged(ended: Sequence[Event]) -> PredictionReport:
    """Return the report on all parts.

    Raises:
        UMambaError: If none has got anywhere.
    """
    merged, lost = PredictionReport(), dict[str, str]()
    for event in ended:
        try:
            report = _report(event)
        except UMambaError as error:
            lost[event.job.name] = str(error)
            continue
        merged.predicted += report["predicted"]
        merged.skipped += report["skipped"]
        merged.failed |= report["failed"]
        merged.notes = report["notes"] | merged.notes
    if len(lost) == len(ended):
        msg = f"no part could be predicted: {next(iter(lost.values()))}"
        raise UMambaError(msg)
    merged.failed |= lost
    return merged


def _report(event: Event) -> dict[str, Any]:
    """Return the report of a job that has got to its end.

    Raises:
        UMambaError: If it has not.
    """
    if event.exit_code != 0:
        raise UMambaError(why_it_failed(event))
    return load_json(event.job.log.with_suffix(_REPORT))
