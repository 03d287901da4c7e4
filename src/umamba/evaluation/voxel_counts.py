"""Numbers of voxels that two masks hold and share."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Emptiness", "OverlapCounts"]

Emptiness = Literal["reference", "prediction", "both"]


@dataclass(frozen=True)
class OverlapCounts:
    """Numbers of voxels in both masks, in the prediction, and in the reference."""

    common: int
    prediction: int
    reference: int

    @property
    def empty(self) -> Emptiness | None:
        """Name of the empty mask: `prediction`, `reference`, `both`, or `None` if neither is."""
        if not self.reference:
            return "reference" if self.prediction else "both"
        return None if self.prediction else "prediction"
