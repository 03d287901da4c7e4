"""The grid of an image, onto which masks are read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.dicom.series import SeriesError
from umamba.images.contents import Geometry, numbers

__all__ = ["ImageGrid"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ImageGrid:
    """The voxels of an image.

    Attributes:
        geometry: Their place.
        shape: The number of them as (z, y, x).
        frame_of_reference: The FrameOfReferenceUID of the image; "" if it is not known.
    """

    geometry: Geometry
    shape: tuple[int, int, int]
    frame_of_reference: str = ""

    def indices(self, points: Array) -> Array:
        """Return points in mm as (column, row, slice), in voxels from the centre of the first."""
        axes = np.reshape(self.geometry.direction, (3, 3)) * self.geometry.spacing
        found: Array = np.linalg.solve(axes, (points - self.geometry.origin).T).T
        return found

    def check_frame(self, what: str, uid: object) -> None:
        """Check that something was drawn in the image's frame of reference, if both are known.

        Raises:
            SeriesError: If it was drawn in another one.
        """
        if uid and self.frame_of_reference and str(uid) != self.frame_of_reference:
            problem = f"{what} was drawn in another frame of reference than that of the image"
            fix = "pair it with the series on which it was drawn, or register it onto the image"
            raise SeriesError(problem, fix)

    def check_inside(self, what: str, places: Array) -> None:
        """Check that voxels are in the image.

        Args:
            what: Whose they are.
            places: Their numbers as (column, row, slice).

        Raises:
            SeriesError: If they are not.
        """
        if (places < 0).any() or (places >= self.shape[::-1]).any():
            problem = f"{what} has voxels outside of the image"
            raise SeriesError(problem, "pair it with the series on which it was drawn")

    def __str__(self) -> str:
        return f"{numbers(self.geometry.spacing)} mm from {numbers(self.geometry.origin)}"
