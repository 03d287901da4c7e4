"""Folds of one seed have nothing in common, models of one seed and fold see the same batches."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toy import NAME, PLANS, read_json
from umamba.cli.main import main
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.training import trainers
from umamba.nnunet.training.seed_streams import (
    INDEPENDENT,
    SHARED,
    Stream,
    batch_stream,
    weight_seed,
)
from umamba.nnunet.training.trainers import nnUNetTrainerUMamba
from umamba.system.environment import environment

FOLDS = (0, 1, 10, "all")


def seeds_of(seed: int, fold: int | str) -> list[int]:
    streams = [
        batch_stream(seed, fold, INDEPENDENT, rank=rank, phase=phase)
        for rank in (0, 1)
        for phase in (0, 1)
    ]
    return [weight_seed(seed, fold, INDEPENDENT), *(s.seed(i) for s in streams for i in range(50))]


def test_streams_have_nothing_in_common() -> None:
    drawn = [number for seed in (0, 1, 2**32) for fold in FOLDS for number in seeds_of(seed, fold)]
    assert len(set(drawn)) == len(drawn)


def test_streams_stay_as_they_are() -> None:
    """Trainings that have begun go on with them."""
    assert weight_seed(7, 1, INDEPENDENT) == 405438120
    assert batch_stream(7, 1, INDEPENDENT, rank=0, phase=0).seed(3) == 3151908075
    assert batch_stream(7, "all", INDEPENDENT, rank=0, phase=1).seed(0) == 2880064349


class OlderStream(Stream):
    """What batches were drawn from before streams depended on the fold."""

    def seed(self, number: int) -> int:
        return int(np.random.SeedSequence([*self.entropy, number]).generate_state(1)[0])


@pytest.mark.parametrize("fold", FOLDS)
def test_older_trainings_go_on_with_what_all_folds_had(fold: int | str) -> None:
    assert weight_seed(7, fold, SHARED) == 7
    for rank, phase in ((0, 0), (1, 1)):
        stream = batch_stream(7, fold, SHARED, rank=rank, phase=phase)
        older = OlderStream((7, rank, phase))
        assert [stream.seed(i) for i in range(9)] == [older.seed(i) for i in range(9)]


@pytest.fixture(scope="module")
def root(preprocessed_toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = shutil.copytree(preprocessed_toy, tmp_path_factory.mktemp("seeds") / "toy")
    folders = {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
    with environment(nnUNet_def_n_proc="2", nnUNet_n_proc_DA="0", **folders):
        yield root


def begin(root: Path, fold: int, features: int = 4, seed: int = 3) -> tuple[Any, list[Any]]:
    """Return the weights that a training begins with, and its first batches."""
    data = root / "preprocessed" / NAME
    plans = read_json(data / f"{PLANS}.json") | {"continue_training": False}
    arguments = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [features, 8, 8]
    device, description = torch.device("cpu"), read_json(data / "dataset.json")
    trainer: Any = nnUNetTrainerUMamba(plans, "3d_fullres", fold, description, device)
    cases = [f"case_{i}" for i in range(6)]
    trainer.do_split = lambda: (cases, cases)  # so that folds differ in nothing but their streams
    trainer.set_seed(seed)
    trainer.initialize()
    train, validation = trainer.get_dataloaders()
    weights = {name: weight.clone() for name, weight in trainer.network.state_dict().items()}
    return weights, [next(train)["data"], next(train)["data"], next(validation)["data"]]


def test_folds_of_one_seed_begin_and_go_on_differently(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nnUNetTrainerUMamba, "print_to_log_file", lambda *_, **__: None)
    first, batches = begin(root, 0)
    again, same = begin(root, 0)
    other, others = begin(root, 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(torch.equal(a, b) for a, b in zip(batches, same, strict=True))
    drawn = [name for name, weight in first.items() if weight.ndim > 2]  # convolutions
    assert drawn
    assert not any(torch.equal(first[name], other[name]) for name in drawn)
    assert not any(torch.equal(a, b) for a, b in zip(batches, others, strict=True))
    # Another model of the same seed and fold.
    _, of_model = begin(root, 0, features=6)
    assert all(torch.equal(a, b) for a, b in zip(batches, of_model, strict=True))


@pytest.mark.nnunet
def test_an_older_training_goes_on_bit_for_bit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(name: str, *more: str) -> int:
        options = ["--raw", str(root / "raw"), "--preprocessed", str(root / "preprocessed")]
        options += ["--results", str(root / name), "-device", "cpu", *more]
        return main(["train", "901", "3d_fullres", "1", "-p", PLANS, *options])

    length = ["--epochs", "2", "--iterations", "4", "--seed", "7"]
    with monkeypatch.context() as older:
        as_older_version(older)
        assert train("whole", *length) == 0
        begin_epoch = nnUNetTrainerUMamba.on_epoch_start

        def interrupt(self: Any) -> None:
            if self.current_epoch == 1:
                raise KeyboardInterrupt
            begin_epoch(self)

        older.setattr(nnUNetTrainerUMamba, "on_epoch_start", interrupt)
        assert train("broken", *length) == 75
    assert train("broken", "--resume") == 0
    whole, broken = (
        read_checkpoint(next((root / name).rglob("checkpoint_final.pth")))
        for name in ("whole", "broken")
    )
    assert "seeds" not in whole["umamba"]
    assert broken["umamba"]["seeds"] == SHARED
    for name, weight in whole["network_weights"].items():
        assert torch.equal(broken["network_weights"][name], weight), name


def as_older_version(patched: pytest.MonkeyPatch) -> None:
    def stream(seed: int, fold: int, kind: str, *, rank: int, phase: int) -> OlderStream:
        return OlderStream((seed, rank, phase))

    settings: Callable[[Any], dict[str, Any]] = nnUNetTrainerUMamba.settings

    def older_settings(trainer: Any) -> dict[str, Any]:
        return {name: value for name, value in settings(trainer).items() if name != "seeds"}

    patched.setattr(trainers, "weight_seed", lambda seed, *_: seed)
    patched.setattr(trainers, "batch_stream", stream)
    patched.setattr(nnUNetTrainerUMamba, "settings", older_settings)
