"""The cases of a comparison for its page: image, reference, and every model's segmentation."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from umamba.comparison.external_records import test_predictions
from umamba.comparison.report.gallery_views import label_values
from umamba.comparison.report.page_scores import finite, on_test_set
from umamba.comparison.results import Results
from umamba.comparison.rows import Ensemble, Training, TrainingRow
from umamba.comparison.statistics.analysis import compared_scores, ensembles_on_test_set
from umamba.datasets.checks import Case
from umamba.errors import UMambaError
from umamba.evaluation.browsed_cases import BrowsedCase, BrowsedMask, browse_cases
from umamba.evaluation.case_images import find_images
from umamba.images.file_names import split_ending
from umamba.nnunet.paths import Paths
from umamba.nnunet.raw_dataset import open_raw_dataset
from umamba.reporting.page.case_data import read_header, with_dice
from umamba.reporting.page.content import CaseBrowser
from umamba.reporting.page.reading import EarlierCases

__all__ = ["browsed_cases"]

MOST_MASKS = 2_000  # in a page, above which only one training of each model is shown
_KEPT = "The data set was not at hand: images and masks are those of the report before this one."
_Dice = dict[tuple[Training, str], dict[str, float | None]]


def browsed_cases(results: Results, paths: Paths, earlier: Path | None = None) -> CaseBrowser:
    """Return the validation cases of a comparison, each with the trainings that predicted it.

    Args:
        results: Results of the comparison.
        paths: nnU-Net's folders; images and references come from the raw data set.
        earlier: The page in the folder of results. If one was written before, its data are kept of
            cases of which images or segmentations are gone. `None` shows no test set, either.

    Returns:
        The cases. If the data set is missing, there is only the reason, for the list of cases.
    """
    before = EarlierCases(earlier) if earlier is not None else None
    shown, notes = _shown_trainings(results)
    tested = _tested_cases(results, earlier, first_only=bool(notes))
    try:
        raw = open_raw_dataset(paths.require("raw") / results.dataset.name)
        found, channels = raw.cases, raw.channels
    except UMambaError:
        if not before and not tested:
            return CaseBrowser({"cases": [], "problem": _missing(results)})
        found, channels = (), ()
        notes += (_KEPT if before else _missing(results),)
    files = {case.case_id: case for case in found}
    dice = _dice(results)
    cases = {name: _browsed(name, files.get(name), shown[name], dice) for name in sorted(shown)}
    cases |= tested
    browser = browse_cases(
        cases,
        label_values(results.dataset.labels),
        unit=results.dataset.spacing_unit,
        ignore=results.settings.evaluation.ignore,
        channels=channels,
        notes=notes,
    )
    return replace(browser, cases=_completed(browser.cases, cases, before)) if before else browser


def _missing(results: Results) -> str:
    return (
        f"The images are missing: {results.dataset.name} was not in nnU-Net's folder of raw data "
        "when this page was written."
    )


def _completed(
    cases: Iterable[tuple[str, bytes]],
    browsed: Mapping[str, BrowsedCase],
    before: EarlierCases,
) -> Iterator[tuple[str, bytes]]:
    """Yield the cases, with the data of an earlier page where they show more of the same.

    Scores are those of the results, which may have been evaluated again.
    """
    for name, data in cases:
        kept = before.get(name)
        dice = {(mask.model, mask.seed): mask.dice for mask in browsed[name].masks}
        fits = kept is not None and _masks(kept[0]) <= dice.keys()
        if kept and fits and _parts(read_header(data)) < _parts(kept[0]):
            yield name, with_dice(kept[1], dice)
        else:
            yield name, data


def _masks(header: Mapping[str, Any]) -> set[tuple[str, int | None]]:
    return {(mask["model"], mask["seed"]) for mask in header.get("masks", ())}


def _parts(header: Mapping[str, Any]) -> int:
    return len(header.get("channels", ())) + len(header.get("masks", ()))


def _browsed(
    name: str, case: Case | None, trainings: list[TrainingRow], dice: _Dice
) -> BrowsedCase:
    ending = split_ending(case.images[0])[1] if case else ""
    masks = [
        BrowsedMask(
            model=row.model,
            path=Path(row.folder) / "validation" / f"{name}{ending}",
            seed=row.seed,
            dice=dice.get((row.training, name), {}),
        )
        for row in trainings
    ]
    return BrowsedCase(case, masks)


def _tested_cases(
    results: Results, page: Path | None, *, first_only: bool
) -> dict[str, BrowsedCase]:
    """Return the cases of the test set, with the ensembles or, without any, the trainings.

    Of the trainings of a model from one seed, that of the first fold is shown.
    """
    test, part = results.test, ensembles_on_test_set(results)
    if test is None or part is None or page is None:
        return {}
    folders = {
        Training(row.model, 0, row.seed): str(Ensemble(row.model, row.folds, row.seed))
        for row in test.ensemble_cases
    }
    if not folders:
        part = results.on_test_set() or part
        ours = sorted({row.training for row in test.cases if row.seed is not None}, key=_order)
        first = {(one.model, one.seed): one for one in reversed(ours)}
        folders = {one: str(one) for one in ours if one in first.values()}
    if first_only:
        lowest = {one.model: one for one in sorted(folders, key=_order, reverse=True)}
        folders = {one: folder for one, folder in folders.items() if one in lowest.values()}
    dice = _dice(part)
    names = sorted({row.case for row in (*test.cases, *test.ensemble_cases)})
    images, masks = (_files(folder, names) for folder in (test.images, test.labels))
    place = {name: number for number, name in enumerate(results.model_names)}
    found = {}
    for name in names:
        mask = masks.get(name, (None,))[0]
        case = None if mask is None else Case(name, images.get(name, ()), mask)
        ending = split_ending(mask)[1] if mask else ""
        found[on_test_set(name)] = BrowsedCase(
            case,
            [
                BrowsedMask(
                    model=one.model,
                    path=test_predictions(page.parent, folder) / f"{name}{ending}",
                    seed=one.seed,
                    dice=dice.get((one, name), {}),
                )
                for one, folder in sorted(
                    folders.items(), key=lambda item: (place[item[0].model], _order(item[0]))
                )
            ],
        )
    return found


def _order(training: Training) -> tuple[str, float, int]:
    seed = math.inf if training.seed is None else training.seed
    return training.model, seed, training.fold


def _files(folder: str, cases: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    return find_images(Path(folder), cases) if Path(folder).is_dir() else {}


def _shown_trainings(results: Results) -> tuple[dict[str, list[TrainingRow]], tuple[str, ...]]:
    """Return the compared trainings that scored each case, by model and seed, and a remark."""
    place = {name: number for number, name in enumerate(results.model_names)}
    rows = {row.training: row for row in results.trainings if row.compared}
    scored: dict[str, set[Training]] = defaultdict(set)
    for row in results.cases:
        if row.training in rows:
            scored[row.case].add(row.training)

    def order(row: TrainingRow) -> tuple[int, int | float]:
        return place[row.model], math.inf if row.seed is None else row.seed

    shown = {case: sorted((rows[t] for t in its), key=order) for case, its in scored.items()}
    if sum(map(len, shown.values())) <= MOST_MASKS:
        return shown, ()
    first = {
        case: list({row.model: row for row in reversed(its)}.values())[::-1]
        for case, its in shown.items()
    }
    if first == shown:
        return shown, ()
    return first, ("Of each model, only the training with the lowest seed is shown.",)


def _dice(results: Results) -> _Dice:
    """Return Dice by training and case, for each label and as the mean over them."""
    found: _Dice = defaultdict(dict)
    for row in results.cases:
        found[row.training, row.case][row.label] = finite(row.metrics.get("dice"))
    for score in compared_scores(results, "dice"):
        training = Training(score.model, score.fold, score.seed)
        found[training, score.case][""] = finite(score.value)
    return found
