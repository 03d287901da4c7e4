"""Metrics of the distances between the surfaces of two masks."""

import math

from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.metric import Metric

__all__ = ["ASSD", "HD95", "NSD"]


def _nsd(masks: LabelMasks) -> float:
    if masks.distances is None:
        return math.nan if masks.counts.empty == "both" else 0.0
    return masks.distances.within(masks.nsd_tolerance)


def _hd95(masks: LabelMasks) -> float:
    return math.nan if masks.distances is None else masks.distances.hausdorff(95.0)


def _assd(masks: LabelMasks) -> float:
    return math.nan if masks.distances is None else masks.distances.average()


NSD = Metric(
    name="nsd",
    title="NSD",
    measure=_nsd,
    definition=(
        "Normalised surface distance, or surface Dice: the share of both surfaces that is within "
        "`--tolerance` of the other surface."
    ),
    source="Nikolov et al. 2021, doi:10.2196/26151",
    empty="one: 0; both: undefined, or as `--empty` says",
    is_overlap=True,
    of_surfaces=True,
)
HD95 = Metric(
    name="hd95",
    title="HD95",
    measure=_hd95,
    definition=(
        "95th percentile of the Hausdorff distance: the distance from the other surface within "
        "which 95 % of a surface lies; the larger value of both directions."
    ),
    source="Maier-Hein et al. 2024, arXiv:2206.01653",
    empty="one or both: undefined",
    unit="length",
    higher_is_better=False,
    decimals=2,
    of_surfaces=True,
)
ASSD = Metric(
    name="assd",
    title="ASSD",
    measure=_assd,
    definition="Average symmetric surface distance: the mean distance over both surfaces.",
    source="Heimann et al. 2009, doi:10.1109/TMI.2009.2013851",
    empty="one or both: undefined",
    unit="length",
    higher_is_better=False,
    decimals=2,
    of_surfaces=True,
)
