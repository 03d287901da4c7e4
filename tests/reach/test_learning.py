"""A network learns the objects whose markers its kernel reaches, and no others."""

import pytest
import torch
from torch import nn

from umamba.reach.learning import Schooling, dice_by_distance, teach
from umamba.reach.pictures import N_CLASSES, LongRangeTask

TASK = LongRangeTask((6, 32), (4, 10), lanes=2, radius=1)
SCHOOLING = Schooling(steps=100, batch_size=4, learning_rate=2e-2)


def one_layer(reach: int) -> nn.Module:
    """One that sees so far along the distances, and has an instance norm, which sees everything."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, (3, 2 * reach + 1), padding=(1, reach)),
        nn.InstanceNorm2d(16, affine=True),
        nn.ReLU(),
        nn.Conv2d(16, N_CLASSES, 1),
    )


def test_it_fails_beyond_its_reach_only() -> None:
    network = one_layer(reach=6)
    loss = teach(network, TASK, SCHOOLING, seed=0)
    found = dice_by_distance(network, TASK, n_pictures=8)
    objects = {distance: dice for distance, (dice, _) in found.items()}
    control = {distance: dice for distance, (_, dice) in found.items()}
    assert objects[4] > 0.9
    assert objects[10] < 0.65
    assert min(control.values()) > 0.7
    assert 0 < loss < 0.5


def test_the_seed_decides() -> None:
    losses = [
        teach(one_layer(1), TASK, Schooling(steps=3, batch_size=1), seed) for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


class Oracle(nn.Module):
    """It returns labels that are exactly right, or objects whose labels are all the first."""

    def __init__(self, *, knows: bool) -> None:
        super().__init__()
        self.knows = knows

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {2.0: 1, 1.0: 3, -1.0: 4}
        labels = torch.zeros(x.shape, dtype=torch.long)
        for value, label in values.items():
            labels[x == value] = label
        if self.knows:
            left = torch.stack([x.roll(d, -1) for d in TASK.distances])
            labels[(labels == 1) & (left == -1.0).any(0)] = 2
        return nn.functional.one_hot(labels[:, 0], N_CLASSES).movedim(-1, 1).float()


@pytest.mark.parametrize(("knows", "dice"), [(True, 1.0), (False, 1 / 3)])
def test_dice_is_that_of_the_voxels(knows: bool, dice: float) -> None:
    found = dice_by_distance(Oracle(knows=knows), TASK, n_pictures=3)
    assert found == {4: pytest.approx((dice, 1.0)), 10: pytest.approx((dice, 1.0))}
