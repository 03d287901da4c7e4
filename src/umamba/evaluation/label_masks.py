"""Two masks of one label, and the quantities that metrics need, each computed once on demand."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from umamba.evaluation.instances import ObjectMatches, ObjectOverlaps, overlaps_by_label
from umamba.evaluation.settings import EvaluationSettings
from umamba.evaluation.surfaces import (
    DEFINITIONS,
    BorderVoxels,
    LabelSurfaces,
    SurfaceDefinition,
    SurfaceDistances,
    measure_distances,
)
from umamba.evaluation.voxel_counts import OverlapCounts

__all__ = ["LabelMasks", "LabelledImage", "bounding_box"]

Array = npt.NDArray[Any]
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image of numbered labels, whose surfaces are all found in one pass.

    Attributes:
        labels: Unsigned integers, 2D or 3D, 0 where there is no label.
        definition: Definition of surfaces.
    """

    labels: Array
    definition: SurfaceDefinition

    @classmethod
    def pair(
        cls, prediction: Array, reference: Array, definition: SurfaceDefinition
    ) -> "tuple[LabelledImage, LabelledImage]":
        """Return a prediction and its reference, with surfaces of the same kind."""
        return cls(prediction, definition), cls(reference, definition)

    @cached_property
    def surfaces(self) -> LabelSurfaces | BorderVoxels:
        """The surfaces of all labels."""
        return DEFINITIONS[self.definition](self.labels)


@dataclass(frozen=True, eq=False)
class LabelMasks:
    """The predicted mask and the reference mask of one label.

    Attributes:
        name: Name of the label.
        number: Number of the label in both images.
        images: The predicted image, and the reference, of the same shape.
        overlaps: Objects of the label in both, and their overlaps.
        spacing: Distance between voxels along each axis.
        settings: Settings of the metrics.
        image_shape: Shape of the whole image, of which the two may be the part that holds labels.
        probability: Probability of the label in each voxel, NaN where voxels are left out; `None`
            if unknown.
    """

    name: str
    number: int
    images: tuple[LabelledImage, LabelledImage]
    overlaps: ObjectOverlaps
    spacing: tuple[float, ...]
    settings: EvaluationSettings
    image_shape: tuple[int, ...]
    probability: Array | None = None
    _found: dict[Callable[..., Any], Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of_booleans(
        cls,
        prediction: Array,
        reference: Array,
        spacing: Sequence[float],
        settings: EvaluationSettings,
    ) -> "LabelMasks":
        """Return the masks of a label without a name, from two boolean masks."""
        predicted, referred = prediction.view(np.uint8), reference.view(np.uint8)
        (overlaps,) = overlaps_by_label(predicted, referred, 1)
        images = LabelledImage.pair(predicted, referred, settings.surface)
        return cls("", 1, images, overlaps, tuple(spacing), settings, reference.shape)

    def once(self, find: Callable[["LabelMasks"], Found]) -> Found:
        """Return the result of a function of these masks, which is called only the first time."""
        if find not in self._found:
            self._found[find] = find(self)
        found: Found = self._found[find]
        return found

    @cached_property
    def counts(self) -> OverlapCounts:
        """Voxel counts of both masks."""
        return self.overlaps.counts

    @cached_property
    def objects(self) -> ObjectMatches:
        """The single objects of both masks, matched."""
        return self.overlaps.match(
            math.prod(self.spacing), self.settings.matching_iou, len(self.spacing)
        )

    @cached_property
    def distances(self) -> SurfaceDistances | None:
        """The distances between both surfaces; `None` if a mask is empty."""
        if self.counts.empty is not None:
            return None
        first, second = (image.surfaces.surface(self.number, self.spacing) for image in self.images)
        return measure_distances(first, second, self.settings.surface)

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """The smallest box that holds both masks."""
        prediction, reference = (image.labels == self.number for image in self.images)
        return bounding_box(prediction | reference)

    @cached_property
    def booleans(self) -> tuple[Array, Array]:
        """Both masks within the box; everything beyond it is outside."""
        prediction, reference = (image.labels[self.box] == self.number for image in self.images)
        return prediction, reference

    @property
    def nsd_tolerance(self) -> float:
        """Distance up to which surfaces of this label agree."""
        return self.settings.nsd_tolerances.get(self.name, self.settings.nsd_tolerance)


def bounding_box(mask: Array) -> tuple[slice, ...]:
    """Return the smallest box that contains a mask; an empty box if the mask is empty."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        places = np.flatnonzero(mask.any(axis=others))
        box.append(slice(places[0], places[-1] + 1) if places.size else slice(0))
    return tuple(box)
