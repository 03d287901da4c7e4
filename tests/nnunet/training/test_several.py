"""Several folds of one model, one after another or in jobs, each going on from where it is."""

import json
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import faked_trainings
from faked_trainings import CASES, NAME, option, write_training
from toy import PLANS, folder_options
from toy_process import MODEL
from umamba.cli.main import build_parser, main
from umamba.errors import UMambaError
from umamba.executors.jobs import Event, Job
from umamba.nnunet import places
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.paths import Paths
from umamba.nnunet.requests import TrainingRequest
from umamba.nnunet.training import several
from umamba.options import from_namespace
from umamba.system.interruption import StopRequest

SETTINGS = {"epochs": 2, "iterations_per_epoch": 3, "seed": 0}
FINAL = "checkpoint_final.pth"
SUMMARY = {
    "mean": {"1": {"Dice": 0.5}, "2": {"Dice": 0.7}},
    "foreground_mean": {"Dice": 0.6},
}


class FakeExecutor:
    """Leave what trainings leave, without training; what is told is how each job ends."""

    def __init__(self, told: dict[str, int]) -> None:
        self.told, self.jobs = told, list[Job]()

    def run(
        self,
        jobs: Sequence[Job],
        stop: StopRequest,  # noqa: ARG002
    ) -> Generator[Event, None, None]:
        for job in jobs:
            self.jobs.append(job)
            yield Event(job, "started")
            code = self.told.get(job.name, 0)
            if code == 0:
                finish(job.log.parents[1] / job.name)
            job.log.write_text("umamba fold: out of luck\n" if code else "")
            yield Event(job, "ended", code)


def finish(folder: Path, **settings: Any) -> None:
    write_training(folder, CASES[:2], SETTINGS | settings)
    (folder / "validation" / "summary.json").write_text(json.dumps(SUMMARY))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = faked_trainings.write_dataset(tmp_path)
    (model_folder(found) / "fold_0").mkdir(parents=True)
    description = found.require("preprocessed") / NAME / "dataset.json"
    shutil.copy(description, model_folder(found))
    return found


def model_folder(paths: Paths) -> Path:
    return paths.require("results") / NAME / "nnUNetTrainerUMamba__nnUNetPlans__3d_fullres"


def command(paths: Paths, folds: str, *options: str) -> list[str]:
    given = ["train", NAME, "3d_fullres", folds, "-p", "nnUNetPlans", "-device", "cpu"]
    return [*given, *paths.as_arguments(), *options]


def use(monkeypatch: pytest.MonkeyPatch, **told: int) -> FakeExecutor:
    fake = FakeExecutor(told)
    place = places.Place(lambda _: fake, "cpu", 1, None, is_elsewhere=True)
    monkeypatch.setitem(places.PLACES, "ray", lambda _: place)
    return fake


def test_each_fold_is_a_job_that_is_not_repeated(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(paths, "0-2", "--epochs", "2", "--executor", "ray", "--max-jobs", "2", "--json")
    fake = use(monkeypatch, fold_1=2)
    assert main(words) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["failed"] == {"1": "out of luck"}
    assert {fold: one["mean_dice"] for fold, one in found["folds"].items()} == {"0": 0.6, "2": 0.6}
    assert found["dice"] == {"big": 0.5, "small": 0.7}
    assert "[2/3] fold_1 failed: out of luck (log in " in captured.err
    for fold, job in enumerate(fake.jobs):
        assert job.command[:4] == ("fold", NAME, "3d_fullres", str(fold))
        assert option(job.command, "--epochs") == "2"
        assert not {"--executor", "--max-jobs"} & set(job.command)
        assert job.resources.gpus == 0
    # The same command again does what is left, and is interrupted.
    fake = use(monkeypatch, fold_1=75)
    assert main(words) == 75
    assert [job.name for job in fake.jobs] == ["fold_1"]
    assert "run the same command again to continue" in capsys.readouterr().err
    assert main(words) == 75
    use(monkeypatch)
    assert main(words) == 0
    fake = use(monkeypatch)
    assert main(words) == 0
    assert not fake.jobs


def test_folds_go_on_from_where_they_are(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_folder(paths)
    write_training(model / "fold_1", [], SETTINGS, name="checkpoint_latest.pth")
    finish(model / "fold_2")
    (model / "fold_2" / "validation" / "summary.json").unlink()
    finish(model / "fold_3")
    trained: list[TrainingRequest] = []

    def train(request: TrainingRequest) -> None:
        trained.append(request)
        if request.fold == "0":
            msg = "no luck"
            raise UMambaError(msg)
        finish(model / f"fold_{request.fold}")

    monkeypatch.setattr(several, "train", train)
    length = ["--epochs", "2", "--iterations", "6", "--seed", "0"]
    assert main(command(paths, "0-3", *length)) == 1
    captured = capsys.readouterr()
    assert "fold 0 failed: no luck" in captured.err
    assert "validation Dice of 3 folds 0.6000" in captured.out
    how = [(one.fold, one.resume, one.only_validate, one.epochs, one.seed) for one in trained]
    assert how == [
        ("0", False, False, 2, 0),
        ("1", True, False, None, None),
        ("2", False, True, None, None),
    ]


@pytest.mark.parametrize(
    ("folds", "options", "message"),
    [
        ("1-", [], "'1-' is not a list of folds such as 0-4 or 0,2"),
        ("0-7", [], "there is no fold 7: the splits have 5, 0 to 4"),
        ("0,1", ["--overwrite"], "--overwrite is for one fold, trained by this process"),
        ("0,1", ["--epochs", "9"], "holds a training with epochs 2, not 9; leave --epochs out"),
        ("0,1", ["--iterations", "9"], "iterations_per_epoch 3, not 9; leave --iterations out"),
        ("0,1", ["--seed", "3"], "holds a training with seed 0, not 3"),
        ("0", ["--executor", "ray", "--status"], "only jobs of Slurm go on without this process"),
        ("0", ["--max-jobs", "2"], "--max-jobs is for --executor slurm or ray"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_begins(
    paths: Paths,
    folds: str,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake = use(monkeypatch)
    finish(model_folder(paths) / "fold_1", epochs=1 if "--iterations" in options else 2)
    assert main(command(paths, folds, *options)) == 2
    assert message in capsys.readouterr().err
    assert not fake.jobs


def test_a_job_that_gets_no_further_is_not_started_for_ever(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model_folder(paths) / "jobs").mkdir(parents=True)
    monkeypatch.setattr(several, "train", lambda _: None)
    request = from_namespace(TrainingRequest, build_parser().parse_args(command(paths, "0")))
    monkeypatch.setenv("UMAMBA_JOB", "a job")
    monkeypatch.setenv("UMAMBA_ATTEMPT", "7.0")
    for _ in range(20):
        several.continue_fold(request)
    with pytest.raises(UMambaError, match="started 20 times in a row"):
        several.continue_fold(request)


@pytest.mark.slow
@pytest.mark.nnunet
def test_folds_in_jobs_are_those_of_one_process(
    preprocessed_toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    length = ["--epochs", "1", "--iterations", "1", "--seed", "0", "--validation-tta", "off"]
    weights = []
    for root, folds, how in (("here", "0,1", []), ("jobs", "1", ["--executor", "local"])):
        shutil.copytree(preprocessed_toy, tmp_path / root)
        words = ["train", "901", "3d_fullres", folds, "-p", PLANS, "-device", "cpu", *how]
        assert main([*words, *length, *folder_options(tmp_path / root)]) == 0
        final = read_checkpoint(tmp_path / root / MODEL / "fold_1" / FINAL)
        weights.append(final["network_weights"])
    assert "validation Dice of 2 folds" in capsys.readouterr().out
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
