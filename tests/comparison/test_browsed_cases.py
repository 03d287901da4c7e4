"""The cases in the page of a comparison: the masks shown, and what is said if some are not."""

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.io import imread

from report_results import MODELS, SEEDS, write_comparison
from umamba.comparison.report import browsed_cases as module
from umamba.comparison.report.browsed_cases import browsed_cases
from umamba.comparison.results import read_results
from umamba.nnunet.paths import Paths
from umamba.reporting.page import writing
from umamba.reporting.page.content import Page, Section


def decoded(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return header and voxels of a case."""
    raw = gzip.decompress(data)
    start = int.from_bytes(raw[:4], "little") + 4
    return json.loads(raw[4:start]), raw[start:]


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Paths]:
    """A comparison in 2D."""
    return write_comparison(tmp_path_factory.mktemp("flat"), n_cases=4)


def test_every_training_that_predicted_a_case_is_shown(flat: tuple[Path, Paths]) -> None:
    output, paths = flat
    results = read_results(output)
    browser = browsed_cases(results, paths)
    assert browser.index["labels"] == [["big", [1]], ["small", [2]]]
    assert browser.index["cases"] == sorted({row.case for row in results.cases})
    name, data = next(iter(browser.cases))
    header, voxels = decoded(data)
    shown = [(mask["model"], mask["seed"]) for mask in header["masks"]]
    assert shown == [(model, seed) for model in MODELS for seed in SEEDS]
    mask = header["masks"][1]
    rows = [r for r in results.cases if (r.model, r.seed, r.case) == ("nnunet", 1, name)]
    wanted = {row.label: row.metrics["dice"] for row in rows}
    assert mask["dice"] == {**wanted, "": pytest.approx(np.mean([*wanted.values()]))}
    training = next(t for t in results.trainings if t.training == rows[0].training)
    predicted = imread(Path(training.folder) / "validation" / f"{name}.png")
    kind, offset = header["arrays"][len(header["channels"]) + 2]
    assert kind == "u1"
    stored = np.frombuffer(voxels, np.uint8, predicted.size, offset)
    np.testing.assert_array_equal(stored.reshape(predicted.shape), predicted)


def test_of_many_trainings_the_first_seed_is_shown_and_it_is_said(
    flat: tuple[Path, Paths], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, paths = flat
    monkeypatch.setattr(module, "MOST_MASKS", 1)
    browser = browsed_cases(read_results(output), paths)
    assert browser.index["notes"] == [
        "Of each model, only the training with the lowest seed is shown."
    ]
    header, _ = decoded(next(iter(browser.cases))[1])
    assert [(m["model"], m["seed"]) for m in header["masks"]] == [(model, 0) for model in MODELS]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    output, paths = write_comparison(tmp_path, n_cases=2)
    results = read_results(output)
    first, second = browsed_cases(results, paths).index["cases"]
    for training in results.trainings:
        if training.model == "nnunet":
            (Path(training.folder) / "validation" / f"{first}.png").unlink(missing_ok=True)
    raw = paths.require("raw") / results.dataset.name
    for file in raw.glob(f"*/{second}*"):
        file.unlink()
    (header, _), (gone, _) = (decoded(data) for _, data in browsed_cases(results, paths).cases)
    assert header["notes"] == ["There is no segmentation file of nnunet."]
    assert {mask["model"] for mask in header["masks"]} == set(MODELS) - {"nnunet"}
    assert gone["problem"] == "The case is not in the raw data set any more."
    (raw / "dataset.json").unlink()
    browser = browsed_cases(results, paths, tmp_path / "no report.html")
    assert browser.index["cases"] == []
    assert browser.index["problem"].startswith("The images are missing: ")
    assert str(tmp_path) not in browser.index["problem"]
    assert [*browser.cases] == []


@pytest.mark.parametrize("largest", [1, 10**9], ids=["files", "embedded"])
def test_pictures_of_an_earlier_page_outlive_their_files(
    largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LARGEST_FILE", largest)
    output, paths = write_comparison(tmp_path, n_cases=2)
    results, page = read_results(output), output / "report.html"

    def write() -> None:
        section = Section("cases", "Cases", (browsed_cases(results, paths, page),))
        writing.write_page(Page("Cases", "", (section,)), page)

    write()
    kept = dict(browsed_cases(results, paths).cases)
    first = min(kept)
    for training in results.trainings:
        (Path(training.folder) / "validation" / f"{first}.png").unlink(missing_ok=True)
    assert dict(browsed_cases(results, paths).cases) != kept
    assert dict(browsed_cases(results, paths, page).cases) == kept
    shutil.rmtree(paths.require("raw") / results.dataset.name)
    write()
    browser = browsed_cases(results, paths, page)
    assert dict(browser.cases) == kept
    assert browser.index["notes"] == [module._KEPT]
    rows = [
        replace(row, metrics={**row.metrics, "dice": 0.25}) if row.case == first else row
        for row in results.cases
    ]
    again = browsed_cases(replace(results, cases=tuple(rows)), paths, page)
    for name, data in again.cases:  # scores are those of the results, not of the page
        header, voxels = decoded(data)
        before, same = decoded(kept[name])
        assert voxels == same
        assert (header == before) == (name != first)
        dice = {value for mask in header["masks"] for value in mask["dice"].values()}
        assert (dice == {0.25}) == (name == first)
    fewer = replace(results, cases=tuple(r for r in results.cases if r.model != "nnunet"))
    assert all("problem" in decoded(data)[0] for _, data in browsed_cases(fewer, paths, page).cases)
    page.write_text(page.read_text().replace('"cases"', '"none"'))
    assert "problem" in browsed_cases(results, paths, page).index
