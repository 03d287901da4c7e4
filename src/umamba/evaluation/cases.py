"""Evaluation of one case: overlap, surfaces and objects of every label and region."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.errors import EvaluationError
from umamba.evaluation.froc import LesionScores, lesion_scores
from umamba.evaluation.instances import (
    ObjectMatches,
    ObjectOverlaps,
    overlaps_by_label,
    score_by_size,
)
from umamba.evaluation.label_masks import LabelledImage, LabelMasks, bounding_box
from umamba.evaluation.layers import disjoint_layers, paint
from umamba.evaluation.metrics import measure
from umamba.evaluation.probabilities import Labels, Probabilities
from umamba.evaluation.settings import EvaluationSettings
from umamba.evaluation.voxel_counts import Emptiness

__all__ = [
    "OBJECT",
    "CaseEvaluation",
    "LabelEvaluation",
    "Labels",
    "evaluate_case",
]

Array = npt.NDArray[Any]

# The only label if masks number objects.
OBJECT = "object"


@dataclass(frozen=True)
class LabelEvaluation:
    """One label or region in one case.

    Attributes:
        metrics: Metrics by the names in `METRICS`; NaN where undefined.
        empty: Name of the empty mask, if one is empty.
        reference_volume: Volume in mm^3 or pixels; an area in 2D.
        prediction_volume: The same for the prediction.
        objects: The single objects; their scores by size are `CaseEvaluation.instance_records`.
        lesions: Scores of the lesions for FROC; `None` if probabilities are unknown.
    """

    label: str
    metrics: Mapping[str, float]
    empty: Emptiness | None
    reference_volume: float
    prediction_volume: float
    objects: ObjectMatches
    lesions: LesionScores | None = None


@dataclass(frozen=True)
class CaseEvaluation:
    """All labels of one case, in the order given."""

    labels: tuple[LabelEvaluation, ...]

    def case_records(self) -> list[dict[str, Any]]:
        """Return a row per label in a form for JSON: undefined values are `None`."""
        return [
            {
                "label": label.label,
                "metrics": {name: _or_none(value) for name, value in label.metrics.items()},
                "empty": label.empty,
                "reference_volume": label.reference_volume,
                "prediction_volume": label.prediction_volume,
            }
            for label in self.labels
        ]

    def instance_records(self, settings: EvaluationSettings) -> list[dict[str, Any]]:
        """Return a row per label and object size: `label` and the fields of `InstanceScore`."""
        return [
            {"label": label.label, **{k: _or_none(v) for k, v in asdict(score).items()}}
            for label in self.labels
            for score in score_by_size(
                label.objects,
                settings.size_cut_points.get(label.label, ()),
                settings.size_measure,
            )
        ]


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def evaluate_case(
    prediction: Array,
    reference: Array,
    spacing: Sequence[float],
    labels: Labels | None,
    settings: EvaluationSettings | None = None,
    probabilities: Probabilities | None = None,
) -> CaseEvaluation:
    """Compare a prediction with its reference.

    An axis of length 1 is dropped along with its spacing: a single slice counts as a 2D image, and
    its volumes are areas.

    Args:
        prediction: Labels, as integers or booleans; 2D or 3D.
        reference: The same for the reference, of the same shape.
        spacing: Distance between voxels along each axis of the arrays.
        labels: Value or, for a region, values of each label, by name; `None` if the masks number
            single objects of one kind, which are then called `OBJECT`.
        settings: Settings of the metrics; by default those of `EvaluationSettings()`.
        probabilities: Probabilities of the labels, for metrics that need them.

    Returns:
        The evaluation of all labels; objects are connected components unless numbered.

    Raises:
        EvaluationError: If shapes, types or the spacing do not fit together.
    """
    settings = settings or EvaluationSettings()
    prediction, reference, steps = _as_image(prediction, reference, spacing)
    ignored = None
    if settings.ignore is not None:
        ignored = reference == settings.ignore
        prediction, reference = (
            np.where(ignored, 0, array).astype(array.dtype) for array in (prediction, reference)
        )
    if labels is None:
        return CaseEvaluation((_evaluate_objects(prediction, reference, steps, settings),))
    found: dict[str, LabelEvaluation] = {}
    known = None
    if probabilities is not None:
        known = partial(_probability, probabilities, reference.shape, ignored)
    for layer in disjoint_layers(labels):
        found |= _evaluate_layer(layer, prediction, reference, steps, settings, known)
    return CaseEvaluation(tuple(found[name] for name in labels))


def _as_image(
    prediction: Array, reference: Array, spacing: Sequence[float]
) -> tuple[Array, Array, tuple[float, ...]]:
    """Check the arrays, and drop an axis of length 1 from 3D ones."""
    if prediction.shape != reference.shape:
        msg = f"the prediction has the shape {prediction.shape}, the reference {reference.shape}"
        raise EvaluationError(msg)
    if reference.ndim not in (2, 3) or len(spacing) != reference.ndim:
        msg = (
            f"masks must be 2D or 3D, with one spacing per axis; these have the shape "
            f"{reference.shape} and the spacing {tuple(spacing)}"
        )
        raise EvaluationError(msg)
    if not all(0 < step < math.inf for step in spacing):
        msg = f"the spacing {tuple(spacing)} must be positive"
        raise EvaluationError(msg)
    for name, array in (("prediction", prediction), ("reference", reference)):
        if array.dtype.kind not in "bui":
            msg = f"the {name} is of type {array.dtype}, but labels must be integers"
            raise EvaluationError(msg)
    steps = tuple(float(step) for step in spacing)
    if reference.ndim == 2 or 1 not in reference.shape:
        return prediction, reference, steps
    axis = reference.shape.index(1)
    kept = steps[:axis] + steps[axis + 1 :]
    return prediction.squeeze(axis), reference.squeeze(axis), kept


def _probability(
    probabilities: Probabilities, shape: tuple[int, ...], ignored: Array | None, name: str
) -> Array:
    """Return the probability of a label, NaN where voxels are left out."""
    probability = probabilities.of(name).reshape(shape)
    return probability if ignored is None else np.where(ignored, np.nan, probability)


def _evaluate_layer(
    layer: Mapping[str, tuple[int, ...]],
    prediction: Array,
    reference: Array,
    spacing: tuple[float, ...],
    settings: EvaluationSettings,
    known: Callable[[str], Array] | None,
) -> dict[str, LabelEvaluation]:
    """Evaluate labels that do not overlap, all in one pass through the image.

    Args:
        layer: Values of the labels.
        prediction: The whole predicted image.
        reference: The whole reference.
        spacing: Distance between voxels along each axis.
        settings: Settings of the metrics.
        known: Returns the probability of a label for the whole image.
    """
    predicted, whole = (paint(array, layer.values()) for array in (prediction, reference))
    box = bounding_box((predicted > 0) | (whole > 0))
    predicted, referred = (np.ascontiguousarray(array[box]) for array in (predicted, whole))
    overlaps = overlaps_by_label(predicted, referred, len(layer))
    images = LabelledImage.pair(predicted, referred, settings.surface)
    found = {}
    for number, name in enumerate(layer, start=1):
        masks = LabelMasks(
            name, number, images, overlaps[number - 1], spacing, settings, whole.shape
        )
        if known is None:
            found[name] = _evaluation(masks)
            continue
        probability = known(name)
        evaluation = _evaluation(replace(masks, probability=probability[box]))
        lesions = lesion_scores(probability, whole == number)
        found[name] = replace(evaluation, lesions=lesions)
    return found


def _evaluate_objects(
    prediction: Array, reference: Array, spacing: tuple[float, ...], settings: EvaluationSettings
) -> LabelEvaluation:
    """Evaluate numbered objects one by one, and all together as one label."""
    shape = reference.shape
    box = bounding_box((prediction > 0) | (reference > 0))
    prediction, reference = prediction[box], reference[box]
    overlaps = ObjectOverlaps.of_numbered(prediction, reference)
    predicted, referred = ((array > 0).view(np.uint8) for array in (prediction, reference))
    images = LabelledImage.pair(predicted, referred, settings.surface)
    return _evaluation(LabelMasks(OBJECT, 1, images, overlaps, spacing, settings, shape))


def _evaluation(masks: LabelMasks) -> LabelEvaluation:
    objects = masks.objects
    return LabelEvaluation(
        label=masks.name,
        metrics=measure(masks),
        empty=masks.counts.empty,
        reference_volume=float(objects.reference_volumes.sum()),
        prediction_volume=float(objects.prediction_volumes.sum()),
        objects=objects,
    )
