"""Settings of an evaluation: everything except the masks that its numbers depend on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from umamba.errors import EvaluationError
from umamba.evaluation.instances import SizeMeasure
from umamba.evaluation.surfaces import SurfaceDefinition

__all__ = ["EvaluationSettings", "check_cut_points"]


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings that the numbers depend on; sizes are in the unit of the spacing.

    Args:
        nsd_tolerance: Distance up to which surfaces agree, for labels not in `nsd_tolerances`.
            A good choice is the distance between the contours of two readers (Nikolov et al. 2021).
        nsd_tolerances: Tolerances by label.
        size_measure: Measure of the size of objects: equivalent diameter or volume.
        size_cut_points: Limits between small and large objects, ascending, by label; labels
            without any have one score for all sizes.
        matching_iou: Intersection over union above which two objects match.
        ignore: The value in the reference that marks voxels to leave out.
        surface: Definition of surfaces; see `umamba.evaluation.surfaces`.
        metrics: Names of metrics to measure in addition to the standard ones.
        lesion_dilation: Voxels by which `lesion_dice` and `lesion_hd95` dilate reference lesions
            before joining those that touch, and before matching them with predictions.
        lesion_penalty: HD95 that counts for a lesion missed or falsely predicted.
        lesion_volume: Volume up to which reference lesions are not scored there.

    Raises:
        EvaluationError: If a number is out of range.
    """

    nsd_tolerance: float = 1.0
    nsd_tolerances: Mapping[str, float] = field(default_factory=dict)
    size_measure: SizeMeasure = "diameter"
    size_cut_points: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    matching_iou: float = 0.5
    ignore: int | None = None
    surface: SurfaceDefinition = "surface-distance"
    metrics: tuple[str, ...] = ()
    lesion_dilation: int = 3
    lesion_penalty: float = 374.0
    lesion_volume: float = 0.0

    def __post_init__(self) -> None:
        for tolerance in (self.nsd_tolerance, *self.nsd_tolerances.values()):
            if not 0 <= tolerance < math.inf:
                msg = f"the tolerance {tolerance} is not a distance: give 0 or more"
                raise EvaluationError(msg)
        if not 0 <= self.matching_iou < 1:
            msg = (
                f"the IoU {self.matching_iou} for matches is out of range: give 0 or more, below 1"
            )
            raise EvaluationError(msg)
        lesions = self.lesion_dilation, self.lesion_penalty, self.lesion_volume
        if not all(0 <= value < math.inf for value in lesions):
            msg = f"dilation, penalty and volume of lesions are {lesions}: give 0 or more for each"
            raise EvaluationError(msg)
        for cut_points in self.size_cut_points.values():
            check_cut_points(cut_points)

    def to_dict(self) -> dict[str, object]:
        """Return the settings in a form that JSON can hold."""
        cuts = {label: list(cuts) for label, cuts in self.size_cut_points.items()}
        return asdict(self) | {"size_cut_points": cuts, "metrics": list(self.metrics)}


def check_cut_points(cut_points: Sequence[float]) -> None:
    """Check the cut points between small and large objects.

    Raises:
        EvaluationError: If the sizes are not positive and ascending.
    """
    steps = zip((0.0, *cut_points), (*cut_points, math.inf), strict=True)
    if not all(low < high for low, high in steps):
        msg = f"the cut points {list(cut_points)} of object sizes must be positive and ascending"
        raise EvaluationError(msg)
