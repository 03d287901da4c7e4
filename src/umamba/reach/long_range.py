"""Train networks on tasks that need a long range; what is finished is kept and not repeated."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import nn

from umamba.errors import UMambaError
from umamba.reach.gradients import field_sizes, gradient_map
from umamba.reach.learning import Schooling, dice_by_distance, picture_batch, teach
from umamba.reach.long_range_results import LongRangeResult, Maps, Trial
from umamba.reach.networks import initial_network
from umamba.reach.pictures import N_CLASSES, LongRangeTask
from umamba.reach.requests import LongRangeRequest, NetworkName
from umamba.registry import find_architecture
from umamba.system.atomic_files import make_folder, whole_file, write_whole
from umamba.system.json_files import load_json
from umamba.system.progress import CaseProgress
from umamba.system.run_lock import only_process

__all__ = ["Size", "measure_long_range"]

log = logging.getLogger(__name__)

_FINISHED = "trainings"  # the folder of what is finished
_FIELD_PICTURES = 8


@dataclass(frozen=True)
class Size:
    """Sizes of pictures, networks and trainings for one number of image axes.

    Attributes:
        shape: Voxels of a picture.
        lanes: Objects in it.
        radius: Of objects and markers, in voxels.
        features: Channels of the networks per stage; the last is also for further stages.
        batch_size: Pictures in a step.
        test_pictures: Pictures for each distance that the networks are tested on.
    """

    shape: tuple[int, ...]
    lanes: int
    radius: int
    features: tuple[int, ...]
    batch_size: int
    test_pictures: int


_SIZES = {
    2: Size((32, 128), lanes=4, radius=3, features=(8, 16, 32), batch_size=4, test_pictures=16),
    3: Size((8, 16, 112), lanes=2, radius=3, features=(8, 16, 32), batch_size=4, test_pictures=16),
}


@dataclass(frozen=True)
class _Cell:
    """A training that is to be done: a network, pictures and a seed."""

    network: NetworkName
    seed: int
    task: LongRangeTask
    schooling: Schooling
    size: Size

    @property
    def dim(self) -> int:
        return len(self.task.shape)

    @property
    def name(self) -> str:
        """Return its name in files."""
        model, stages = self.network
        return f"{self.dim}d-{model}-{stages}-seed{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """Return all that the result depends on besides the network and the seed, as in JSON."""
        parts = asdict(self.task) | asdict(self.schooling) | asdict(self.size)
        return {key: list(part) if isinstance(part, tuple) else part for key, part in parts.items()}


def measure_long_range(
    request: LongRangeRequest, sizes: Mapping[int, Size] | None = None
) -> LongRangeResult:
    """Do the trainings that are not finished in the output folder, and return all results.

    Args:
        request: Networks, pictures and trainings.
        sizes: Sizes by number of image axes; by default those of the command.

    Raises:
        UMambaError: If a network does not exist for such pictures, or the folder holds results with
            other settings.
    """
    cells = _cells(request, sizes or _SIZES)
    output = Path(request.output)
    make_folder(output / _FINISHED)
    with only_process(output, "give another --output", inside=True):
        trials = {cell.name: _read(cell, output / _FINISHED) for cell in cells}
        left = [cell for cell in cells if trials[cell.name] is None]
        for cell in left:
            _build(cell)  # fails before hours of work
        progress = CaseProgress(len(left), "training")
        for number, cell in enumerate(left, start=1):
            where = progress.at(number, done=number - 1, left=len(left) - number + 1)
            log.info("%s: %dD %s:%s", where, cell.dim, *cell.network)
            _write(*_train(cell), cell, output / _FINISHED)
            trials[cell.name] = _read(cell, output / _FINISHED)
    return LongRangeResult(
        tuple(filter(None, trials.values())),
        {cell.dim: cell.settings for cell in cells},
    )


def _cells(request: LongRangeRequest, sizes: Mapping[int, Size]) -> list[_Cell]:
    """Return all trainings, the first seed of all networks first."""
    names = [NetworkName.parse(name) for name in request.models]
    networks = dict.fromkeys(
        NetworkName(name.model, name.n_stages or request.stages) for name in names
    )
    cells = []
    for dim in request.dims:
        size = sizes[dim]
        task = _task(request.distances, size)
        schooling = Schooling(request.steps, size.batch_size)
        cells += [
            _Cell(network, seed, task, schooling, size)
            for seed in range(request.seeds)
            for network in networks
        ]
    return cells


def _task(distances: Sequence[int], size: Size) -> LongRangeTask:
    """Return pictures of the distances that fit, at least of the shortest; tell of the others."""
    shortest, *further = sorted(set(distances))
    task = LongRangeTask(size.shape, (shortest,), size.lanes, size.radius)
    fitting = [distance for distance in further if distance <= task.largest_distance]
    if too_far := further[len(fitting) :]:
        shape = " x ".join(map(str, size.shape))
        sys.stderr.write(
            f"{len(size.shape)}D pictures of {shape} voxels leave out distances of more than "
            f"{task.largest_distance}: {', '.join(map(str, too_far))}\n"
        )
    return LongRangeTask(size.shape, (shortest, *fitting), size.lanes, size.radius)


def _build(cell: _Cell) -> nn.Module:
    """Return the network of a cell, with initial weights."""
    model = cell.network.model
    if not find_architecture(model).topology.follows_plan:
        msg = (
            f"{model} has stages and widths of its own, so that it cannot be compared with small "
            "networks of others; leave it out"
        )
        raise UMambaError(msg)
    return initial_network(
        model,
        cell.task.shape,
        n_stages=cell.network.n_stages,
        features=cell.size.features,
        num_classes=N_CLASSES,
        seed=cell.seed,
    ).network


def _train(cell: _Cell) -> tuple[Trial, Maps]:
    """Train a network, and return what came of it, and the maps before and after."""
    network = _build(cell)
    rng = np.random.default_rng(cell.seed)
    images, _ = picture_batch(cell.task, rng, _FIELD_PICTURES, centred=True)
    before = gradient_map(network, torch.split(images, 1), cell.seed)
    began = process_time()
    loss = teach(network, cell.task, cell.schooling, cell.seed)
    seconds = process_time() - began
    after = gradient_map(network, torch.split(images, 1), cell.seed)
    found = dice_by_distance(network, cell.task, cell.size.test_pictures)
    trial = Trial(
        model=cell.network.model,
        n_stages=cell.network.n_stages or 0,
        dim=cell.dim,
        seed=cell.seed,
        parameters=sum(weight.numel() for weight in network.parameters()),
        loss=loss,
        seconds=seconds,
        dice={distance: dice for distance, (dice, _) in found.items()},
        control={distance: control for distance, (_, control) in found.items()},
        before=field_sizes(before),
        after=field_sizes(after),
    )
    return trial, (before.numpy(), after.numpy())


def _read(cell: _Cell, folder: Path) -> Trial | None:
    """Return a finished training; `None` if it is not finished.

    Raises:
        UMambaError: If it has other settings.
    """
    file, maps = folder / f"{cell.name}.json", folder / f"{cell.name}.npz"
    if not file.exists() or not maps.exists():
        return None
    content = load_json(file)
    theirs = content.get("settings", {})
    for key, value in cell.settings.items():
        if theirs.get(key) != value:
            msg = (
                f"{file} was trained with {key} {theirs.get(key)}, not {value}; give another "
                "--output, or the same options as before"
            )
            raise UMambaError(msg)
    try:
        with np.load(maps) as arrays:
            read: Maps = arrays["before"].astype(float), arrays["after"].astype(float)
        return Trial.from_dict(content["trial"], read)
    except (LookupError, OSError, TypeError, ValueError):
        msg = f"{file} or {maps.name} is damaged; remove both, and the training is repeated"
        raise UMambaError(msg) from None


def _write(trial: Trial, maps: Maps, cell: _Cell, folder: Path) -> None:
    """Keep a finished training: the maps first, so that it is whole once its JSON is there."""
    with whole_file(folder / f"{cell.name}.npz") as partial, partial.open("wb") as file:
        before, after = (one.astype(np.float32) for one in maps)
        np.savez_compressed(file, before=before, after=after)
    content = {"settings": cell.settings, "trial": trial.to_dict()}
    write_whole(folder / f"{cell.name}.json", json.dumps(content, indent=1) + "\n")
