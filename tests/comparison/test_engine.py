"""A comparison goes on where it was, never redoes what is done, and says what failed."""

import csv
import json
import math
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from faked_trainings import (
    CASES,
    NAME,
    FakeExecutor,
    InlineProcess,
    option,
    validation_cases,
    write_dataset,
    write_mask,
    write_training,
)
from umamba.comparison.rows import Cost, Training
from umamba.comparison.runs import cells, collecting, opening
from umamba.comparison.runs.budget import Budget
from umamba.comparison.runs.collecting import Collector
from umamba.comparison.runs.engine import run_comparison
from umamba.comparison.runs.opening import open_comparison
from umamba.comparison.runs.planning import ComparisonRequest
from umamba.comparison.runs.training_states import wait_for_trainings
from umamba.errors import PlansError, ResumableInterruptError, UMambaError
from umamba.evaluation.settings import EvaluationSettings
from umamba.executors.jobs import Event, Job, why_it_failed
from umamba.nnunet.checkpoints.files import write_checkpoint
from umamba.nnunet.paths import Paths

pytestmark = pytest.mark.usefixtures("unchecked")  # other files test the statistics


@pytest.fixture(autouse=True)
def known_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(planned: Any, *_: object) -> dict[str, Cost]:
        return {model: Cost(10, 20, 30, None, 36.0, 2.0) for model in planned.models}

    monkeypatch.setattr(opening, "measure_costs", measure)
    monkeypatch.setattr(collecting, "write_report", lambda *_: None)  # it is tested by itself


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return write_dataset(tmp_path)


def request_for(paths: Paths, **changes: Any) -> ComparisonRequest:
    defaults = ComparisonRequest(
        dataset="901",
        models=("nnunet", "unetpp"),
        folds=(0, 1),
        seeds=(0, 1),
        budget=Budget("epochs", 3.0),
        output=paths.require("results").parent / "out",
    )
    return replace(defaults, **changes)


def compare(
    paths: Paths, executor: FakeExecutor | None = None, **changes: Any
) -> tuple[dict[str, Any], list[str]]:
    """Run a comparison; return the results, and the names of the jobs that ran."""
    executor = executor or FakeExecutor(paths)
    comparison = open_comparison(request_for(paths, **changes), paths, dry=False)
    run_comparison(comparison, executor, lambda *_: None, Collector(make=InlineProcess))
    return read_results(paths, comparison.request.output), [job.name for job in executor.jobs]


def read_results(paths: Paths, output: Path | None = None) -> dict[str, Any]:
    text = ((output or request_for(paths).output) / "results.json").read_text()

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    results: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return results


def test_every_training_trains_and_is_evaluated(paths: Paths) -> None:
    results, jobs = compare(paths)
    assert jobs[:3] == ["nnunet_fold0_seed0", "unetpp_fold0_seed0", "nnunet_fold1_seed0"]
    assert len(jobs) == 8
    assert results["schema"] == "umamba-comparison"
    assert {training["status"] for training in results["trainings"]} == {"done"}
    # 2 models x 2 seeds x 2 folds of 2 cases x 2 labels
    assert len(results["cases"]) == 2 * 2 * 4 * 2
    # The big box is 7 wide and contains the small one; moved by 1 or by 2 of 12 columns.
    of_nnunet = {r["metrics"]["dice"] for r in results["cases"] if r["model"] == "nnunet"}
    small = [r for r in results["cases"] if r["label"] == "small"]
    assert {r["metrics"]["dice"] for r in small if r["model"] == "unetpp"} == {2 / 3}
    assert 1 / 3 in of_nnunet
    curve = results["curves"][0]
    assert curve["epoch"] == [1, 2, 3]
    assert curve["hours"] == pytest.approx([0.01, 0.02, 0.03])
    assert results["settings"]["baseline"] == "nnunet"
    assert results["statistics"]["dice"]["comparisons"][0]["model"] == "unetpp"
    assert results["verdicts"]["unetpp"].startswith("unetpp against nnunet: ")
    assert results["dynamics"]["unetpp"]["epochs_compared"] == 3
    assert results["dataset"]["n_cases"] == 4
    # Small boxes of 2, 3 and 4 slices of 3 x 3 voxels of 2 mm^3, 4 and 4 and 2 of them: the first
    # tercile is the size of the smallest, below which there is nothing.
    diameter = 2 * (3 * 54 / (4 * math.pi)) ** (1 / 3)
    assert results["settings"]["evaluation"]["size_cut_points"]["small"] == pytest.approx(
        [diameter]
    )


def test_tables_and_manifest(paths: Paths) -> None:
    compare(paths)
    output = request_for(paths).output
    with (output / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32
    assert rows[0]["case"] in CASES
    with (output / "models.csv").open() as file:
        models = {row["model"]: row for row in csv.DictReader(file)}
    assert models["unetpp"]["trainings"] == "4"
    assert float(models["unetpp"]["train_hours"]) == pytest.approx(0.03)
    assert float(models["unetpp"]["dice"]) > float(models["nnunet"]["dice"])
    manifest = json.loads((output / "manifest.json").read_text())
    hashes = manifest["sha256"]
    assert len(hashes) == 4 + 2 * 2
    assert all(len(value) == 64 for value in hashes.values())
    # Their metadata spell these names in other ways.
    for package in ("nnunetv2", "SimpleITK", "dynamic-network-architectures"):
        assert manifest["versions"][package] == version(package)


def test_the_command_of_a_training(paths: Paths) -> None:
    executor = FakeExecutor(paths)
    compare(paths, executor, folds=(1,), seeds=(4,), models=("unetpp",), batch_size=3)
    (command,) = executor.commands
    plans = "nnUNetUMambaUNetPlusPlusPlans_batch3_3epochs_s4"
    assert command[:6] == ("train", NAME, "3d_fullres", "1", "-p", plans)
    assert option(command, "--epochs") == "3"
    assert option(command, "--iterations") == "750"
    assert option(command, "--seed") == "4"
    assert option(command, "--results") == str(paths.results)
    written = json.loads((paths.require("preprocessed") / NAME / f"{plans}.json").read_text())
    assert written["configurations"]["3d_fullres"]["batch_size"] == 3
    assert written["configurations"]["3d_fullres"]["data_identifier"] == "nnUNetPlans_3d_fullres"


def test_a_second_call_does_nothing_again(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = compare(paths)

    def fail(*_: object, **__: object) -> None:
        pytest.fail("evaluated again")

    monkeypatch.setattr(cells, "evaluate_predictions", fail)
    second, jobs = compare(paths)
    assert jobs == []
    assert second == first


def test_a_model_is_added_later(paths: Paths) -> None:
    compare(paths, seeds=(0,))
    results, jobs = compare(paths, seeds=(0,), models=("attention_unet",))
    assert jobs == ["attention_unet_fold0_seed0", "attention_unet_fold1_seed0"]
    assert results["settings"]["models"] == ["nnunet", "unetpp", "attention_unet"]
    assert len(results["trainings"]) == 6
    results, jobs = compare(paths, seeds=(0, 1), folds=(0,), models=("unetpp",))
    assert jobs == ["unetpp_fold0_seed1"]  # and not what nobody has asked for
    assert len(results["trainings"]) == 7


def test_a_failed_training_is_reported_and_the_rest_goes_on(paths: Paths) -> None:
    executor = FakeExecutor(paths, failing=["unetpp_fold0_seed1"])
    results, jobs = compare(paths, executor)
    assert len(jobs) == 8
    failed = [training for training in results["trainings"] if training["status"] == "failed"]
    assert [(c["model"], c["fold"], c["seed"]) for c in failed] == [("unetpp", 0, 1)]
    assert failed[0]["reason"] == "out of luck"
    dry = open_comparison(request_for(paths), paths, dry=True)
    assert dry.states[Training("unetpp", 0, 1)].reason == "out of luck"
    results, jobs = compare(paths)
    assert jobs == ["unetpp_fold0_seed1"]
    assert {training["status"] for training in results["trainings"]} == {"done"}


def test_a_prediction_that_cannot_be_read_fails_its_training_only(paths: Paths) -> None:
    compare(paths)
    comparison = open_comparison(request_for(paths), paths, dry=True)
    training = Training("unetpp", 0, 0)
    case = min(comparison.cases[0])
    broken = comparison.folder(training) / "validation" / f"{case}.nii.gz"
    broken.write_bytes(b"no image")
    comparison.cache(str(training)).unlink()
    for _ in range(2):
        results, jobs = compare(paths)
        assert jobs == []  # it is trained
        (failed,) = [
            training for training in results["trainings"] if training["status"] == "failed"
        ]
        assert str(broken) in failed["reason"]
        assert "cannot be evaluated" in failed["reason"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-9, "ended by signal 9, as the system"),
        (-11, "signal 11"),
        (3, "exit code 3"),
    ],
)
def test_why_a_training_failed(tmp_path: Path, code: int, reason: str) -> None:
    log = tmp_path / "log"
    log.write_text("\n")
    assert reason in why_it_failed(Event(Job("a", (), log), "ended", code))


def test_an_interrupted_comparison_goes_on(paths: Paths) -> None:
    with pytest.raises(ResumableInterruptError, match="run the same command again to continue"):
        compare(paths, FakeExecutor(paths, stop_after=2))
    results = read_results(paths)
    statuses = [training["status"] for training in results["trainings"]]
    assert statuses == ["done", "done", "interrupted", *["pending"] * 5]
    executor = FakeExecutor(paths)
    results, jobs = compare(paths, executor)
    assert jobs[0] == "nnunet_fold1_seed0"
    assert "--resume" in executor.commands[0]
    assert "--seed" not in executor.commands[0]
    assert len(jobs) == 6
    assert {training["status"] for training in results["trainings"]} == {"done"}


def test_a_second_interrupt_leaves_valid_results(paths: Paths) -> None:
    def interrupt(_: Any, event: Any) -> None:
        if event is not None and event.kind == "ended" and "unetpp" in event.job.name:
            raise KeyboardInterrupt

    comparison = open_comparison(request_for(paths), paths, dry=False)
    with pytest.raises(ResumableInterruptError):
        run_comparison(comparison, FakeExecutor(paths), interrupt, Collector(make=InlineProcess))
    statuses = [training["status"] for training in read_results(paths)["trainings"]]
    assert statuses == ["done", "done", *["pending"] * 6]


_HOLD = """
import sys, time
from pathlib import Path
from umamba.system.run_lock import only_process
with only_process(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(float(sys.argv[2]))
    (Path(sys.argv[1]) / "saved").touch()
"""


@pytest.mark.parametrize(("seconds", "waits"), [(1.5, True), (30.0, False)])
def test_trainings_that_a_killed_call_left_behind_may_save(
    paths: Paths,
    capsys: pytest.CaptureFixture[str],
    seconds: float,
    waits: bool,
) -> None:
    first = open_comparison(request_for(paths), paths, dry=False)
    folder = first.folder(Training("unetpp", 0, 0))
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", _HOLD, str(folder), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as orphan:
        assert orphan.stdout is not None
        orphan.stdout.readline()
        if waits:
            open_comparison(request_for(paths), paths, dry=False)
        else:
            wait_for_trainings([folder], most_seconds=0.1)
        assert (folder / "saved").exists() == waits
        orphan.kill()
    assert f"waiting for the training in {folder}" in capsys.readouterr().err


def test_a_training_without_its_validation_is_validated(paths: Paths) -> None:
    compare(paths)
    comparison = open_comparison(request_for(paths), paths, dry=True)
    folder = comparison.folder(Training("unetpp", 0, 0))
    (folder / "validation" / "summary.json").unlink()
    executor = FakeExecutor(paths)
    compare(paths, executor)
    (command,) = executor.commands
    assert "--val" in command
    assert "--epochs" not in command


def test_trainings_validated_with_mirroring_are_validated_without(paths: Paths) -> None:
    compare(paths)
    with pytest.raises(UMambaError, match="begun with --validation-tta on, not off"):
        compare(paths, validation_tta="off")
    executor = FakeExecutor(paths)
    output = paths.require("results") / "o"
    compare(paths, executor, validation_tta="off", stage="$TMPDIR", output=output)
    assert executor.commands
    for command in executor.commands:
        assert command[command.index("--validation-tta") + 1] == "off"
        assert command[command.index("--stage") + 1] == "$TMPDIR"  # of the machine that trains
        assert "--val" in command


def test_another_budget_is_refused_in_the_same_folder(paths: Paths) -> None:
    compare(paths)
    with pytest.raises(UMambaError, match="begun with --budget epochs:3, not hours:2"):
        compare(paths, budget=Budget("hours", 2.0))
    with pytest.raises(UMambaError, match="--features left out, not 4,8"):
        compare(paths, features=(4, 8))
    _, jobs = compare(paths, budget=Budget("epochs", 2.0), output=paths.require("results") / "o")
    assert len(jobs) == 8  # plans of their own, so that nothing is mixed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a JSON object"),
        ('{"schema_version": 2}', "by another version"),
        ('{"schema_version": 1, "dataset": "a"}', r"damaged \(.*missing.* `configuration`\)"),
    ],
)
def test_settings_that_cannot_be_read_are_refused(paths: Paths, text: str, message: str) -> None:
    output = request_for(paths).output
    output.mkdir()
    (output / "comparison.json").write_text(text)
    with pytest.raises(UMambaError, match=message):
        compare(paths)


def test_a_training_of_another_length_is_refused(paths: Paths) -> None:
    comparison = open_comparison(request_for(paths), paths, dry=False)
    training = Training("unetpp", 0, 0)
    settings = {"epochs": 7, "iterations_per_epoch": 250, "seed": 0}
    cases = validation_cases(paths, 0)
    write_training(comparison.folder(training), cases, settings)
    with pytest.raises(UMambaError, match="7 epochs of 250 iterations from seed 0, and this"):
        open_comparison(request_for(paths), paths, dry=False)
    write_training(comparison.folder(training), cases, settings | {"epochs": 3, "seed": 1})
    with pytest.raises(UMambaError, match="from seed 1, and this comparison needs 3 epochs"):
        open_comparison(request_for(paths), paths, dry=False)


def test_trainings_say_whether_their_seed_is_shared_by_folds(paths: Paths) -> None:
    comparison = open_comparison(request_for(paths), paths, dry=False)
    older = Training("unetpp", 1, 0)
    settings = {"epochs": 3, "iterations_per_epoch": 250, "seed": 0}  # of before it was said
    write_training(comparison.folder(older), validation_cases(paths, 1), settings, 3)
    results, jobs = compare(paths)
    assert len(jobs) == 7
    seeds = {Training(c["model"], c["fold"], c["seed"]): c["seeds"] for c in results["trainings"]}
    assert seeds.pop(older) == "shared by folds"
    assert set(seeds.values()) == {"independent"}


@pytest.mark.parametrize(("epochs", "compared"), [(3, True), (1000, False)])
def test_trainings_of_stock_nnunet_are_taken_in(paths: Paths, epochs: int, compared: bool) -> None:
    open_comparison(request_for(paths), paths, dry=False)
    model = paths.require("results") / NAME / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    write_training(model / "fold_0", validation_cases(paths, 0), None, epochs)
    # Of other cases than the splits have now, so not taken in.
    write_training(model / "fold_1", CASES[:2], None, epochs)
    plans = (paths.require("preprocessed") / NAME / "nnUNetPlans.json").read_text()
    (model / "plans.json").write_text(plans)
    results, jobs = compare(paths)
    assert len(jobs) == 8
    stock = [training for training in results["trainings"] if training["source"] == "stock"]
    assert [(c["model"], c["fold"], c["seed"], c["epochs"]) for c in stock] == [
        ("nnunet", 0, None, epochs)
    ]
    assert stock[0]["compared"] == compared
    assert (stock[0]["reason"] is None) == compared
    assert sum(row["seed"] is None for row in results["cases"]) == 4
    summary = results["statistics"]["dice"]["summaries"][0]
    assert summary["seeds"] == ([None, 0, 1] if compared else [0, 1])
    assert set(summary["seed_means"]) == {"0", "1"}


def test_of_stock_trainings_that_of_the_same_length_is_taken_in(paths: Paths) -> None:
    open_comparison(request_for(paths), paths, dry=False)
    plans = (paths.require("preprocessed") / NAME / "nnUNetPlans.json").read_text()
    for name, epochs in (("_1epoch", 1), ("_3epochs", 3), ("", 1000), ("_10epochs", 10)):
        model = paths.require("results") / NAME / f"nnUNetTrainer{name}__nnUNetPlans__3d_fullres"
        write_training(model / "fold_0", validation_cases(paths, 0), None, epochs)
        (model / "plans.json").write_text(plans)
    results, _ = compare(paths)
    (stock,) = (training for training in results["trainings"] if training["source"] == "stock")
    assert (stock["epochs"], stock["compared"]) == (3, True)


@pytest.mark.parametrize("logging", [None, {}, {"epoch_start_timestamps": []}])
def test_a_stock_training_without_a_log_is_left_out(
    paths: Paths, capsys: pytest.CaptureFixture[str], logging: Any
) -> None:
    open_comparison(request_for(paths), paths, dry=False)
    model = paths.require("results") / NAME / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    write_training(model / "fold_0", validation_cases(paths, 0), None, 3)
    plans = (paths.require("preprocessed") / NAME / "nnUNetPlans.json").read_text()
    (model / "plans.json").write_text(plans)
    file = model / "fold_0" / "checkpoint_final.pth"
    checkpoint = {"network_weights": {}, "current_epoch": 3, "logging": logging}
    write_checkpoint(checkpoint, file, keep_previous=False)
    results, _ = compare(paths)
    assert f"not taken in: {file} lacks the log of a training" in capsys.readouterr().err
    assert {training["source"] for training in results["trainings"]} == {"compare"}


@pytest.mark.parametrize("configurations", [[], {"3d_fullres": []}, {"3d_fullres": None}])
def test_plans_that_are_none_are_no_stock_training(paths: Paths, configurations: Any) -> None:
    open_comparison(request_for(paths), paths, dry=False)
    model = paths.require("results") / NAME / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    write_training(model / "fold_0", validation_cases(paths, 0), None, 3)
    (model / "plans.json").write_text(json.dumps({"configurations": configurations}))
    results, _ = compare(paths, seeds=(0,), folds=(0,))
    assert {training["source"] for training in results["trainings"]} == {"compare"}


def test_a_dry_run_writes_nothing(paths: Paths) -> None:
    before = sorted(paths.require("results").parent.rglob("*"))
    comparison = open_comparison(request_for(paths), paths, dry=True)
    assert {state.status for state in comparison.states.values()} == {"pending"}
    assert sorted(paths.require("results").parent.rglob("*")) == before


def test_hours_become_the_same_iterations_for_good(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = FakeExecutor(paths)
    compare(paths, executor, budget=Budget("hours", 1.0), folds=(0,), seeds=(0,))
    # An iteration takes 36 s and its share of validation 2.4 s: 93 fit, in 20 epochs of 5.
    assert [option(command, "--iterations") for command in executor.commands] == ["100"] * 2

    def measure(planned: Any, *_: object) -> dict[str, Cost]:
        return {model: Cost(10, 20, 30, None, 1.0, 2.0) for model in planned.models}

    monkeypatch.setattr(opening, "measure_costs", measure)
    _, jobs = compare(paths, budget=Budget("hours", 1.0), folds=(0,), seeds=(0,))
    assert jobs == []


def test_hours_need_a_step_that_was_measured(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(planned: Any, *_: object) -> dict[str, Cost]:
        return {model: Cost(1, 2, 3, problem="it is too large") for model in planned.models}

    monkeypatch.setattr(opening, "measure_costs", measure)
    with pytest.raises(UMambaError, match="for nnunet: it is too large; give --budget epochs:N"):
        compare(paths, budget=Budget("hours", 1.0))


def test_another_tolerance_evaluates_anew_and_trains_nothing(paths: Paths) -> None:
    first, _ = compare(paths)
    settings = EvaluationSettings(nsd_tolerance=0.0, surface="voxels", metrics=("cldice",))
    second, jobs = compare(paths, evaluation=settings)
    assert jobs == []
    assert "cldice" not in first["cases"][0]["metrics"]
    assert all(row["metrics"]["cldice"] is not None for row in second["cases"])
    assert second["settings"]["evaluation"]["surface"] == "voxels"
    table = (paths.results.parent / "out" / "cases.csv").read_text(encoding="utf-8")
    assert table.startswith("model,fold,seed,case,label,dice,")
    assert ",cldice,surface,empty\n" in table
    pairs = zip(first["cases"], second["cases"], strict=True)
    assert all(a["metrics"]["nsd"] > b["metrics"]["nsd"] for a, b in pairs)
    settings = EvaluationSettings(nsd_tolerances={"tumour": 2.0})
    with pytest.raises(UMambaError, match="tumour is not a label; there are big, small"):
        compare(paths, evaluation=settings)


def test_a_corrected_reference_evaluates_its_fold_anew(paths: Paths) -> None:
    first, _ = compare(paths, seeds=(0,))
    case = min(validation_cases(paths, 0))
    write_mask(paths.require("preprocessed") / NAME / "gt_segmentations" / f"{case}.nii.gz", 1)
    second, jobs = compare(paths, seeds=(0,))
    assert jobs == []
    changed = {
        (a["model"], a["case"])
        for a, b in zip(first["cases"], second["cases"], strict=True)
        if a["metrics"] != b["metrics"]
    }
    assert changed == {("nnunet", case), ("unetpp", case)}


def test_what_does_not_fit_is_refused(paths: Paths) -> None:
    with pytest.raises(UMambaError, match="no fold 5: the splits have 5, 0 to 4"):
        compare(paths, folds=(5,))
    with pytest.raises(
        UMambaError, match="--baseline unetrpp is not among the compared models; give one of"
    ):
        compare(paths, baseline="unetrpp")
    with pytest.raises(PlansError, match="3d_huge is not in plans"):
        compare(paths, configuration="3d_huge")
    with pytest.raises(PlansError, match="needs the predictions of another stage"):
        compare(paths, configuration="3d_cascade_fullres")
    (paths.require("results").parent / "full").mkdir()
    (paths.require("results").parent / "full" / "notes.txt").touch()
    with pytest.raises(UMambaError, match="does not hold a comparison"):
        compare(paths, output=paths.require("results").parent / "full")
    assert not any(request_for(paths).output.iterdir())
