"""The tables of a summary on how well models segment."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from umamba.comparison.model_records import ALPHA
from umamba.comparison.summary_cells import (
    MISSING,
    POINTS,
    Results,
    by_model,
    difference,
    model_names,
    number,
    p_value,
    share,
    table,
)
from umamba.evaluation.metrics import measured_metrics

__all__ = [
    "controls_table",
    "detection_table",
    "groups_table",
    "metrics_table",
    "models_table",
    "sensitivity_table",
    "strata_table",
    "surface_definition",
]


def models_table(results: Results) -> str:
    """Return mean Dice, difference to the baseline and its evidence, for each model."""
    statistics = results["statistics"].get("dice", {})
    summaries = by_model(statistics.get("summaries", ()))
    comparisons = by_model(statistics.get("comparisons", ()))
    ranks = by_model((statistics.get("rank_stability") or {}).get("models", ()))
    baseline = results["settings"]["baseline"]
    head = [
        "model",
        "Dice [95 % interval]",
        f"Dice points above {baseline} [95 % interval]",
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
    for name in model_names(results):
        summary, comparison = summaries.get(name), comparisons.get(name)
        rank = ranks.get(name)
        rows.append(
            [
                f"**{name}** (baseline)" if name == baseline else name,
                share(summary["estimate"] if summary else None),
                *_evidence(comparison),
                f"{rank['rank']} [{rank['rank_low']}, {rank['rank_high']}]" if rank else MISSING,
                _seeds(summary),
                number(summary["seed_standard_deviation"] if summary else None, 2, factor=POINTS),
                str(summary["n_cases"]) if summary else MISSING,
            ]
        )
    explained = (
        "Dice is the mean over cases of the mean over trainings and labels. The p values are after "
        "Holm's correction for the number of models: of the mean difference (t test, over cases "
        "and seeds) and of the ranks of the cases (Wilcoxon's signed-rank test, for these trained "
        "networks). d_z and the rank-biserial correlation are effect sizes of the differences per "
        "case; SD over seeds is that of the mean, in Dice points."
    )
    return f"{table(rows)}\n\n{explained}"


def _evidence(comparison: Mapping[str, Any] | None) -> list[str]:
    if comparison is None:
        return [MISSING] * 5
    return [
        difference(comparison["difference"]),
        p_value(comparison["p_difference_holm"]),
        p_value(comparison["p_wilcoxon_holm"]),
        number(comparison["cohen_d_z"], 2, sign=True),
        number(comparison["rank_biserial"], 2, sign=True),
    ]


def _seeds(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return MISSING
    named = ["no seed" if seed is None else str(seed) for seed in summary["seeds"]]
    return ", ".join(named)


def controls_table(results: Results) -> str:
    """Return each model against its own controls."""
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
    rows += [
        [c["model"], c["baseline"], *_evidence(c), str(c["n_cases"])]
        for c in results["statistics"].get("dice", {}).get("controls", ())
    ]
    return table(rows, (0, 1))


def sensitivity_table(results: Results) -> str:
    """Return the differences in Dice as other assumptions would have them."""
    head = [
        "model",
        "against",
        "one variance of trainings for both",
        "one for each",
        "folds as single numbers",
        "p of folds",
        "folds",
    ]
    statistics = results["statistics"].get("dice", {})
    rows = [head]
    rows += [
        [
            c["model"],
            c["baseline"],
            *(difference(c[name]) if c[name] else MISSING for name in ("pooled", "unpooled")),
            difference(c["fold_test"]),
            p_value(c["fold_test"]["p"]),
            str(c["fold_test"]["n_folds"]),
        ]
        for family in ("comparisons", "controls")
        for c in statistics.get(family, ())
        if "fold_test" in c  # which results of older versions lack
    ]
    explained = (
        "Dice points with 95 % intervals, none corrected for the number of models. The wider of "
        "the first two decides above. The last takes the mean of each fold as one number: "
        "what would be left were training data all that varied."
    )
    body = table(rows, (0, 1))
    return f"{body}\n\n{explained}" if body else ""


def detection_table(results: Results) -> str:
    """Return how often models see a label where there is none, or miss one altogether."""
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
    for kind, title in (("false_alarm", "false alarm"), ("missed", "missed")):
        statistics = results["statistics"].get(kind, {})
        comparisons = by_model(statistics.get("comparisons", ()))
        found = statistics.get("rates", ())
        if any(rate["n_events"] for rate in found):
            rows += [
                [title, rate["model"], *_rate(rate), *_evidence(comparisons.get(rate["model"]))[:3]]
                for rate in found
            ]
    explained = (
        "A false alarm is a label predicted in a case without it, a miss a label of a case that is "
        "not predicted at all; per case, label and training."
    )
    body = table(rows, (0, 1))
    return f"{body}\n\n{explained}" if body else ""


def _rate(rate: Mapping[str, Any]) -> list[str]:
    of = f"{rate['n_events']} of {rate['n_predictions']}"
    if rate["rate"] is None:
        return [of, MISSING]
    low, high = (number(rate["interval"][end], 1, factor=POINTS) for end in ("low", "high"))
    return [of, f"{number(rate['rate'], 1, factor=POINTS)} [{low}, {high}]"]


def groups_table(results: Results) -> str:
    """Return differences in Dice by subgroup, and whether these differ in it."""
    found = results["statistics"].get("dice", {}).get("groups", ())
    rows = [
        ["model", "against", "group", "cases", "Dice points [95 % interval]", "p against others"]
    ]
    rows += [
        [
            comparison["model"],
            comparison["baseline"],
            group["group"],
            str(group["n_cases"]),
            difference(group["difference"]),
            p_value(group["p_contrast"]),
        ]
        for comparison in found
        for group in comparison["groups"]
    ]
    says = [_interaction(comparison) for comparison in found]
    body = table(rows, (0, 1, 2))
    explained = (
        "The intervals of subgroups are not corrected for their number. The sentences say whether "
        "a model does better in one than in others; that one interval leaves out 0, and another "
        "does not, is no sign of it."
    )
    return "\n\n".join([body, "\n".join(says), explained]) if body else ""


def _interaction(comparison: Mapping[str, Any]) -> str:
    p = comparison["p_interaction_holm"]
    pair = f"{comparison['model']} against {comparison['baseline']}"
    if p is None:
        return f"- {pair}: too few cases to tell whether the difference depends on the group."
    depends = "depends" if p < ALPHA else "was not shown to depend"
    return f"- {pair}: the difference {depends} on the group (p of interaction {p_value(p)})."


def metrics_table(results: Results) -> str:
    """Return the means of all metrics, and how often a mask was empty."""
    unit, surface = results["dataset"]["spacing_unit"], surface_definition(results)
    metrics = measured_metrics(results["cases"])
    means = {
        name: by_model(results["statistics"].get(name, {}).get("summaries", ())) for name in metrics
    }
    rows = [["model", *(metric.heading(unit, surface) for metric in metrics.values())]]
    for name in model_names(results):
        cells = [
            number(means[key][name]["estimate"]["mean"], metric.decimals)
            if name in means[key]
            else MISSING
            for key, metric in metrics.items()
        ]
        rows.append([name, *cells])
    return "\n\n".join(filter(None, [table(rows), _empty_text(results)]))


def surface_definition(results: Results) -> Any:
    """Return what a surface was; older results do not say, and had no choice."""
    return results["settings"].get("surface", "surface-distance")


def _empty_text(results: Results) -> str:
    """Count empty masks: what they make of the metrics is easily overlooked."""
    counts: dict[str, Counter[str]] = {}
    compared = {(c["model"], c["fold"], c["seed"]) for c in results["cells"] if c["compared"]}
    for row in results["cases"]:
        is_compared = (row["model"], row["fold"], row["seed"]) in compared
        if row["empty"] is not None and is_compared:
            counts.setdefault(row["empty"], Counter())[row["model"]] += 1
    says = {
        "prediction": "Nothing predicted where the reference has something (Dice 0, HD95 and ASSD "
        "undefined)",
        "reference": "Something predicted where the reference has nothing (Dice 0, HD95 and ASSD "
        "undefined)",
        "both": "Nothing predicted where the reference has nothing (all undefined and left out)",
    }
    lines = [
        f"- {text}: "
        + ", ".join(
            f"{name} {counts[kind][name]}" for name in model_names(results) if counts[kind][name]
        )
        + "."
        for kind, text in says.items()
        if kind in counts
    ]
    return "\n".join(["Masks of a label in a case, over all trainings:", *lines]) if lines else ""


def strata_table(results: Results) -> str:
    """Return F1 and Dice of objects by size."""
    strata = list(dict.fromkeys(row["stratum"] for row in results["instances"]))
    baseline = results["settings"]["baseline"]
    rows = [
        [
            "size",
            "model",
            "F1 [95 % interval]",
            f"F1 points above {baseline}",
            "p of mean",
            "p of ranks",
            "Dice of matches [95 % interval]",
            f"Dice points above {baseline}",
        ]
    ]
    for stratum in strata:
        found, outlined = (
            results["statistics"].get(f"object_{metric}_{stratum}", {}) for metric in ("f1", "dice")
        )
        rows += [
            [stratum, name, *_stratum(found, name), *_stratum(outlined, name)[:2]]
            for name in model_names(results)
        ]
    rows = [rows[0], *(row for row in rows[1:] if set(row[2:]) != {MISSING})]
    explained = (
        "Holm's correction is over the models of one size and metric, not over the sizes: a single "
        "small p value among many sizes is a hint, not a proof."
    )
    body = table(rows, (0, 1))
    return f"{body}\n\n{explained}" if body else ""


def _stratum(statistics: Mapping[str, Any], model: str) -> list[str]:
    summary = by_model(statistics.get("summaries", ())).get(model)
    comparison = by_model(statistics.get("comparisons", ())).get(model)
    return [
        share(summary["estimate"] if summary else None),
        *_evidence(comparison)[:3],
    ]
