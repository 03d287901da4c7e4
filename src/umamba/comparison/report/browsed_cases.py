"""The cases of a comparison for its page: image, reference, and every model's segmentation."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from umamba.comparison.report.gallery_views import label_values
from umamba.comparison.results import Results
from umamba.comparison.rows import Training, TrainingRow
from umamba.comparison.statistics.analysis import compared_scores
from umamba.datasets.checks import Case
from umamba.errors import UMambaError
from umamba.evaluation.browsed_cases import BrowsedCase, BrowsedMask, browse_cases
from umamba.images.file_names import split_ending
from umamba.nnunet.paths import Paths
from umamba.nnunet.raw_dataset import open_raw_dataset
from umamba.reporting.page.case_data import read_header
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
        earlier: A page that was written before, whose data are kept of cases of which images or
            segmentations are gone.

    Returns:
        The cases. If the data set is missing, there is only the reason, for the list of cases.
    """
    before = EarlierCases(earlier) if earlier is not None else None
    shown, notes = _shown_trainings(results)
    try:
        raw = open_raw_dataset(paths.require("raw") / results.dataset.name)
        found, channels = raw.cases, raw.channels
    except UMambaError:
        if not before:
            return CaseBrowser({"cases": [], "problem": _missing(results)})
        found, channels = (), ()
        notes += (_KEPT,)
    files = {case.case_id: case for case in found}
    dice = _dice(results)
    cases = {name: _browsed(name, files.get(name), shown[name], dice) for name in sorted(shown)}
    browser = browse_cases(
        cases,
        label_values(results.dataset.labels),
        unit=results.dataset.spacing_unit,
        ignore=results.settings.evaluation.ignore,
        channels=channels,
        notes=notes,
    )
    return replace(browser, cases=_completed(browser.cases, shown, before)) if before else browser


def _missing(results: Results) -> str:
    return (
        f"The images are missing: {results.dataset.name} was not in nnU-Net's folder of raw data "
        "when this page was written."
    )


def _completed(
    cases: Iterable[tuple[str, bytes]],
    shown: Mapping[str, list[TrainingRow]],
    before: EarlierCases,
) -> Iterator[tuple[str, bytes]]:
    """Yield the cases, with the data of an earlier page where they show more of the same."""
    for name, data in cases:
        kept = before.get(name)
        wanted = {(row.model, row.seed) for row in shown[name]}
        if kept and _parts(read_header(data)) < _parts(kept[0]) and _masks(kept[0]) <= wanted:
            yield name, kept[1]
        else:
            yield name, data


def _masks(header: Mapping[str, Any]) -> set[tuple[str, int | None]]:
    return {(mask["model"], mask["seed"]) for mask in header.get("masks", ())}


def _parts(header: Mapping[str, Any]) -> int:
    return len(header.get("channels", ())) + len(header.get("masks", ()))


def _browsed(
    name: str, case: Case | None, trainings: list[TrainingRow], dice: _Dice
) -> BrowsedCase:
    if case is None:
        return BrowsedCase(None, ())
    ending = split_ending(case.images[0])[1]
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
        found[row.training, row.case][row.label] = _known(row.metrics.get("dice"))
    for score in compared_scores(results, "dice"):
        training = Training(score.model, score.fold, score.seed)
        found[training, score.case][""] = _known(score.value)
    return found


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
