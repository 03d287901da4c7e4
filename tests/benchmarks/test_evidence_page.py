"""The rule that makes verdicts, the page that shows them, and the data sets behind it."""

import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread, imsave

from benchmarks.evidence.claims import NOT_MEASURED, Claim, Evidence, judge_claims
from benchmarks.evidence.effects import Effect
from benchmarks.evidence.forest import forest_chart
from benchmarks.evidence.measured import (
    FAR,
    Measured,
    far_dice,
    memory_with_everything_kept,
    time_exponent,
)
from benchmarks.evidence.memory import FILE as MEMORY
from benchmarks.evidence.memory import built
from benchmarks.evidence.meta_analysis import combine
from benchmarks.evidence.prepare import SourceError, prepare
from benchmarks.evidence.questions import Answer, Question, answer
from benchmarks.evidence.rules import about, at_least, greater, in_some, not_in_all
from benchmarks.evidence.sets import ALL, EVIDENCE, PATCHES, SETS
from benchmarks.evidence.tables import convergence_table, longer_table, objects_table
from benchmarks.evidence.verdict import PAGE, fill, main, read_evidence, write_page
from reference_cases import REPOSITORY
from small_results import finished, results_of, scored
from umamba.cli.main import build_parser
from umamba.comparison.records import Interval, MetricStatistics
from umamba.comparison.results import Results, read_results, save_results
from umamba.comparison.rows import LearningCurve, ObjectRow, Training
from umamba.comparison.runs.requests import CompareRequest
from umamba.errors import ComparisonError
from umamba.options import from_namespace
from umamba.reach.long_range_results import LongRangeResult, Trial
from umamba.system.environment import child_environment

MODELS = ("nnunet", "umamba_bot", "umamba_bot_nomamba")
CONTROL = MODELS[-1]
KEPT = "no activation checkpointing; weights and optimiser not counted"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 3.0, "holds"),
        (0.1, 0.9, "holds, by less than the margin"),
        (-3.0, 0.9, "does not hold"),
        (-3.0, 1.0, "not shown"),
        (0.0, 3.0, "not shown"),
        (float("nan"), float("nan"), "not shown"),
    ],
)
def test_verdict_on_a_difference(low: float, high: float, verdict: str) -> None:
    assert greater(Interval(low, high), margin=1.0) == verdict


def test_without_a_margin_the_sign_counts() -> None:
    ends = ((0.1, 0.2), (-0.1, 0.2), (-0.2, -0.1))
    told = [greater(Interval(*pair), margin=0.0) for pair in ends]
    assert told == ["holds", "not shown", "does not hold"]


def test_verdicts_on_some_and_on_all_data_sets() -> None:
    ahead, behind, open_ = Interval(1, 3), Interval(-3, 0.5), Interval(-1, 3)
    assert in_some([open_, ahead]) == "holds"
    assert in_some([behind, behind]) == "does not hold"
    assert in_some([open_, behind]) == "not shown"
    assert not_in_all([ahead, behind]) == "holds"
    assert not_in_all([ahead, ahead]) == "does not hold"
    assert not_in_all([ahead, open_]) == not_in_all([]) == in_some([]) == "not shown"


def test_verdicts_on_ratios() -> None:
    assert about(Interval(1.7, 2.4), 2.0) == "holds"
    assert about(Interval(1.0, 1.5), 2.0) == about(Interval(2.6, 3.0), 2.0) == "does not hold"
    assert about(Interval(1.5, 1.7), 2.0) == "not shown"
    assert at_least(Interval(1.3, 2.0), 1.25) == "holds"
    assert at_least(Interval(1.0, 1.2), 1.25) == "does not hold"
    assert at_least(Interval(1.2, 1.3), 1.25) == "not shown"


def compared(number: int = 0) -> Results:
    """Return results in which Bot and its control lead the U-Net by the more, the larger number."""
    rng = np.random.default_rng(abs(number))
    trainings = [Training(m, f, s) for m in MODELS for f in range(2) for s in range(2)]
    ahead = 0.03 + 0.001 * number
    mean = {model: 0.8 + ahead * (model != "nnunet") for model in MODELS}
    cases = [
        scored(t, f"case_{n}", "cell", dice=mean[t.model] + rng.normal(0, 0.004))
        for t in trainings
        for n in range(t.fold, 12, 2)
    ]
    return results_of([finished(t) for t in trainings], cases)


def save(root: Path, name: str, results: Results) -> None:
    (root / EVIDENCE / name).mkdir(exist_ok=True)
    save_results(root / EVIDENCE / name / "results.json", results)


def asked_of(name: str) -> CompareRequest:
    return from_namespace(CompareRequest, build_parser().parse_args(ALL[name].command(name)[1:]))


def write_root(root: Path) -> Path:
    """Write a repository with the pages and no evidence."""
    for file in (PAGE, EVIDENCE / "README.md"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / file, root / file)
    (root / "benchmarks").mkdir()
    (root / "benchmarks" / "results").symlink_to(REPOSITORY / "benchmarks" / "results")
    return root


def claim_of(claims: list[Claim], text: str, tested: str) -> Claim:
    (found,) = (c for c in claims if c.claim.startswith(text) and c.tested.endswith(tested))
    return found


def test_without_evidence_the_page_says_so(tmp_path: Path) -> None:
    write_root(tmp_path)
    evidence = read_evidence(tmp_path)
    write_page(tmp_path, evidence)
    page = (tmp_path / PAGE).read_text()
    assert "There is no comparison yet." in page
    assert page.count("not trained yet") == len(SETS)
    measured = {c.claim for c in judge_claims(evidence) if c.verdict != NOT_MEASURED}
    assert "Doubling the input doubles the cost" in measured
    assert "More accurate than a U-Net" not in measured


def test_a_comparison_that_has_not_ended_is_not_judged(tmp_path: Path) -> None:
    found = replace(compared(), statistics={"dice": MetricStatistics()})
    pending = replace(found.trainings[-1], status="pending", compared=False)
    begun = replace(found, trainings=(*found.trainings[:-1], pending))
    save(write_root(tmp_path), "pet", begun)
    save(tmp_path, "axons", compared())  # without statistics, as while models train
    evidence = read_evidence(tmp_path)
    write_page(tmp_path, evidence)
    page = (tmp_path / PAGE).read_text()
    assert "not finished: 11 of 12 trainings" in page
    assert "not finished: 12 of 12 trainings" in page
    better = claim_of(judge_claims(evidence), "More accurate than a U-Net", "Bot less U-Net")
    assert better.verdict == NOT_MEASURED


def test_page_follows_the_evidence(tmp_path: Path) -> None:
    root, known = write_root(tmp_path), {"dice": MetricStatistics()}
    for number, name in enumerate(SETS):
        save(root, name, replace(compared(number), statistics=known))
    (half,) = PATCHES
    save(root, half, replace(compared(-15), statistics=known))
    alone = tuple(case for case in compared(9).cases if case.model == "nnunet")
    save(root, "pet-longer", replace(compared(9), statistics=known, cases=alone))
    evidence = read_evidence(root)
    write_page(root, evidence)
    claims = judge_claims(evidence)
    better = claim_of(claims, "More accurate than a U-Net", "Bot less U-Net")
    assert (better.verdict, better.on) == ("holds", "4 data sets")
    assert claim_of(claims, "Mamba makes", "Bot less the same network without Mamba").verdict == (
        "does not hold"
    )
    assert claim_of(claims, "But not on all", "Bot less U-Net").verdict == "does not hold"
    assert claim_of(claims, "More accurate than a", "Enc less U-Net").verdict == NOT_MEASURED
    small = claim_of(claims, "Needs no massive patches", "costs Bot")
    assert small.verdict == "does not hold (one data set)"
    page = (root / PAGE).read_text()
    assert "4 x 6 x 4 = 96" in page
    longer = dict(re.findall(r"^\| (.*?) +\| U-Net .*\| (.*?) +\|$", page, re.MULTILINE))
    assert longer.pop(SETS["pet"].title).endswith(")")
    assert longer == {c.title: "not trained yet" for name, c in SETS.items() if name != "pet"}
    assert better.number in page
    assert "(evidence/forest.png)" in page
    assert (root / EVIDENCE / "forest.svg").read_text().count("Nuclei, 2D") >= 2
    write_page(root, evidence)
    assert (root / PAGE).read_text() == page, "writing it again changes nothing"


def table_of(text: str) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Cells by those that are words: of data set, label or network."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {tuple(row[:-3]): tuple(row[-3:]) for row in rows[2:]}


def test_networks_converge_if_the_whole_interval_says_so() -> None:
    slopes = {"nnunet": (0.01, 0.0101), "umamba_bot": (0, 1e-4), "umamba_enc": (-0.05, 0.07)}
    epochs = np.arange(1, 21)
    curves = tuple(
        LearningCurve(model, 0, seed, tuple(epochs), (0.0,) * 20, tuple(0.5 + slope * epochs))
        for model, both in slopes.items()
        for seed, slope in enumerate(both)
    )
    trainings = [finished(Training(curve.model, 0, curve.seed)) for curve in curves]
    found = {"pet": replace(results_of(trainings, []), curves=curves)}
    rows = table_of(convergence_table(Evidence({}, found, {}, {}, None, Path())))
    told = {network: converged for (_, network), (_, converged, _) in rows.items()}
    assert told == {"U-Net": "no", "Bot": "yes", "Enc": "not known"}
    assert {longer for *_, longer in rows.values()} == {"not trained yet", ""}


def test_a_network_that_gains_by_longer_trainings_had_not_converged() -> None:
    found, longer = compared(), compared(-15)  # without curves; Bot loses 1.5 points
    alone = replace(longer, cases=tuple(c for c in found.cases if c.model == "umamba_bot"))
    rows = table_of(
        convergence_table(Evidence({}, {"pet": longer}, {}, {"pet": alone}, None, Path()))
    )
    assert rows[SETS["pet"].title, "Bot"][1] == "no"
    assert rows[SETS["pet"].title, "U-Net"][1] == "not known"


def test_who_is_ahead_is_asked_again_after_longer_trainings() -> None:
    found, longer = compared(), compared(-20)
    both = dict.fromkeys(("nuclei", "pet", "axons"), found)
    rows = longer_table(Evidence({}, both, {}, {"axons": longer}, None, Path())).splitlines()[2:]
    told = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    minus = "\N{MINUS SIGN}"
    nuclei, axons = SETS["nuclei"].title, SETS["axons"].title
    assert [row[:2] for row in told] == [
        [nuclei, f"Bot {minus} U-Net"],
        [axons, f"Bot {minus} U-Net"],
        [axons, f"Bot {minus} without Mamba"],
    ]
    assert [row[3] == "not trained yet" for row in told] == [True, False, False]
    ahead = [float(cell.split()[0]) for cell in told[1][2:]]
    assert ahead == [pytest.approx(3, abs=0.4), pytest.approx(1, abs=0.4)]


def test_objects_that_are_not_there_are_counted_per_case() -> None:
    trainings = [Training("umamba_bot", 0, seed) for seed in range(2)]
    objects = [
        ObjectRow(**vars(t), case=case, label="cell", stratum=size, n_reference=4,
                  n_prediction=found, n_matched=matched, f1=None, dice=None)
        for t in trainings
        for case in ("a", "b")
        for size, found, matched in (("small", 3, 1), ("large", 9, 4), ("all", 12, 5))
    ]  # fmt: skip
    results = results_of([finished(t) for t in trainings], [], instances=objects)
    cuts = replace(results.settings.evaluation, size_cut_points={"cell": (7.6, 20.0)})
    results = replace(results, settings=replace(results.settings, evaluation=cuts))
    rows = table_of(objects_table(Evidence({}, {"pet": results}, {}, {}, None, Path())))
    unit = results.dataset.spacing_unit
    assert rows[SETS["pet"].title, "cell", f"8 {unit}", "Bot"] == ("25%", "2.0", "7.0")


def far_file(folder: Path, dice: list[tuple[int, int, float, float]]) -> Path:
    """Write trainings of Bot: axes, stages, Dice with the nearest and with the farthest markers."""
    trials = [
        Trial("umamba_bot", stages, dim, 0, 1, 0.1, 1.0, {8: near, FAR: far}, {8: 1.0}, {}, {})
        for dim, stages, near, far in dice
    ]
    file = folder / "long-range.json"
    file.write_text(json.dumps(LongRangeResult(tuple(trials), {}).to_dict()))
    return file


def test_far_markers_are_told_by_the_trainings_that_learned(tmp_path: Path) -> None:
    assert far_dice(tmp_path / "long-range.json", "umamba_bot") is None
    two = [(2, 3, 1.0, 0.9), (3, 3, 1.0, 0.8)]
    file = far_file(tmp_path, [*two, (3, 3, 0.5, 0.4), (2, 5, 1.0, 0.1)])
    far = far_dice(file, "umamba_bot")
    assert far is not None
    assert (far.counted, far.left_out) == ({2: 1, 3: 1}, {3: 1})
    low = 0.85 - 0.05 * 12.706  # by Student's distribution; 1 is the highest Dice
    assert far.found == Measured(
        pytest.approx(0.85), Interval(pytest.approx(low, abs=1e-3), 1.0), 2
    )
    three = far_dice(far_file(tmp_path, [*two, (2, 3, 1.0, 1.0)]), "umamba_bot")
    assert three is not None
    assert three.found.interval.low == pytest.approx(0.9 - 0.1 / 3**0.5 * 4.3027, abs=1e-3)
    assert three.found.interval.high == 1.0
    assert far_dice(file, "nnunet") is None


def test_a_single_training_or_network_is_not_judged(tmp_path: Path) -> None:
    far_file(tmp_path, [(2, 3, 1.0, 0.99)])
    peaks = {"pet": {"nnunet": 100, "umamba_bot": 190, "umamba_enc": 190, CONTROL: 100}}
    (tmp_path / MEMORY).write_text(json.dumps({"peak_bytes": peaks}))
    shutil.copy(REPOSITORY / "benchmarks" / "results" / "scaling.json", tmp_path)
    claims = judge_claims(Evidence(answer({}), {}, {}, {}, None, tmp_path))
    far = claim_of(claims, "It looks", "Bot, 0.75 or more")
    assert (far.number, far.verdict) == ("0.99", "one training only, not judged")
    memory = claim_of(claims, "About twice", f"Bot / U-Net, {KEPT}")
    assert (memory.number, memory.verdict) == ("1.90", "one network only, not judged")


def test_networks_as_published_are_judged_over_all_sizes(tmp_path: Path) -> None:
    file = tmp_path / MEMORY
    assert memory_with_everything_kept(file, "umamba_bot", "nnunet") is None
    pet = {"nnunet": 100, "umamba_bot": 180, "umamba_enc": 210, CONTROL: 100}
    axons = {"nnunet": 100, "umamba_bot": 220, "umamba_enc": 250, CONTROL: 100}
    file.write_text(json.dumps({"peak_bytes": {"pet": pet, "axons": axons}}))
    found = memory_with_everything_kept(file, "umamba_bot", "nnunet")
    assert found is not None
    assert (found.value, found.n) == (pytest.approx((1.8 * 2.2) ** 0.5), 2)
    assert found.interval.low < 1.8 < 2.2 < found.interval.high
    claims = judge_claims(Evidence(answer({}), {}, {}, {}, None, tmp_path))
    kept = claim_of(claims, "About twice", f"Bot / U-Net, {KEPT}")
    assert (kept.verdict, kept.on) == ("not shown", "2 networks, on a CPU")


def test_what_cannot_be_read_is_one_line_and_what_is_missing_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, none = write_root(tmp_path), tmp_path / "none"
    monkeypatch.setattr("sys.argv", ["verdict", "--root", str(root), "--measured", str(none)])
    main()
    doubled = claim_of(judge_claims(read_evidence(root, none)), "Doubling", "sequence doubles")
    assert doubled.verdict == NOT_MEASURED
    capsys.readouterr()
    (root / EVIDENCE / "pet").mkdir()
    (root / EVIDENCE / "pet" / "results.json").write_text("{")
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "results.json" in told


STOPPED = """
import sys
from benchmarks.evidence import run

run.UMAMBA = ("-c", '''
import signal, sys, time
from pathlib import Path

asked = []
signal.signal(signal.SIGINT, lambda *_: asked.append(1))
Path("ready").touch()
while not asked:
    time.sleep(0.01)
time.sleep(1)  # as if a checkpoint were written
Path("saved").touch()
sys.exit(75)
''')
sys.argv = ["run", "nuclei"]
run.main()
"""


def test_what_lies_beyond_the_forest_plot_has_an_arrow() -> None:
    effects = {
        "nuclei": Effect(17.0, 1.0, Interval(15.0, 19.0), 9, 9.0),
        "pet": Effect(-3.0, 5.0, Interval(-13.0, 7.0), 9, 9.0),
    }
    question = Question("key", "Dice", lambda _: None, in_figure=True)
    chart = forest_chart({"key": Answer(question, effects, combine(effects))})
    assert chart is not None
    layers = [(layer["mark"], layer["data"]["values"]) for layer in chart.spec["layer"][1:]]
    (intervals,) = (values for mark, values in layers if mark.get("strokeWidth") == 2.5)
    assert [(row["low"], row["high"]) for row in intervals[:2]] == [(12.0, 12.0), (-12.0, 7.0)]
    left, right = (
        {row["row"].partition("|")[2] for row in values}
        for mark, values in layers
        if "triangle" in str(mark.get("shape"))
    )
    assert ("Tumours in PET, 3D" in left, "Tumours in PET, 3D" in right) == (True, False)
    assert ("Nuclei, 2D" in left, "Nuclei, 2D" in right) == (False, True)


@pytest.mark.parametrize("name", SETS)
def test_networks_whose_memory_is_measured_are_those_of_the_comparisons(name: str) -> None:
    network, _, patch, _ = built(name, "nnunet")
    strides = [math.prod(along) for along in zip(*network.encoder.strides, strict=True)]
    compared_patch = asked_of(name).patch_size or patch
    assert all(part <= whole for part, whole in zip(compared_patch, patch, strict=True))
    deepest = tuple(n // stride for n, stride in zip(compared_patch, strides, strict=True))
    assert deepest == SETS[name].deepest
    features = ",".join(map(str, dict.fromkeys(network.encoder.output_channels)))
    assert features in shlex.split(SETS[name].options)


def test_ctrl_c_waits_until_the_comparison_has_saved(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED],
        cwd=tmp_path,
        env=child_environment(PYTHONPATH=os.pathsep.join([str(REPOSITORY), *sys.path])),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (75, "")
    assert (tmp_path / "saved").exists()


def test_page_without_a_place_is_refused() -> None:
    page = fill("before\n<!-- a -->\nold\n<!-- / -->\nafter", {"a": r"new \1"})
    assert page == "before\n<!-- a -->\n\nnew \\1\n\n<!-- / -->\nafter"
    with pytest.raises(ComparisonError, match=r"no place for b; add <!-- b -->"):
        fill(page, {"b": ""})


def test_exponents_are_measured_ones() -> None:
    scaling = REPOSITORY / "benchmarks" / "results" / "scaling.json"
    layers = {layer["name"]: layer for layer in json.loads(scaling.read_text())["layers"]}
    for name in ("mamba", "attention"):
        exponent = time_exponent(scaling, name)
        assert exponent is not None
        assert exponent.value == pytest.approx(layers[name]["time_exponent"])
        assert exponent.interval.low < exponent.value < exponent.interval.high


def test_commands_stand_in_the_page() -> None:
    page = (REPOSITORY / EVIDENCE / "README.md").read_text()
    written = [shlex.split(line) for line in re.findall(r"^umamba \w+ .*$", page, re.MULTILINE)]
    assert written == [
        command for name, comparison in ALL.items() for command in comparison.commands(name)
    ]


def write_axons(source: Path) -> None:
    """Two rats; one image has an alpha channel, and its masks have stray values."""
    for rat, alpha in (("sub-rat1", False), ("sub-rat2", True)):
        for number in range(2):
            name = f"{rat}_sample-{number}_SEM"
            image = np.full((20, 24), 90, np.uint8)
            image[5:9] = 120 + number
            axon, myelin = np.zeros_like(image), np.zeros_like(image)
            myelin[4:12, 4:12], axon[6:10, 6:10], axon[0, 0] = 255, 255, 130
            labels = source / "derivatives" / "labels" / rat / "micr"
            for folder in (labels, source / rat / "micr"):
                folder.mkdir(parents=True, exist_ok=True)
            whole = np.stack([image, np.full_like(image, 255)], -1) if alpha else image
            imsave(source / rat / "micr" / f"{name}.png", whole, check_contrast=False)
            for kind, mask in (("axon", axon), ("myelin", myelin)):
                imsave(labels / f"{name}_seg-{kind}-manual.png", mask, check_contrast=False)


def test_a_download_becomes_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_axons(tmp_path / "source")
    raw, preprocessed = tmp_path / "raw", tmp_path / "preprocessed"
    assert prepare("axons", tmp_path / "source", raw, preprocessed) == 0
    folder = raw / "Dataset042_Axons"
    mask = imread(folder / "labelsTr" / "sub-rat2_sample-1.png")
    assert [int((mask == value).sum()) for value in range(3)] == [416, 16, 48]
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {
        "background": 0, "axon": 1, "myelin": 2,
    }  # fmt: skip
    splits = json.loads((preprocessed / folder.name / "splits_final.json").read_text())
    first = ["sub-rat1_sample-0", "sub-rat1_sample-1"]
    assert [splits[0]["val"], splits[1]["train"]] == [first, first]
    assert (tmp_path / "axons_clusters.csv").read_text().splitlines()[-1] == (
        "sub-rat2_sample-1,sub-rat2"
    )
    with pytest.raises(SourceError, match=r"STS_001/PET_image.nii.gz.*it should hold ibsi_1"):
        prepare("pet", tmp_path / "source", raw, preprocessed)


def test_folds_are_there_before_the_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_axons(tmp_path / "source")

    def killed(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "call", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare("axons", tmp_path / "source", tmp_path / "raw", tmp_path / "preprocessed")
    assert list(tmp_path.glob("preprocessed/*/splits_final.json"))
    assert (tmp_path / "axons_clusters.csv").exists()


@pytest.mark.slow
def test_the_committed_page_is_the_generated_one(tmp_path: Path) -> None:
    for folder in ("docs", "benchmarks/results"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    write_page(tmp_path, read_evidence(tmp_path))
    for page in (PAGE, EVIDENCE / "README.md"):
        assert (tmp_path / page).read_text() == (REPOSITORY / page).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_committed_results_are_those_of_the_command(name: str) -> None:
    folder = REPOSITORY / EVIDENCE / name
    if not folder.is_dir():
        pytest.skip(f"{name} has not been trained yet")
    settings = read_results(folder).settings
    asked = asked_of(name)
    for option in ("features", "patch_size", "batch_size", "folds", "validation_tta"):
        assert getattr(settings, option) == getattr(asked, option), option
    assert settings.budget == {asked.budget.kind: asked.budget.amount}
