"""Requests for an evaluation: keywords of the Python API, and options of the command."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from umamba.errors import EvaluationError
from umamba.evaluation.extra_metrics import EXTRA_METRICS
from umamba.option_checks import folder_or_file, positive, texts
from umamba.options import OneOf, Request, Section, argument, option
from umamba.system.numerals import integer

__all__ = ["EvaluationRequest", "MetricRequest"]

Folder = str | Path

_METRICS = Section("metrics")
_LABELS = Section("labels (default: every value in the references)")
_KIND = OneOf(section=_LABELS)
_DICOM = Section("masks as DICOM (RTSTRUCT, SEG)")


def _label_values(given: Any) -> dict[str, int | tuple[int, ...]]:
    """Return the values of labels, from texts such as whole=1,2 or from a mapping."""
    if isinstance(given, Mapping):
        pairs: Iterable[tuple[str, Any]] = given.items()
    else:
        pairs = [(text.rpartition("=")[0], text.rpartition("=")[2]) for text in texts(given)]
    labels: dict[str, int | tuple[int, ...]] = {}
    for name, right in pairs:
        items = right.split(",") if isinstance(right, str) else right
        items = items if isinstance(items, Sequence) else [items]
        try:
            values = tuple(integer(str(item).strip()) for item in items)
        except ValueError:
            values = ()
        if not name or not values or name in labels:
            said = f"{name}={right}" if name else right
            msg = f"--labels {said}: give each label once, as NAME=VALUE or NAME=VALUE,VALUE"
            raise EvaluationError(msg)
        labels[name] = values[0] if len(values) == 1 else values
    return labels


def _tolerances(given: Any) -> dict[str, float]:
    """Return distances by label, and by "" that of all others, from texts, numbers or a mapping."""
    if isinstance(given, Mapping):
        pairs: Iterable[tuple[str, Any]] = given.items()
    else:
        pairs = [(text.rpartition("=")[0], text.rpartition("=")[2]) for text in _texts(given)]
    found: dict[str, float] = {}
    for name, distance in pairs:
        try:
            value = float(distance)
        except ValueError:
            value = -1.0
        if value < 0 or name in found:
            said = f"{name}={distance}" if name else distance
            msg = f"--tolerance {said}: give each once, as DISTANCE or NAME=DISTANCE, e.g. liver=2"
            raise EvaluationError(msg)
        found[name] = value
    return found


def _texts(given: Any) -> tuple[str, ...]:
    return texts((given,) if isinstance(given, float) else given)


def _value(given: str | int) -> int:
    try:
        return integer(str(given))
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def _distances(given: Any) -> tuple[float, ...]:
    items = given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    try:
        return tuple(float(item) for item in items)
    except (TypeError, ValueError):
        msg = f"{' '.join(map(str, items))} are not numbers"
        raise EvaluationError(msg) from None


def _distance(given: str | float) -> float:
    return _distances(given)[0]


@dataclass(frozen=True, kw_only=True)
class MetricRequest(Request):
    """Settings of metrics, the same for an evaluation and for a comparison."""

    metrics: Sequence[str] = field(
        default=(),
        metadata=option(
            f"measure these as well, which takes longer: {', '.join(EXTRA_METRICS)}, or all of "
            "them; ece needs the probabilities (.npz) next to the masks, and adds FROC",
            nargs="+",
            check=texts,
            metavar="NAME",
            section=_METRICS,
        ),
    )
    surface: str = field(
        default="surface-distance",
        metadata=option(
            "definition of surfaces in NSD, HD95 and ASSD: elements between voxels, weighted by "
            "their area, as in DeepMind's surface-distance, or the voxels at the border of a mask, "
            "as in MONAI (default: surface-distance)",
            choices=("surface-distance", "voxels"),
            section=_METRICS,
        ),
    )
    tolerance: float | Sequence[str] | Mapping[str, float] = field(
        default=(),
        metadata=option(
            "distance up to which surfaces agree in NSD, for all labels or for one (default: 1)",
            nargs="+",
            check=_tolerances,
            is_late=True,
            metavar="[NAME=]DISTANCE",
            section=_METRICS,
        ),
    )
    lesion_dilation: int = field(
        default=3,
        metadata=option(
            "in lesion-wise metrics: dilation of reference lesions before those that touch are "
            "joined and matched; BraTS 2023 uses 1 for meningiomas and metastases (default: 3)",
            check=_value,
            metavar="VOXELS",
            section=_METRICS,
        ),
    )
    lesion_penalty: float = field(
        default=374.0,
        metadata=option(
            "HD95 that counts for a lesion missed or falsely predicted (default: 374)",
            check=_distance,
            metavar="DISTANCE",
            section=_METRICS,
        ),
    )
    lesion_volume: float = field(
        default=0.0,
        metadata=option(
            "leave out reference lesions up to this volume; BraTS 2023 uses 50, and 2 for "
            "metastases (default: 0)",
            check=_distance,
            metavar="VOLUME",
            section=_METRICS,
        ),
    )

    def metric_settings(self) -> dict[str, Any]:
        """Return the arguments that `EvaluationSettings` takes from these."""
        by_label = dict(_tolerances(self.tolerance))
        return {
            "nsd_tolerance": by_label.pop("", 1.0),
            "nsd_tolerances": by_label,
            "surface": self.surface,
            "metrics": tuple(self.metrics),
            "lesion_dilation": self.lesion_dilation,
            "lesion_penalty": self.lesion_penalty,
            "lesion_volume": self.lesion_volume,
        }


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest(MetricRequest):
    """Two folders of masks to compare."""

    predictions: Folder = field(
        metadata=argument("folder of predicted masks", check=folder_or_file, metavar="PRED")
    )
    references: Folder = field(
        metadata=argument("folder of reference masks", check=folder_or_file, metavar="REF")
    )
    labels: Sequence[str] | Mapping[str, int | Sequence[int]] | None = field(
        default=None,
        metadata=option(
            "labels to evaluate; regions have several values: whole=1,2",
            nargs="+",
            check=_label_values,
            is_late=True,
            metavar="NAME=VALUE",
            one_of=_KIND,
        ),
    )
    dataset_json: Folder | None = field(
        default=None,
        metadata=option(
            "take the labels from nnU-Net's dataset.json",
            check=folder_or_file,
            metavar="FILE",
            one_of=_KIND,
        ),
    )
    instances: bool = field(
        default=False,
        metadata=option(
            "the masks of both folders number objects of one kind (those of a network do not)",
            one_of=_KIND,
        ),
    )
    ignore: int | None = field(
        default=None,
        metadata=option(
            "leave out voxels that have this value in the reference",
            check=_value,
            metavar="VALUE",
            section=_LABELS,
        ),
    )
    size_measure: str = field(
        default="diameter",
        metadata=option(
            "size of objects: equivalent diameter, or volume (in 2D area) (default: diameter)",
            choices=("diameter", "volume"),
            section=_METRICS,
        ),
    )
    size_cuts: Sequence[float] | None = field(
        default=None,
        metadata=option(
            "sizes that separate small from large objects (default: terciles of each label's "
            "reference objects)",
            nargs="+",
            check=_distances,
            metavar="SIZE",
            section=_METRICS,
        ),
    )
    matching_iou: float = field(
        default=0.5,
        metadata=option(
            "intersection over union above which two objects match (default: 0.5)",
            check=_distance,
            metavar="IOU",
            section=_METRICS,
        ),
    )
    spacing: Sequence[float] | None = field(
        default=None,
        metadata=option(
            "voxel size of PNG and TIFF files, which store none, in the order z y x",
            nargs="+",
            check=_distances,
            metavar="MM",
            section=_METRICS,
        ),
    )
    rois: Sequence[str] = field(
        default=(),
        metadata=option(
            "names of the ROIs or segments of a label, such as tumour=GTV*, or a JSON file of "
            "these (default: the name of the label)",
            nargs="+",
            check=texts,
            is_late=True,
            metavar="LABEL=PATTERN",
            section=_DICOM,
        ),
    )
    rois_may_lack: bool = field(
        default=False,
        metadata=option("a label without a ROI has no voxel in that case", section=_DICOM),
    )
    key: Folder | None = field(
        default=None,
        metadata=option(
            "key file that umamba predict wrote (default: beside the folder of predictions)",
            check=folder_or_file,
            metavar="FILE",
            section=_DICOM,
        ),
    )
    study: Folder | None = field(
        default=None,
        metadata=option(
            "folder of the series from which predictions were made, if these and the references "
            "are both DICOM",
            check=folder_or_file,
            metavar="DIR",
            section=_DICOM,
        ),
    )
    workers: int | None = field(
        default=None,
        metadata=option("cases at a time (default: one per core)", check=positive, metavar="N"),
    )
