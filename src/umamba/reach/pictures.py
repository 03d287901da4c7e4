"""Synthetic pictures in which a far marker decides the label of an object, made by a seed.

A picture has lanes. In each lie an object and two markers on both of its sides, at the same
distance along the last axis: a bright and a dark one. The label of the object says which of the two
is on the left. Nothing else tells it:

- Every object looks the same, and is farther from its markers than their sizes.
- Every lane has one bright and one dark marker whatever its label, so that means, variances and
  histograms are the same, of a lane as of the picture. Instance norms, global pooling, and
  attention without a sense of position see no difference.
- Half of the lanes have either label, and lanes lie anywhere along the axis before the last, on
  which the picture is a torus: that a bright marker is near a corner, which padding gives away,
  says little about an object elsewhere.

The markers are labelled, too, by their own brightness. This is the control: the same pictures,
network and training, but a label that can be seen where it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from umamba.errors import UMambaError

__all__ = ["CONTROL", "N_CLASSES", "OBJECTS", "LongRangeTask", "Picture", "draw_picture"]

BRIGHT_LEFT, DARK_LEFT, BRIGHT, DARK = 1, 2, 3, 4
OBJECTS, CONTROL = (BRIGHT_LEFT, DARK_LEFT), (BRIGHT, DARK)
N_CLASSES = 5  # the background among them

_BRIGHTNESS = {BRIGHT: 1.0, DARK: -1.0}
_OBJECT = 2.0

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LongRangeTask:
    """The size of the pictures and of what is in them, in voxels.

    Args:
        shape: Of a picture, in 2D or 3D; distances are along the last axis, lanes beside each other
            on the axis before it.
        distances: From the centre of an object to those of its markers.
        lanes: An even number.
        radius: Of objects and markers, which are balls.
        noise: Standard deviation of the background; a marker has a contrast of 1.

    Raises:
        UMambaError: If something does not fit into the picture.
    """

    shape: tuple[int, ...]
    distances: tuple[int, ...]
    lanes: int = 4
    radius: int = 3
    noise: float = 0.3

    def __post_init__(self) -> None:
        least, most = 2 * self.radius + 2, self.largest_distance
        for distance in self.distances:
            if not least <= distance <= most:
                msg = (
                    f"distance {distance} does not fit: an object and its markers would overlap or "
                    f"leave the patch of {self.shape[-1]} voxels; give {least} to {most}"
                )
                raise UMambaError(msg)
        size = 2 * self.radius + 1
        if self.lanes % 2 or min((*self.shape[:-2], self.shape[-2] // self.lanes)) < size:
            msg = (
                f"{self.lanes} lanes do not fit into a patch of {list(self.shape)}; give an even "
                f"number, and a patch with {size} voxels for each and along every other axis"
            )
            raise UMambaError(msg)

    @property
    def largest_distance(self) -> int:
        """The largest distance at which an object and both markers fit into a picture."""
        return (self.shape[-1] - 1) // 2 - self.radius


@dataclass(frozen=True)
class Picture:
    """A picture, of shape (1, *shape), and its labels, (*shape)."""

    image: Array
    labels: Labels


def draw_picture(
    task: LongRangeTask,
    rng: np.random.Generator,
    distance: int | None = None,
    *,
    swapped: bool = False,
    centred: bool = False,
) -> Picture:
    """Draw a picture.

    Args:
        task: The sizes.
        rng: The source of all that is random.
        distance: That of all markers; `None` draws one of the task's for each lane.
        swapped: Whether every object has the other label, with its markers exchanged, and all else
            is the same.
        centred: Whether the object of the last lane lies in the centre.
    """
    labels = rng.permutation([OBJECTS[lane % 2] for lane in range(task.lanes)])
    image = rng.normal(0, task.noise, task.shape).astype(np.float32)
    mask = np.zeros(task.shape, dtype=np.int64)
    height = task.shape[-2] // task.lanes
    across = 0
    for lane, label in enumerate(labels):
        far = int(rng.choice(task.distances)) if distance is None else distance
        across = height * lane + task.radius + int(rng.integers(height - 2 * task.radius))
        depth = [task.radius + int(rng.integers(n - 2 * task.radius)) for n in task.shape[:-2]]
        edge = task.radius + far
        along = edge + int(rng.integers(task.shape[-1] - 2 * edge))
        if centred and lane == task.lanes - 1:
            depth, along = [n // 2 for n in task.shape[:-2]], task.shape[-1] // 2
        shown = OBJECTS[1 - OBJECTS.index(label)] if swapped else label
        left, right = CONTROL if shown == BRIGHT_LEFT else CONTROL[::-1]
        _stamp(image, mask, (*depth, across, along), task.radius, _OBJECT, int(shown))
        for at, marker in ((along - far, left), (along + far, right)):
            _stamp(image, mask, (*depth, across, at), task.radius, _BRIGHTNESS[marker], marker)
    turn = task.shape[-2] // 2 - across if centred else int(rng.integers(task.shape[-2]))
    image, mask = np.roll(image, turn, -2), np.roll(mask, turn, -2)
    return Picture(image[np.newaxis], mask)


def _stamp(
    image: Array, mask: Labels, centre: Sequence[int], radius: int, value: float, label: int
) -> None:
    """Put a ball into a picture and its labels."""
    steps = np.meshgrid(*[np.arange(-radius, radius + 1)] * len(centre), indexing="ij", sparse=True)
    inside = sum(step**2 for step in steps) <= radius**2
    box = tuple(slice(at - radius, at + radius + 1) for at in centre)
    image[box][inside] = value
    mask[box][inside] = label
