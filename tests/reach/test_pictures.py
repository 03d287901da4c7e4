"""The pictures: nothing but the order of far markers tells the label of an object."""

from collections import Counter

import numpy as np
import pytest

from umamba.errors import UMambaError
from umamba.reach.pictures import CONTROL, OBJECTS, LongRangeTask, Picture, draw_picture

TASKS = [LongRangeTask((64, 128), (8, 24, 48)), LongRangeTask((12, 32, 80), (8, 32), lanes=2)]
BRIGHT, DARK = CONTROL


def pair(task: LongRangeTask, seed: int) -> tuple[Picture, Picture]:
    """The same picture, and the one with all objects' labels exchanged."""
    return tuple(
        draw_picture(task, np.random.default_rng(seed), swapped=swapped)
        for swapped in (False, True)
    )


@pytest.mark.parametrize("task", TASKS, ids=["2d", "3d"])
@pytest.mark.parametrize("seed", range(3))
def test_statistics_do_not_tell_the_label(task: LongRangeTask, seed: int) -> None:
    one, other = pair(task, seed)
    mine, theirs = (np.isin(picture.labels, OBJECTS) for picture in (one, other))
    assert np.array_equal(mine, theirs)
    assert (one.labels[mine] != other.labels[mine]).all()
    # The same values, in every line along the distances: so the same mean, variance, histogram.
    assert np.array_equal(np.sort(one.image, axis=-1), np.sort(other.image, axis=-1))
    counts = Counter(one.labels[mine].tolist())
    assert counts[OBJECTS[0]] == counts[OBJECTS[1]] > 0


@pytest.mark.parametrize("distance", [8, 20])
def test_near_windows_do_not_tell_the_label(distance: int) -> None:
    """Lines too short to hold an object and its marker are the same, if in other places."""
    task = LongRangeTask((32, 64), (distance,), lanes=2, noise=0)

    def windows(picture: Picture, width: int) -> list[Counter[bytes]]:
        wide = np.pad(picture.image[0], ((0, 0), (width, width)))
        cut = np.lib.stride_tricks.sliding_window_view(wide, width, axis=1)
        return [Counter(window.tobytes() for window in line) for line in cut]

    one, other = pair(task, 5)
    widest = distance - 2 * task.radius
    assert windows(one, widest) == windows(other, widest)
    pairs = zip(windows(one, widest + 1), windows(other, widest + 1), strict=True)
    assert sum(mine != theirs for mine, theirs in pairs) == task.lanes  # the middles of the balls


@pytest.mark.parametrize("task", TASKS, ids=["2d", "3d"])
def test_the_order_of_the_markers_at_the_distance_tells_the_label(task: LongRangeTask) -> None:
    for seed, distance in enumerate(task.distances):
        picture = draw_picture(task, np.random.default_rng(seed), distance)
        inside = np.argwhere(np.isin(picture.labels, OBJECTS))
        assert len(inside)
        for place in inside:
            left, right = place.copy(), place.copy()
            left[-1] -= distance
            right[-1] += distance
            order = picture.labels[tuple(left)], picture.labels[tuple(right)]
            label = picture.labels[tuple(place)]
            assert order == ((BRIGHT, DARK) if label == OBJECTS[0] else (DARK, BRIGHT))


@pytest.mark.parametrize("task", TASKS, ids=["2d", "3d"])
def test_markers_and_objects_look_like_their_labels(task: LongRangeTask) -> None:
    picture = draw_picture(task, np.random.default_rng(0))
    image = picture.image[0]
    assert image.shape == picture.labels.shape == task.shape
    assert image.dtype == np.float32
    assert set(image[picture.labels == BRIGHT]) == {1}
    assert set(image[picture.labels == DARK]) == {-1}
    assert set(image[np.isin(picture.labels, OBJECTS)]) == {2}
    background = image[picture.labels == 0]
    assert background.std() == pytest.approx(task.noise, rel=0.1)
    sizes = Counter(picture.labels.flat)
    assert sizes[BRIGHT] == sizes[DARK] == sizes[OBJECTS[0]] + sizes[OBJECTS[1]]


@pytest.mark.parametrize("task", TASKS, ids=["2d", "3d"])
def test_an_object_can_be_in_the_centre(task: LongRangeTask) -> None:
    picture = draw_picture(task, np.random.default_rng(1), max(task.distances), centred=True)
    middle = tuple(size // 2 for size in task.shape)
    assert picture.labels[middle] in OBJECTS
    rim = [list(middle) for _ in range(2)]
    rim[0][-1] -= task.radius
    rim[1][-1] += task.radius + 1
    assert [picture.labels[tuple(place)] in OBJECTS for place in rim] == [True, False]


def test_every_place_and_label_occurs() -> None:
    task, rng = LongRangeTask((16, 40), (8,), lanes=2, radius=2), np.random.default_rng(0)
    labels = np.array([draw_picture(task, rng).labels for _ in range(400)])
    for label in (*OBJECTS, *CONTROL):
        rows = (labels == label).sum(axis=(0, 2))
        assert rows.min() > 0.7 * rows.mean()  # a torus: no row is special


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distances": (7,)}, "distance 7 does not fit: .* give 8 to 60"),
        ({"distances": (8, 61)}, "distance 61 does not fit: .* patch of 128 voxels"),
        ({"lanes": 3}, "3 lanes do not fit"),
        ({"lanes": 10}, r"10 lanes do not fit into a patch of \[64, 128\]"),
        ({"shape": (6, 64, 128)}, r"4 lanes do not fit into a patch of \[6, 64, 128\]"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UMambaError, match=message):
        LongRangeTask(**({"shape": (64, 128), "distances": (8,)} | changes))


def test_the_largest_distance_fits() -> None:
    task = LongRangeTask((64, 128), (8,))
    largest = LongRangeTask((64, 128), (task.largest_distance,))
    draw_picture(largest, np.random.default_rng(0))
