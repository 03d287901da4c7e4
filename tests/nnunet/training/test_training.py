"""What `umamba train` refuses before any work starts, and what it keeps."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from plans_factory import DATASET_JSON, stock_plans
from toy import NAME, folder_options
from umamba import registry
from umamba.cli.main import main
from umamba.errors import CheckpointError, UMambaError
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.files import write_plans
from umamba.nnunet.training.folds import find_trainer
from umamba.nnunet.training.record import check_begun_alike

PLANS = "nnUNetUMambaBotPlans"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A preprocessed data set without images; training stops where it would begin."""
    folder = tmp_path / "preprocessed" / NAME
    (folder / "nnUNetPlans_3d_fullres").mkdir(parents=True)
    (folder / "nnUNetPlans_3d_fullres" / "case_0.pkl").touch()
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON | {"numTraining": 1}))
    bot = registry.find_architecture("umamba_bot")
    write_plans(folder, derive_plans(stock_plans(), bot, PlanOptions()))

    def begin(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nnUNetTrainer, "__init__", begin)
    return tmp_path


def train(root: Path, *options: str, fold: str = "0") -> int:
    """Return the exit code; 130 means that training would have begun."""
    command = ["train", NAME, "3d_fullres", fold, "-p", PLANS, "-device", "cpu", *options]
    return main([*command, *folder_options(root)])


def begun(root: Path, checkpoint: str) -> Path:
    """Make the folder of fold 0, with one checkpoint."""
    folder = root / "results" / NAME / f"nnUNetTrainerUMamba__{PLANS}__3d_fullres" / "fold_0"
    folder.mkdir(parents=True)
    (folder / f"checkpoint_{checkpoint}.pth").touch()
    return folder


def test_there_must_be_something_to_continue(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(root, "--resume") == 2
    message = capsys.readouterr().err
    assert "there is nothing to continue in" in message
    assert "fold_0; leave --resume out" in message
    assert not (root / "results").exists()


@pytest.mark.parametrize("checkpoint", ["final", "latest", "best", "latest_previous"])
@pytest.mark.parametrize("option", ["--resume", "--c"])
def test_any_checkpoint_can_be_continued(
    root: Path, checkpoint: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(root, checkpoint)
    assert train(root, option) == 75  # interrupted where training would begin
    noted = "this training is finished; only its validation is done again"
    assert (noted in capsys.readouterr().err) == (checkpoint == "final")


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "soon"])
def test_hours_are_positive(root: Path, hours: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        train(root, "--hours", hours)
    assert f"'{hours}' is not a positive number of hours" in capsys.readouterr().err


def test_a_stop_file_that_is_older_than_the_training_does_not_stop_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_file = begun(root, "latest") / "stop"
    stop_file.touch()
    assert train(root, "--resume") == 75
    assert not stop_file.exists()
    assert f"{stop_file} is older than this training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("final", "a finished training; --val validates it again"),
        ("latest", "an unfinished training; --resume goes on"),
        ("best", "an unfinished training; --resume goes on"),
    ],
)
@pytest.mark.parametrize("fold", ["0", "00"])
def test_an_earlier_training_is_not_overwritten(
    root: Path, checkpoint: str, message: str, fold: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = begun(root, checkpoint)
    assert train(root, fold=fold) == 2
    whole = f"{folder} holds {message}, --overwrite begins anew (the old one is kept)"
    assert whole in capsys.readouterr().err
    assert train(root, "--overwrite", fold=fold) == 130
    (kept,) = folder.parent.glob("*fold_0")
    assert kept.name.startswith("replaced_")
    assert kept.name.endswith("_fold_0")
    assert (kept / f"checkpoint_{checkpoint}.pth").is_file()
    assert f"the earlier training is kept as {kept}" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["", "--val", "--resume", "--overwrite"])
@pytest.mark.parametrize("checkpoint", [None, "latest", "final"])
def test_who_is_at_work_in_a_fold_is_named_whatever_the_fold_holds(
    root: Path, checkpoint: str | None, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = begun(root, checkpoint or "none")
    lock = folder.with_name(".fold_0.lock")
    code = (
        f"import sys; from pathlib import Path; from umamba.system.file_lock import FileLock; "
        f"lock = FileLock(Path({str(lock)!r})); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert train(root, *filter(None, [option])) == 2
        assert other.stdin is not None
        other.stdin.close()
    who = f"process {other.pid} on {socket.gethostname()}"
    assert f"another process is at work in {folder}: {who}; wait" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("n_splits", "first_unknown"), [(None, 5), (2, 2)], ids=["no splits yet", "two splits"]
)
def test_a_fold_that_is_not_in_the_splits_is_refused(
    root: Path, n_splits: int | None, first_unknown: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if n_splits is not None:
        splits = root / "preprocessed" / NAME / "splits_final.json"
        fold = {"train": ["case_0"], "val": ["case_0"]}
        splits.write_text(json.dumps([fold] * n_splits))
    assert train(root, fold=str(first_unknown)) == 2
    wanted = f"there is no fold {first_unknown}: the splits have {first_unknown}, 0 to"
    assert wanted in capsys.readouterr().err
    for fold in (str(first_unknown - 1), "all"):
        assert train(root, fold=fold) == 130


def test_splits_that_are_no_list_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "preprocessed" / NAME / "splits_final.json").write_text("{}")
    assert train(root) == 2
    assert "splits_final.json is not a JSON list" in capsys.readouterr().err


def test_a_results_folder_that_is_a_file_is_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "results").touch()
    assert train(root) == 2
    message = capsys.readouterr().err
    assert f"nothing can be written to {root / 'results' / NAME}" in message
    assert "(Not a directory); give another folder as --results" in message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nnUNetTrainerNowhere", ""),
        ("os", r" \(issubclass\(\) arg 1 must be a class\)"),
        ("PolyLRScheduler", r" \(.+\)"),
    ],
)
def test_what_is_no_trainer_is_named(name: str, reason: str) -> None:
    """Not there, a module, a class of another kind."""
    with pytest.raises(UMambaError, match=f"trainer '{name}' does not exist{reason}; .*ours are"):
        find_trainer(name)


def change_plans(root: Path, **changes: object) -> None:
    """Change the plans of 3d_fullres in place, as `umamba plan --overwrite` does."""
    path = root / "preprocessed" / NAME / f"{PLANS}.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["3d_fullres"] |= changes
    path.write_text(json.dumps(plans))


def test_folds_of_one_model_have_the_same_plans(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = begun(root, "final").parent
    for name, there in (("plans", PLANS), ("dataset", "dataset")):
        source = root / "preprocessed" / NAME / f"{there}.json"
        (model / f"{name}.json").write_bytes(source.read_bytes())
    assert train(root, fold="1") == 130
    change_plans(root, batch_size=7)
    assert train(root, fold="1") == 2
    said = capsys.readouterr().err
    assert f"fold_0 in {model} were trained with other plans or labels (batch_size)" in said
    assert "derive the new plans under another --plans-name" in said
    assert train(root, "--overwrite") == 130  # there is no other fold then


def test_a_training_goes_on_with_the_plans_and_labels_it_was_begun_with(tmp_path: Path) -> None:
    plans, path = stock_plans(), tmp_path / "checkpoint_latest.pth"
    same = {"init_args": {"plans": stock_plans(), "dataset_json": DATASET_JSON}}
    check_begun_alike(same, path, "3d_fullres", plans | {"continue_training": True}, DATASET_JSON)
    check_begun_alike({"init_args": {}}, path, "3d_fullres", plans, DATASET_JSON)
    plans["configurations"]["3d_fullres"] |= {"patch_size": [64, 64, 64], "spacing": [9, 9, 9]}
    labels = DATASET_JSON | {"labels": {"background": 0, "other": 1}}
    with pytest.raises(CheckpointError, match=r"\(patch_size, spacing, labels\); put those back"):
        check_begun_alike(same, path, "3d_fullres", plans, labels)


def test_the_second_stage_needs_every_case_of_the_first(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = root / "preprocessed" / NAME / "nnUNetPlans_3d_fullres"
    (data / "case_1.pkl").touch()
    stage = root / "results" / NAME / f"nnUNetTrainerUMamba__{PLANS}__3d_lowres"
    predicted = stage / "predicted_next_stage" / "3d_cascade_fullres"
    predicted.mkdir(parents=True)
    (predicted / "case_0.b2nd").touch()
    command = ["train", NAME, "3d_cascade_fullres", "0", "-p", PLANS, "-device", "cpu"]
    assert main([*command, *folder_options(root)]) == 2
    said = capsys.readouterr().err
    assert f"{predicted} lacks 1 cases (case_1); train every fold of 3d_lowres first" in said
    (predicted / "case_1.b2nd").touch()
    assert main([*command, *folder_options(root)]) == 130


def test_a_part_of_the_preprocessed_data_is_not_taken_for_all(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = root / "preprocessed" / NAME
    data = folder / "nnUNetPlans_3d_fullres"
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON | {"numTraining": 2}))
    assert train(root) == 2
    said = f"{data} holds 1 cases, but dataset.json says 2: nnU-Net's preprocessing may have been"
    assert said in capsys.readouterr().err
    splits = [{"train": ["case_0"], "val": ["case_9"]}] * 2
    (folder / "splits_final.json").write_text(json.dumps(splits))
    assert train(root) == 2
    assert f"{data} holds 1 cases, but the splits name 2" in capsys.readouterr().err
    (data / "case_9.pkl").touch()
    assert train(root) == 130


def test_folds_of_cases_that_do_not_exist(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fold = {"train": ["case_0"], "val": ["case_0.nii.gz", "case_9"]}
    (root / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps([fold]))
    assert train(root) == 2
    wanted = "fold 0 names cases in val that do not exist: case_0.nii.gz, case_9; write case_0 "
    assert wanted + "without the ending, or correct the file" in capsys.readouterr().err
    assert train(root, fold="all") == 130
