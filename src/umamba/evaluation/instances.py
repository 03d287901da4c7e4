"""Single objects: those found and missed, by size, and how well those found are outlined."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from umamba.evaluation.voxel_counts import OverlapCounts

__all__ = [
    "ALL_SIZES",
    "InstanceScore",
    "ObjectMatches",
    "ObjectOverlaps",
    "SizeMeasure",
    "each_component",
    "find_components",
    "object_sizes",
    "overlaps_by_label",
    "score_by_size",
    "stratum_names",
    "tercile_cut_points",
]

Array = npt.NDArray[Any]
SizeMeasure = Literal["diameter", "volume"]

ALL_SIZES = "all"
_NAMES = {1: ("small", "large"), 2: ("small", "medium", "large")}


def find_components(mask: Array) -> Array:
    """Number the connected components from 1; voxels that share a corner count as connected.

    Args:
        mask: Booleans, or labels as unsigned integers; then each component has a single label.
    """
    import cc3d

    components: Array = cc3d.connected_components(mask, connectivity=3**mask.ndim - 1)
    return components


def each_component(mask: Array) -> Iterator[tuple[tuple[slice, ...], Array]]:
    """Yield the bounding box of every connected component, and the component in it.

    This way a few voxels far away cost no more than their own boxes.

    Args:
        mask: Booleans.
    """
    from scipy.ndimage import find_objects

    components = find_components(mask)
    for number, box in enumerate(find_objects(components), start=1):
        yield box, components[box] == number


@dataclass(frozen=True)
class ObjectMatches:
    """The objects of two masks, and the pairs that match.

    Attributes:
        reference_volumes: Volume of every reference object; areas in 2D.
        prediction_volumes: Volume of every predicted object.
        pairs: Reference object (first column) and predicted object of each match, (matches, 2).
        dice: Dice of every pair.
        n_dims: Number of dimensions of the image.
    """

    reference_volumes: Array
    prediction_volumes: Array
    pairs: Array
    dice: Array
    n_dims: int


@dataclass(frozen=True)
class ObjectOverlaps:
    """Numbers of voxels of objects, and of their overlaps with those of the other mask.

    Attributes:
        reference: Number of voxels of every reference object.
        prediction: Number of voxels of every predicted object.
        pairs: Reference object (first column) and predicted object of each overlap.
        common: Number of voxels that each pair shares.
    """

    reference: Array
    prediction: Array
    pairs: Array
    common: Array

    @classmethod
    def of_numbered(cls, prediction: Array, reference: Array) -> "ObjectOverlaps":
        """Count the voxels of the objects in two masks that number them; 0 is background."""
        predicted, prediction_counts = _count_values(prediction[prediction > 0])
        referred, reference_counts = _count_values(reference[reference > 0])
        both = (prediction > 0) & (reference > 0)
        columns = np.searchsorted(predicted, prediction[both])
        rows = np.searchsorted(referred, reference[both])
        codes, common = _count_values(rows * max(len(predicted), 1) + columns)
        pairs = np.stack(np.divmod(codes, max(len(predicted), 1)), axis=-1)
        return cls(reference_counts, prediction_counts, pairs, common)

    @property
    def counts(self) -> OverlapCounts:
        """Voxel counts of all objects together."""
        return OverlapCounts(
            int(self.common.sum()), int(self.prediction.sum()), int(self.reference.sum())
        )

    def match(self, voxel: float, matching_iou: float, n_dims: int) -> ObjectMatches:
        """Match predicted objects with reference objects, one to one.

        Pairs that overlap by more than `matching_iou` match, those with the highest IoU first.
        Above 0.5 no object has a second candidate, so the order does not matter.

        Args:
            voxel: Volume of a voxel.
            matching_iou: Intersection over union above which a pair may match.
            n_dims: Number of dimensions of the image.

        Source: Kirillov et al. 2019, arXiv:1801.00868; Maier-Hein et al. 2024, arXiv:2206.01653.
        """
        rows, columns = self.pairs[:, 0], self.pairs[:, 1]
        totals = self.reference[rows] + self.prediction[columns]
        iou = self.common / (totals - self.common)
        chosen, taken_rows, taken_columns = [], set[int](), set[int]()
        candidates = np.flatnonzero(iou > matching_iou)
        for index in candidates[np.argsort(-iou[candidates], kind="stable")]:
            row, column = int(rows[index]), int(columns[index])
            if row not in taken_rows and column not in taken_columns:
                chosen.append(index)
                taken_rows.add(row)
                taken_columns.add(column)
        best = np.array(chosen, np.intp)
        return ObjectMatches(
            reference_volumes=self.reference * voxel,
            prediction_volumes=self.prediction * voxel,
            pairs=self.pairs[best],
            dice=2 * self.common[best] / totals[best],
            n_dims=n_dims,
        )


def overlaps_by_label(prediction: Array, reference: Array, n_labels: int) -> list[ObjectOverlaps]:
    """Count the voxels of the connected components of every label in two images, and overlaps.

    Args:
        prediction: Labels from 1 to `n_labels` as unsigned integers, 0 where there is none.
        reference: The same for the reference, of the same shape.
        n_labels: Number of labels.
    """
    predicted, prediction_labels, prediction_counts = _components(prediction)
    referred, reference_labels, reference_counts = _components(reference)
    same = (prediction == reference) & (prediction > 0)
    n_columns = len(prediction_counts)
    codes, common = _add_counts(  # slice by slice, to save memory
        _count_values(rows[inside] * np.int64(n_columns) + columns[inside])
        for rows, columns, inside in zip(referred, predicted, same, strict=True)
    )
    pairs = np.stack(np.divmod(codes, n_columns), axis=-1)
    overlaps = []
    for label in range(1, n_labels + 1):
        rows, columns = (
            np.flatnonzero(labels == label) for labels in (reference_labels, prediction_labels)
        )
        own = reference_labels[pairs[:, 0]] == label
        renumbered = np.stack(
            [np.searchsorted(kept, pairs[own, side]) for side, kept in enumerate((rows, columns))],
            axis=-1,
        )
        overlaps.append(
            ObjectOverlaps(
                reference_counts[rows], prediction_counts[columns], renumbered, common[own]
            )
        )
    return overlaps


def _components(labelled: Array) -> tuple[Array, Array, Array]:
    """Number connected components from 1; also return the label and voxel count of each."""
    import cc3d

    if not labelled.size:  # for an image without any label, cc3d has no statistics
        return labelled, np.zeros(1, labelled.dtype), np.zeros(1, np.int64)
    components = find_components(labelled)
    counts = cc3d.statistics(components, no_slice_conversion=True)["voxel_counts"].astype(np.int64)
    labels = np.zeros(len(counts), labelled.dtype)
    for numbers, values in zip(components, labelled, strict=True):
        labels[numbers] = values
    return components, labels, counts


def _count_values(values: Array) -> tuple[Array, Array]:
    """Return the distinct values, ascending, and how often each occurs.

    Neighbouring voxels are mostly equal, so runs of equal values are counted as a whole.
    """
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.concatenate([[0], changes]) if values.size else changes
    return _add_counts([(values[starts], np.diff(starts, append=values.size))])


def _add_counts(counted: Iterable[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return the distinct values, ascending, and the sum of the counts of each."""
    nothing = np.zeros(0, np.int64)
    values, counts = zip(*list(counted) or [(nothing, nothing)], strict=True)
    different, places = np.unique(np.concatenate(values), return_inverse=True)
    total = np.bincount(places, np.concatenate(counts), len(different))
    return different, total.astype(np.int64)


def object_sizes(volumes: Array, measure: SizeMeasure, n_dims: int) -> Array:
    """Return volumes unchanged, or as diameters of balls (2D: discs) of the same volume."""
    if measure == "volume":
        return volumes
    if n_dims == 2:
        return 2 * np.sqrt(volumes / math.pi)
    return 2 * np.cbrt(3 * volumes / (4 * math.pi))


def tercile_cut_points(sizes: Array) -> tuple[float, ...]:
    """Return the two sizes that part objects into thirds; fewer if many have the same size."""
    if not len(sizes):
        return ()
    terciles = np.unique(np.quantile(sizes, [1 / 3, 2 / 3]))
    return tuple(float(size) for size in terciles if size > sizes.min())


def stratum_names(n_cut_points: int) -> tuple[str, ...]:
    """Name the groups between cut points, from the smallest objects up."""
    if n_cut_points == 0:
        return ()
    numbered = tuple(f"size_{n}" for n in range(1, n_cut_points + 2))
    return _NAMES.get(n_cut_points, numbered)


@dataclass(frozen=True)
class InstanceScore:
    """Scores of the objects of one size: how well they were found and outlined.

    Attributes:
        stratum: Name of the size; `ALL_SIZES` for all objects.
        n_reference: Number of reference objects.
        n_prediction: Number of predicted objects: partners of these, and those without a partner.
        n_matched: Number of pairs.
        f1: 2 * matched / (reference + prediction); NaN if there are no objects.
        dice: Mean Dice of the pairs, NaN without any: how well the objects found are outlined. It
            says nothing about missed ones, so read it together with `f1`; their product is the
            panoptic quality with Dice in place of IoU.
    """

    stratum: str
    n_reference: int
    n_prediction: int
    n_matched: int
    f1: float
    dice: float


def score_by_size(
    matches: ObjectMatches, cut_points: Sequence[float], measure: SizeMeasure
) -> list[InstanceScore]:
    """Score all objects together, and those of each size.

    A pair belongs to the size of its reference object, a predicted object without a partner to its
    own size: an object found too large does not become a false positive among larger ones.

    Args:
        matches: Matches of one label in one image.
        cut_points: In ascending order; an object as large as a cut point belongs above it.
        measure: Measure of the cut points, in mm or mm^3 (pixels without spacing; areas in 2D).

    Source: the strata follow Lin et al. 2014, arXiv:1405.0312; F1 and Dice are the recognition
    and segmentation quality of Kirillov et al. 2019, arXiv:1801.00868.
    """
    edges = np.asarray(cut_points, float)
    strata = np.searchsorted(
        edges, object_sizes(matches.reference_volumes, measure, matches.n_dims), side="right"
    )
    predicted = np.searchsorted(
        edges, object_sizes(matches.prediction_volumes, measure, matches.n_dims), side="right"
    )
    of_pairs = strata[matches.pairs[:, 0]]
    predicted[matches.pairs[:, 1]] = of_pairs
    return [
        _score(ALL_SIZES, len(strata), len(predicted), matches.dice),
        *(
            _score(
                name,
                int((strata == index).sum()),
                int((predicted == index).sum()),
                matches.dice[of_pairs == index],
            )
            for index, name in enumerate(stratum_names(len(edges)))
        ),
    ]


def _score(stratum: str, n_reference: int, n_prediction: int, dice: Array) -> InstanceScore:
    n_matched, n_objects = len(dice), n_reference + n_prediction
    return InstanceScore(
        stratum=stratum,
        n_reference=n_reference,
        n_prediction=n_prediction,
        n_matched=n_matched,
        f1=2 * n_matched / n_objects if n_objects else math.nan,
        dice=float(dice.mean()) if n_matched else math.nan,
    )
