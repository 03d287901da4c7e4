"""The tables of a summary on how well models segment."""

import math
from collections import Counter
from collections.abc import Sequence

from umamba.comparison.charts.sizes import counted_strata
from umamba.comparison.records import (
    ALPHA,
    GroupComparison,
    MetricStatistics,
    ModelRank,
    ModelSummary,
    Rate,
)
from umamba.comparison.report.summary_cells import (
    MISSING,
    POINTS,
    by_model,
    difference,
    evidence,
    number,
    p_value,
    share,
    table,
)
from umamba.comparison.results import Results
from umamba.comparison.statistics.completeness import incomplete_models
from umamba.comparison.statistics.verdicts import DICE_POINTS, Unit
from umamba.evaluation.metric import volume_unit
from umamba.reporting.tables import BoldCell, Note, Table

__all__ = [
    "controls_table",
    "detection_table",
    "groups_table",
    "metrics_table",
    "models_table",
    "sensitivity_table",
    "strata_table",
    "volumes_table",
]


def models_table(results: Results) -> Table:
    """Return the table of each model's mean Dice, difference to the baseline, and evidence."""
    summaries = by_model(results.dice.summaries)
    comparisons = by_model(results.dice.comparisons)
    stability = results.dice.rank_stability
    ranks = by_model(stability.models) if stability else {}
    baseline, incomplete = results.settings.baseline, incomplete_models(results)
    head = [
        "model",
        "Dice [95 % interval]",
        f"Dice points above {baseline} [95 % interval]",
        "detectable",
        "p of mean",
        "p of ranks",
        "d_z",
        "rank-biserial",
        "rank [95 %]",
        "seeds",
        "SD over seeds",
        "cases",
    ]
    rows = [head]
    for name in results.model_names:
        summary, comparison = summaries.get(name), comparisons.get(name)
        rank = ranks.get(name)
        rows.append(
            [
                BoldCell(name, "(baseline)") if name == baseline else name,
                share(summary.estimate if summary else None),
                *evidence(comparison, detectable=True),
                _rank(rank, incomplete.get(name)),
                _seeds(summary),
                number(summary.seed_standard_deviation if summary else None, 2, factor=POINTS),
                str(summary.n_cases) if summary else MISSING,
            ]
        )
    explained = (
        "Dice is the mean over cases of the mean over trainings and labels. The p values, after "
        "Holm's correction for the number of models, are those of the mean difference (t test, "
        "over cases and seeds) and of the ranks of the cases (Wilcoxon's signed-rank test, for "
        "these trained networks). The detectable difference, in Dice points, is the one that such "
        "cases and trainings would show with a probability of 80 %. d_z and the rank-biserial "
        "correlation are effect sizes of the differences per case; SD over seeds is that of the "
        "mean, in Dice points. A model without all of its trainings is not ranked, and its mean is "
        "over other cases than those of others."
    )
    return table(rows, notes=[explained])


def _rank(rank: ModelRank | None, lacks: str | None) -> str:
    if lacks:
        return f"not ranked: {lacks}"
    return f"{rank.rank} [{rank.rank_low}, {rank.rank_high}]" if rank else MISSING


def _seeds(summary: ModelSummary | None) -> str:
    if summary is None:
        return MISSING
    named = ["no seed" if seed is None else str(seed) for seed in summary.seeds]
    return ", ".join(named)


def controls_table(results: Results) -> Table:
    """Return the table of each model against its own controls."""
    head = [
        "model",
        "control",
        "Dice points above the control [95 % interval]",
        "p of mean",
        "p of ranks",
        "d_z",
        "rank-biserial",
        "cases",
    ]
    rows = [head]
    rows += [[c.model, c.baseline, *evidence(c), str(c.n_cases)] for c in results.dice.controls]
    return table(rows, (0, 1))


def sensitivity_table(results: Results) -> Table:
    """Return the table of the differences in Dice under other assumptions."""
    head = [
        "model",
        "against",
        "one variance of trainings for both",
        "one for each",
        "folds as single numbers",
        "p of folds",
        "folds",
    ]
    rows = [head]
    rows += [
        [
            c.model,
            c.baseline,
            *(difference(e) if e else MISSING for e in (c.pooled, c.unpooled)),
            difference(c.fold_test),
            p_value(c.fold_test.p),
            str(c.fold_test.n_folds),
        ]
        for c in (*results.dice.comparisons, *results.dice.controls)
        if c.fold_test.n_folds  # which the first results lack
    ]
    explained = (
        "Differences in Dice points with 95 % intervals, none corrected for the number of models. "
        "The tables and verdicts above use the wider of the first two. The last takes the mean of "
        "each fold as a single number, as if only the training data varied."
    )
    return table(rows, (0, 1), notes=[explained])


def detection_table(results: Results) -> Table:
    """Return the table of false alarms and misses."""
    rows = [
        [
            "what",
            "model",
            "predictions",
            "rate, % [95 % interval]",
            "points above the baseline [95 % interval]",
            "p of mean",
            "p of ranks",
        ]
    ]
    for kind, title in (("false_alarm", "false alarm"), ("missed", "miss")):
        comparisons = by_model(results.of(kind).comparisons)
        found = results.of(kind).rates
        if any(rate.n_events for rate in found):
            rows += [
                [title, rate.model, *_rate(rate), *evidence(comparisons.get(rate.model))[:3]]
                for rate in found
            ]
    explained = (
        "A false alarm is a label predicted in a case without it; a miss is a label of a case that "
        "is not predicted at all. Both are counted per case, label and training."
    )
    return table(rows, (0, 1), notes=[explained])


def _rate(rate: Rate) -> list[str]:
    of = f"{rate.n_events} of {rate.n_predictions}"
    if not math.isfinite(rate.rate):
        return [of, MISSING]
    low, high = (number(end, 1, factor=POINTS) for end in (rate.interval.low, rate.interval.high))
    return [of, f"{number(rate.rate, 1, factor=POINTS)} [{low}, {high}]"]


def groups_table(
    found: Sequence[GroupComparison], unit: Unit = DICE_POINTS, decimals: int = 2
) -> Table:
    """Return the table of differences by subgroup, and the interactions."""
    head = f"{unit.name} [95 % interval]"
    rows = [["model", "against", "group", "cases", head, "p against others"]]
    rows += [
        [
            comparison.model,
            comparison.baseline,
            group.group,
            str(group.n_cases),
            difference(group.difference, unit.factor, decimals),
            p_value(group.p_contrast),
        ]
        for comparison in found
        for group in comparison.groups
    ]
    says = tuple(_interaction(comparison) for comparison in found)
    explained = (
        "The intervals are not corrected for the number of subgroups. The sentences say whether a "
        "model does better in one subgroup than in others; that one interval excludes 0 and "
        "another does not is not a sign of it."
    )
    return table(rows, (0, 1, 2), notes=[Note(items=says), explained])


def _interaction(comparison: GroupComparison) -> str:
    p = comparison.p_interaction_holm
    pair = f"{comparison.model} against {comparison.baseline}"
    if not math.isfinite(p):
        return f"{pair}: too few cases to tell whether the difference depends on the group."
    depends = "depends" if p < ALPHA else "was not shown to depend"
    return f"{pair}: the difference {depends} on the group (p of interaction {p_value(p)})."


def metrics_table(results: Results) -> Table:
    """Return the table of the means of all metrics, and counts of empty masks."""
    dataset, surface = results.dataset, results.settings.evaluation.surface
    units, metrics = (dataset.spacing_unit, dataset.n_dims), results.metrics
    means = {name: by_model(results.of(name).summaries) for name in metrics}
    rows = [["model", *(metric.heading(*units, surface) for metric in metrics.values())]]
    for name in results.model_names:
        cells = [
            _mean(means[key].get(name), metric.decimals, results.dataset.n_cases)
            for key, metric in metrics.items()
        ]
        rows.append([name, *cells])
    explained = (
        f"Means are over the {results.dataset.n_cases:,} cases or, where a number of cases is "
        "given, over those in which the metric is defined. A distance is undefined where nothing "
        "was predicted, so that its mean leaves out a model's worst cases: read it with Dice and "
        "the misses."
    )
    return table(rows, notes=[explained, *_on_empty_masks(results)])


def _mean(summary: ModelSummary | None, decimals: int, n_cases: int) -> str:
    """Format a mean, with its number of cases if that is not the number of all."""
    if summary is None or not math.isfinite(summary.estimate.mean):
        return MISSING
    text = number(summary.estimate.mean, decimals)
    return text if summary.n_cases == n_cases else f"{text} ({summary.n_cases:,} cases)"


def _on_empty_masks(results: Results) -> list[Note]:
    """Return counts of empty masks, whose effect on metrics is easily overlooked."""
    counts: dict[str, Counter[str]] = {}
    for row in results.cases:
        if row.empty is not None and row.training in results.compared:
            counts.setdefault(row.empty, Counter())[row.model] += 1
    says = {
        "prediction": "Nothing predicted where the reference has something (Dice 0, HD95 and ASSD "
        "undefined)",
        "reference": "Something predicted where the reference has nothing (Dice 0, HD95 and ASSD "
        "undefined)",
        "both": "Nothing predicted where the reference has nothing (all undefined and left out)",
    }
    lines = tuple(
        f"{text}: "
        + ", ".join(
            f"{name} {counts[kind][name]}" for name in results.model_names if counts[kind][name]
        )
        + "."
        for kind, text in says.items()
        if kind in counts
    )
    heading = "Empty masks, counted per case, label and training:"
    return [Note(heading, lines)] if lines else []


def volumes_table(results: Results) -> Table:
    """Return the table of the agreement of volumes by label."""
    unit = volume_unit(results.dataset.spacing_unit, results.dataset.n_dims)
    head = ["label", "model", "cases", "bias [95 % interval]", "SD", "95 % limits of agreement"]
    found = results.of("volume_bias").agreement
    labels = dict.fromkeys(one.label for one in found)
    rows = [head]
    rows += [
        [
            one.label,
            one.model,
            str(one.n_cases),
            f"{_volume(one.bias)} [{_volume(one.interval.low)}, {_volume(one.interval.high)}]",
            _volume(one.standard_deviation),
            f"{_volume(one.low)} to {_volume(one.high)}",
        ]
        for label in labels
        for one in found
        if one.label == label and math.isfinite(one.bias)
    ]
    explained = (
        f"Predicted volume minus the reference's, in {unit}, over all cases, each averaged over "
        "its trainings. The limits contain 95 % of such differences if these are normally "
        "distributed (Bland and Altman 1986)."
    )
    return table(rows, (0, 1), notes=[explained])


def _volume(value: float) -> str:
    """Format a volume with about four digits."""
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return number(value, decimals)


def strata_table(results: Results) -> Table:
    """Return the table of F1 and Dice of objects by size."""
    counts, baseline = counted_strata(results), results.settings.baseline
    rows = [
        [
            "size",
            "objects",
            "model",
            "F1 [95 % interval]",
            f"F1 points above {baseline}",
            "p of mean",
            "p of ranks",
            "Dice of matches [95 % interval]",
            f"Dice points above {baseline}",
        ]
    ]
    for stratum, n_objects in counts.items():
        found, outlined = (results.of(f"object_{metric}_{stratum}") for metric in ("f1", "dice"))
        rows += [
            [stratum, f"{n_objects:,}", name, *_stratum(found, name), *_stratum(outlined, name)[:2]]
            for name in results.model_names
        ]
    rows = [rows[0], *(row for row in rows[1:] if set(row[3:]) != {MISSING})]
    explained = (
        "Holm's correction covers the models for one size and metric, not the sizes: a single "
        "small p value among many sizes is a hint, not proof."
    )
    return table(rows, (0, 2), notes=[explained])


def _stratum(statistics: MetricStatistics, model: str) -> list[str]:
    summary = by_model(statistics.summaries).get(model)
    comparison = by_model(statistics.comparisons).get(model)
    return [
        share(summary.estimate if summary else None),
        *evidence(comparison)[:3],
    ]
