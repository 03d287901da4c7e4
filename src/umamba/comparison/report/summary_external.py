"""The external test in a summary: verdicts and ranks beside those of cross-validation."""

from collections.abc import Collection, Mapping
from pathlib import Path

from umamba.comparison.external_records import ExternalTest
from umamba.comparison.records import MetricStatistics, ModelComparison, ModelRank
from umamba.comparison.report.summary_cells import (
    MISSING,
    by_model,
    difference,
    number,
    share,
    table,
)
from umamba.comparison.results import Results
from umamba.comparison.statistics.verdicts import outcome
from umamba.reporting.tables import Table

__all__ = ["external_notes", "external_tables", "external_verdicts"]

_HEADS = ("cross-validation", "test set, single networks", "test set, ensembles of folds")


def external_verdicts(results: Results) -> list[str]:
    """Return a sentence on each model, for ensembles if there are any, else for trainings."""
    test = results.test
    if test is None:
        return []
    kinds = (("Single networks", test.trainings), ("Ensembles of folds", test.ensembles))
    return [
        f"{kind}: {sentence}" for kind, judged in kinds for sentence in judged.verdicts.values()
    ]


def external_tables(results: Results) -> list[Table]:
    """Return the tables that compare the test set with cross-validation; none without a test."""
    test = results.test
    if test is None:
        return []
    found = [results.dice, test.trainings.dice, test.ensembles.dice]
    return [_verdict_table(results, found), _mean_table(results, found)]


def _verdict_table(results: Results, found: list[MetricStatistics]) -> Table:
    baseline = results.settings.baseline
    rows = [["model", "against", *_HEADS]]
    pairs = [(name, baseline) for name in results.model_names if name != baseline]
    pairs += [(c.model, c.baseline) for c in results.dice.controls]
    for pair in dict.fromkeys(pairs):
        cells = [_judged(_comparisons(statistics).get(pair)) for statistics in found]
        rows.append([*pair, *cells])
    explained = (
        "Verdicts on Dice, and the difference in Dice points with its 95 % interval. On the test "
        "set every training predicts every case: from three folds on the mean over the seeds of a "
        "fold counts as one repetition, as its trainings share their data."
    )
    return table(rows, (0, 1, 2, 3, 4), notes=[explained])


def _comparisons(found: MetricStatistics) -> Mapping[tuple[str, str], ModelComparison]:
    both = (*found.controls, *found.comparisons)
    return {(one.model, one.baseline): one for one in both}


def _judged(comparison: ModelComparison | None) -> str:
    if comparison is None:
        return MISSING
    return f"{outcome(comparison)}, {difference(comparison.difference)}"


def _mean_table(results: Results, found: list[MetricStatistics]) -> Table:
    ranks = [_ranks(statistics) for statistics in found]
    heads = [f"{what}, {head}" for head in _HEADS for what in ("Dice [95 % interval]", "rank")]
    rows = [["model", *heads]]
    for name in results.model_names:
        row = [name]
        for statistics, ranked in zip(found, ranks, strict=True):
            summary = by_model(statistics.summaries).get(name)
            row += [share(summary.estimate if summary else None), _rank(ranked.get(name))]
        rows.append(row)
    return table(rows, notes=[_on_ranking(ranks)])


def _ranks(found: MetricStatistics) -> dict[str, ModelRank]:
    stability = found.rank_stability
    return by_model(stability.models) if stability else {}


def _rank(rank: ModelRank | None) -> str:
    return f"{rank.rank} [{rank.rank_low}, {rank.rank_high}]" if rank else MISSING


def _on_ranking(ranks: list[dict[str, ModelRank]]) -> str:
    """Say whether the order of the models changed, and whether that is beyond doubt."""
    inside, trainings, ensembles = ranks
    outside = trainings or ensembles
    common = [model for model in inside if model in outside]
    if len(common) < 2:
        return "Too few models have results on both for their order to be compared."
    ranks_inside, ranks_outside = _ranks_among(inside, common), _ranks_among(outside, common)
    moved = [
        f"{model} {ranks_inside[model]} and {ranks_outside[model]}"
        for model in common
        if ranks_inside[model] != ranks_outside[model]
    ]
    if not moved:
        return f"By mean Dice {_all_of(common, inside, outside)} come in the same order on both."
    if inside.keys() != outside.keys():
        return (
            f"By mean Dice the order of {', '.join(common)} changed (rank among these in "
            f"cross-validation and on the test set: {', '.join(moved)}); the ranges of their ranks "
            "are among different models, so whether that is chance is not said."
        )
    apart = [
        model
        for model in common
        if inside[model].rank_high < outside[model].rank_low
        or outside[model].rank_high < inside[model].rank_low
    ]
    sure = (
        f"the ranges of {', '.join(apart)} do not meet"
        if apart
        else "no ranges of ranks lie apart, so the change may be chance"
    )
    return (
        f"By mean Dice the order changed (rank in cross-validation and on the test set: "
        f"{', '.join(moved)}); {sure}."
    )


def _ranks_among(ranks: Mapping[str, ModelRank], models: Collection[str]) -> dict[str, int]:
    """Return the ranks that some models have among themselves."""
    return {
        model: 1 + sum(ranks[other].rank < ranks[model].rank for other in models)
        for model in models
    }


def _all_of(common: Collection[str], *sides: Mapping[str, ModelRank]) -> str:
    return "the models" if all(len(side) == len(common) for side in sides) else ", ".join(common)


def external_notes(results: Results, *, whole_paths: bool = True) -> list[str]:
    """Return sentences on the test set, and on what is wrong with it.

    Args:
        results: Results of the comparison.
        whole_paths: Whether folders are named by their whole path, not by their name alone.
    """
    test = results.test
    if test is None:
        return []
    images, labels = (
        path if whole_paths else Path(path).name for path in (test.images, test.labels)
    )
    notes = [f"{test.n_cases} cases from {images}, masks from {labels}."]
    if test.in_training is None:
        notes.append("Whether models were trained on some of these images was not checked.")
    elif test.in_training:
        pairs = ", ".join(f"{case} ({known})" for case, known in test.in_training.items())
        notes.append(
            f"{number(len(test.in_training), 0)} of these images are also training images, "
            f"which flatters every model: {pairs}."
        )
    notes += [f"{name} is missing: {reason}" for name, reason in test.untested.items()]
    return notes + _not_ensembled(results, test)


def _not_ensembled(results: Results, test: ExternalTest) -> list[str]:
    there = {row.model for row in test.ensemble_cases}
    lacking = [name for name in results.model_names if name not in there]
    if not lacking:
        return []
    return [
        f"No ensemble of {', '.join(lacking)}: it needs all of at least two folds of a seed, "
        "trained with one."
    ]
