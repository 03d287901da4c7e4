"""A test set: predicted once by every training and ensemble, judged apart, and never exchanged."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from faked_trainings import (
    CASES,
    NAME,
    SHAPE,
    FakeExecutor,
    InlineProcess,
    option,
    write_dataset,
    write_mask,
)
from umamba.cli.main import main
from umamba.comparison.external_records import ExternalTest, Judged
from umamba.comparison.records import MetricStatistics, ModelRank, RankStability
from umamba.comparison.report.browsed_cases import browsed_cases
from umamba.comparison.report.page_scores import comparison_scores
from umamba.comparison.report.summary_external import external_notes, external_tables
from umamba.comparison.results import Results, read_results, save_results
from umamba.comparison.rows import Cost
from umamba.comparison.runs import collecting, external_tasks, opening
from umamba.comparison.runs.budget import Budget
from umamba.comparison.runs.collecting import Collector
from umamba.comparison.runs.engine import run_comparison
from umamba.comparison.runs.opening import open_comparison
from umamba.comparison.runs.planning import ComparisonRequest
from umamba.comparison.runs.requests import CompareRequest
from umamba.errors import ComparisonError, ResumableInterruptError, UMambaError
from umamba.nnunet.paths import Paths

pytestmark = pytest.mark.usefixtures("unchecked")  # other files test the statistics

TEST_CASES = [f"other_{number}" for number in range(4)]


@pytest.fixture(autouse=True)
def known_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(planned: Any, *_: object) -> dict[str, Cost]:
        return {model: Cost(10, 20, 30, None, 36.0, 2.0) for model in planned.models}

    monkeypatch.setattr(opening, "measure_costs", measure)
    monkeypatch.setattr(collecting, "write_report", lambda *_: None)


@pytest.fixture
def unanalysed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the statistics out, which take most of the time."""
    monkeypatch.setattr(collecting, "analyse", lambda results: results)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    for number, case in enumerate(TEST_CASES):
        write_image(tmp_path / "imagesTest" / f"{case}_0000.nii.gz", number)
        write_mask(tmp_path / "labelsTest" / f"{case}.nii.gz")
    return write_dataset(tmp_path)


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path))


def request_for(paths: Paths, **changes: Any) -> ComparisonRequest:
    root = paths.require("results").parent
    request = ComparisonRequest(
        dataset="901",
        models=("nnunet", "unetpp"),
        folds=(0, 1),
        seeds=(0, 1),
        budget=Budget("epochs", 3.0),
        output=root / "out",
        test=(root / "imagesTest", root / "labelsTest"),
    )
    return replace(request, **changes)


def compare(paths: Paths, executor: FakeExecutor | None = None, **changes: Any) -> Results:
    comparison = open_comparison(request_for(paths, **changes), paths, dry=False)
    used = executor or FakeExecutor(paths)
    run_comparison(comparison, used, lambda *_: None, Collector(make=InlineProcess))
    return read_results(request_for(paths).output)


def decoded(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return header and voxels of a case of a page."""
    raw = gzip.decompress(data)
    start = int.from_bytes(raw[:4], "little") + 4
    return json.loads(raw[4:start]), raw[start:]


def test_every_training_and_every_ensemble_predicts_the_test_set(paths: Paths) -> None:
    executor = FakeExecutor(paths)
    results = compare(paths, executor)
    test = results.test
    assert test is not None
    # 2 models x 2 seeds x (2 folds, 1 ensemble of them)
    assert len(executor.predictions) == 12
    assert len(test.cases) == 2 * 2 * 2 * len(TEST_CASES) * 2
    assert {(row.folds, row.seed) for row in test.ensemble_cases} == {((0, 1), 0), ((0, 1), 1)}
    # The small box is 3 wide; it is moved by 2 columns, or by 1 if an ensemble predicts.
    dice = {r.metrics["dice"] for r in test.cases if (r.model, r.label) == ("nnunet", "small")}
    assert dice == {1 / 3}
    ensembles = {r.metrics["dice"] for r in test.ensemble_cases if r.label == "small"}
    assert ensembles == {2 / 3}
    (comparison,) = test.trainings.dice.comparisons
    assert (comparison.model, comparison.n_cases, comparison.repeats) == ("unetpp", 4, "trainings")
    assert comparison.n_seeds == 4
    assert "(4 cases in common)" in test.trainings.verdicts["unetpp"]
    (of_ensembles,) = test.ensembles.dice.comparisons
    assert (of_ensembles.repeats, of_ensembles.n_seeds) == ("ensembles", 2)
    assert results.dataset.n_cases == 4  # cross-validation is as without a test set
    assert all(row.case in CASES for row in results.cases)
    assert test.in_training is None  # there is no raw data set
    with (request_for(paths).output / "test_cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(test.cases) + len(test.ensemble_cases)
    assert {(row["predicted_by"], row["fold"]) for row in rows} == {
        ("training", "0"),
        ("training", "1"),
        ("ensemble", "0-1"),
    }
    verdicts, means = external_tables(results)
    assert [row[:2] for row in verdicts.rows] == [("unetpp", "nnunet")]
    shown = dict(zip(means.header, means.rows[1], strict=True))
    assert shown["model"] == "unetpp"
    assert shown["rank, test set, single networks"].startswith("1 ")
    assert "same order" in means.notes[0].text


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ("bc", "By mean Dice b, c come in the same order on both."),
        ("cb", "the order of b, c changed (rank among these in cross-validation and on the test "),
        ("abc", "By mean Dice the models come in the same order on both."),
        ("acb", "(rank in cross-validation and on the test set: b 2 and 3, c 3 and 2); no ranges"),
    ],
)
def test_the_order_is_that_of_the_models_on_both_sides(order: str, says: str) -> None:
    def ranked(order: str) -> dict[str, MetricStatistics]:
        models = tuple(ModelRank(m, 0.5, n, 1, len(order), ()) for n, m in enumerate(order, 1))
        stability = RankStability(9, 0, True, models, 1.0, 1.0, 1.0)
        return {"dice": MetricStatistics(rank_stability=stability)}

    results = read_results(Path("tests/golden/comparison_v1.json"))
    test = ExternalTest("i", "l", 9, {}, {}, (), (), Judged(ranked(order)))
    _, means = external_tables(replace(results, statistics=ranked("abc"), test=test))
    assert says in means.notes[0].text


@pytest.mark.usefixtures("unanalysed")
@pytest.mark.parametrize("folds", [(0, 1), (1,)], ids=["ensembles", "trainings"])
def test_the_page_shows_the_cases_of_the_test_set(paths: Paths, folds: tuple[int, ...]) -> None:
    results = compare(paths, folds=folds)
    output = request_for(paths).output
    browser = browsed_cases(results, paths, output / "report.html")
    names = [f"{case} (test set)" for case in TEST_CASES]
    assert browser.index["cases"][-len(names) :] == names
    header, voxels = decoded(dict(browser.cases)[names[1]])
    assert header["channels"]
    of = ("nnunet", 0), ("nnunet", 1), ("unetpp", 0), ("unetpp", 1)
    assert tuple((mask["model"], mask["seed"]) for mask in header["masks"]) == of
    tester = "unetpp_folds0-1_seed0" if len(folds) > 1 else "unetpp_fold1_seed0"
    file = output / "test" / "predictions" / tester / f"{TEST_CASES[1]}.nii.gz"
    mask = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(file)), "LPS"))
    kind, offset = header["arrays"][len(header["channels"]) + 1 + of.index(("unetpp", 0))]
    assert kind == "u1"
    stored = np.frombuffer(voxels, np.uint8, mask.size, offset)
    np.testing.assert_array_equal(stored.reshape(mask.shape), mask)
    scores = comparison_scores(results)
    n_own = len(scores.cases) - len(names)
    assert [*scores.cases[n_own:]] == names
    assert scores.facts["cases of"] == ["cross-validation"] * n_own + ["the test set"] * len(names)
    assert scores.facts["fold"][n_own:] == [None] * len(names)
    test = results.test
    assert test is not None
    dice = [r.metrics["dice"] for r in test.cases if (r.model, r.case) == ("nnunet", TEST_CASES[2])]
    assert scores.values["dice"][""][0][n_own + 2] == pytest.approx(np.mean(dice))


@pytest.mark.usefixtures("unanalysed")
def test_how_the_test_set_is_predicted(paths: Paths) -> None:
    executor = FakeExecutor(paths)
    compare(paths, executor, models=("nnunet",), seeds=(0,), validation_tta="off")
    first, *_, ensemble = executor.predictions
    assert first[:2] == ("predict", "-i")
    assert option(first, "-f") == "0"
    assert "--disable_tta" in first
    assert option(first, "-m").endswith("nnUNetTrainerUMamba__nnUNetPlans_3epochs_s0__3d_fullres")
    at = ensemble.index("-f")
    assert ensemble[at : at + 3] == ("-f", "0", "1")
    assert option(ensemble, "-o").endswith("test/predictions/nnunet_folds0-1_seed0")


@pytest.mark.usefixtures("unanalysed")
def test_nothing_is_predicted_or_evaluated_twice(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare(paths, test=None, seeds=(0,))
    assert first.test is None
    added = compare(paths, seeds=(0,))  # a test set may come later, without training anything

    def fail(*_: object, **__: object) -> None:
        pytest.fail("evaluated again")

    monkeypatch.setattr(external_tasks, "evaluate_predictions", fail)
    executor = FakeExecutor(paths)
    again = compare(paths, executor, test=None, seeds=(0,))  # later calls keep it
    assert executor.predictions == executor.commands == []
    assert again.test == added.test


@pytest.mark.usefixtures("unanalysed")
def test_an_interrupted_comparison_goes_on_with_the_test_set(paths: Paths) -> None:
    with pytest.raises(ResumableInterruptError):
        compare(paths, FakeExecutor(paths, stop_after=2), seeds=(0,))
    results = read_results(request_for(paths).output)
    assert results.test is not None
    assert {(row.model, row.fold) for row in results.test.cases} == {("nnunet", 0), ("unetpp", 0)}
    executor = FakeExecutor(paths)
    results = compare(paths, executor, seeds=(0,))
    assert len(executor.predictions) == 4
    assert results.test is not None
    assert len(results.test.ensemble_cases) == 2 * len(TEST_CASES) * 2


@pytest.mark.usefixtures("unanalysed")
def test_a_case_that_cannot_be_predicted_is_told_and_tried_again(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    executor = FakeExecutor(paths)
    executor.unpredictable = TEST_CASES[2:3]
    results = compare(paths, executor, seeds=(0,))
    assert results.test is not None
    assert {training.status for training in results.trainings} == {"done"}
    assert "could not be predicted as a whole" in results.test.untested["unetpp_fold1_seed0"]
    assert "nnunet_folds0-1_seed0 is not tested: the test set could" in capsys.readouterr().err
    assert any("is missing" in note for note in external_notes(results))
    mended = compare(paths, seeds=(0,)).test
    assert mended is not None
    assert not mended.untested
    assert mended.cases


@pytest.mark.usefixtures("unanalysed")
def test_other_files_under_the_same_names_are_refused(paths: Paths) -> None:
    compare(paths, seeds=(0,), models=("nnunet",))
    root = paths.require("results").parent
    file = root / "labelsTest" / f"{TEST_CASES[0]}.nii.gz"
    content = file.read_bytes()
    file.write_bytes(content)  # another time is not another file
    compare(paths, seeds=(0,), models=("nnunet",))
    write_mask(file, shift=3)
    with pytest.raises(UMambaError, match=rf"labels/{file.name} has changed; give the same files"):
        compare(paths, seeds=(0,), models=("nnunet",))
    file.write_bytes(content)
    write_image(root / "imagesTest" / "new_0000.nii.gz", 9)
    write_mask(root / "labelsTest" / "new.nii.gz")
    with pytest.raises(UMambaError, match=r"images/new_0000\.nii\.gz is new"):
        compare(paths, seeds=(0,), models=("nnunet",))


@pytest.mark.usefixtures("unanalysed")
def test_images_that_are_trained_on_are_found_by_their_content(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    root = paths.require("results").parent
    raw = root / "raw" / NAME
    for number, case in enumerate(CASES):
        write_image(
            raw / "imagesTr" / f"{case}_0000.nii.gz", 2 if case == "case_07" else 50 + number
        )
        write_mask(raw / "labelsTr" / f"{case}.nii.gz")
    description = json.loads((root / "preprocessed" / NAME / "dataset.json").read_text())
    (raw / "dataset.json").write_text(json.dumps(description))
    results = compare(replace(paths, raw=root / "raw"), seeds=(0,), models=("nnunet",))
    assert results.test is not None
    assert results.test.in_training == {"other_2": "case_07"}
    said = capsys.readouterr().err
    assert "warning: 1 images of the test set are also images of the data set" in said
    assert "other_2 (training case case_07)" in said
    assert any("1 of these images" in note for note in external_notes(results))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("labelsTest/other_1.nii.gz", r"--test-labels .* lacks other_1\.nii\.gz: give a mask"),
        ("imagesTest/other_1_0000.nii.gz", r"--test-images lacks the images of other_1\.nii\.gz"),
    ],
)
def test_an_incomplete_test_set_is_refused_at_once(
    paths: Paths, missing: str, message: str
) -> None:
    (paths.require("results").parent / missing).unlink()
    with pytest.raises(UMambaError, match=message):
        open_comparison(request_for(paths), paths, dry=True)


def test_options_that_are_incomplete_or_wrong(paths: Paths, tmp_path: Path) -> None:
    with pytest.raises(UMambaError, match="needs both --test-images and --test-labels"):
        CompareRequest(dataset=1, models="nnunet", budget="epochs:1", test_images=tmp_path)
    with pytest.raises(UMambaError, match=r"--test-images: input folder .* does not exist"):
        compare(paths, test=(tmp_path / "nowhere", tmp_path))
    clusters = dict.fromkeys(CASES, "one")
    analysis = replace(request_for(paths).analysis, clusters=clusters)
    with pytest.raises(ComparisonError, match="other_0, other_1, other_2 and 1 more are missing"):
        compare(paths, analysis=analysis)


@pytest.mark.usefixtures("unanalysed")
def test_a_table_of_names_must_tell_test_cases_from_training_cases(paths: Paths) -> None:
    root = paths.require("results").parent
    for folder, ending in (("imagesTest", "_0000.nii.gz"), ("labelsTest", ".nii.gz")):
        (root / folder / f"{TEST_CASES[0]}{ending}").rename(root / folder / f"{CASES[0]}{ending}")
    names = {*CASES, *TEST_CASES[1:]}
    analysis = replace(request_for(paths).analysis, groups=dict.fromkeys(names, "one"))
    refused = rf"--groups: case {CASES[0]} is in the test set and, with images that were not"
    with pytest.raises(ComparisonError, match=refused):
        compare(paths, analysis=analysis, seeds=(0,), models=("nnunet",))


def test_reports_take_test_cases_into_their_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = read_results(Path("tests/golden/comparison_v1.json"))
    rows = tuple(replace(row, case=f"other_{row.case}") for row in results.cases)
    n_cases = len({row.case for row in rows})
    test = ExternalTest("/home/me/i", "/home/me/l", n_cases, {}, {}, rows, ())
    save_results(tmp_path / "results.json", replace(results, test=test))
    cases = {row.case for row in (*results.cases, *rows)}

    def reported(cases: set[str]) -> int:
        lines = [f"{case},{case.removeprefix('other_')}\n" for case in sorted(cases)]
        (tmp_path / "clusters.csv").write_text("case,cluster\n" + "".join(lines))
        return main(["report", str(tmp_path), "--clusters", str(tmp_path / "clusters.csv")])

    assert reported({row.case for row in results.cases}) == 2
    assert "are missing" in capsys.readouterr().err
    assert reported(cases) == 0
    assert "cases from /home/me/i, masks from /home/me/l." in (tmp_path / "summary.md").read_text()
    assert "/home/me" not in (page := (tmp_path / "report.html").read_text())
    assert "cases from i, masks from l." in page
    save_results(
        tmp_path / "results.json", replace(results, test=replace(test, cases=results.cases))
    )
    assert reported({row.case for row in results.cases}) == 2
    assert "in the test set and, with other images, in the data set" in capsys.readouterr().err
