"""Notes below the tables of a summary: trainings, settings, and limits of the numbers."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from umamba.comparison.report.summary_cells import table
from umamba.comparison.results import Results
from umamba.comparison.statistics.variance import FEWEST_FOLDS
from umamba.evaluation.settings import EvaluationSettings
from umamba.reporting.tables import Table

__all__ = [
    "NO_VERDICT",
    "cases_of",
    "left_out_table",
    "limits_texts",
    "settings_texts",
    "trainings_text",
    "verdict_sentences",
]

NO_VERDICT = "No verdict: fewer than two models have results on the same cases."


def verdict_sentences(verdicts: Mapping[str, str]) -> list[str]:
    """Return what is said of each model, with a sentence for each comparison."""
    return [
        sentence
        for model, said in verdicts.items()
        for sentence in re.split(rf"(?<=\.) (?={re.escape(model)} against )", said)
    ]


def trainings_text(results: Results) -> str:
    """Return the number of trainings by what became of them."""
    trainings = results.trainings
    counts = Counter(t.status for t in trainings if t.source == "compare")
    counted = ", ".join(f"{counts[status]} {status}" for status in sorted(counts))
    n_stock = sum(t.source == "stock" for t in trainings)
    stock = (
        f"; {n_stock} from stock nnU-Net, which records no seed, so that they are left out of "
        "the spread over seeds"
        if n_stock
        else ""
    )
    n_shared = sum(t.shares_seed for t in trainings)
    shared = (
        f" {n_shared} used the same random numbers in every fold, as older versions did: the "
        "effect of a seed is then common to the folds, and was analysed as such."
        if n_shared
        else ""
    )
    return f"{counted}{stock}.{shared}"


def left_out_table(results: Results) -> Table:
    """Return the table of the trainings that are missing or left out, with reasons."""
    rows = [["model", "fold", "seed", "status", "reason why it is not compared"]]
    rows += [
        [
            t.model,
            str(t.fold),
            "none" if t.seed is None else str(t.seed),
            t.status,
            t.reason or "not finished",
        ]
        for t in results.trainings
        if not t.compared
    ]
    return table(rows, (0, 3, 4))


def settings_texts(results: Results, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that the numbers depend on, by their titles."""
    settings, dataset = results.settings, results.dataset
    evaluation, analysis, unit = settings.evaluation, settings.analysis, dataset.spacing_unit
    budget = ", ".join(f"{amount:,} {kind}" for kind, amount in settings.budget.items())
    lengths = {(m.epochs, m.iterations) for m in results.models}
    if len(lengths) == 1 and None not in (length := lengths.pop()):
        budget += f" ({length[0]:,} epochs, {length[1]:,} iterations in all)"
    items = {
        "Data": f"{dataset.name}, configuration {dataset.configuration}, "
        f"{dataset.n_cases} validation cases, labels {_labels(dataset.labels)}",
        "Credit": dataset.credit,
        "Folds": ", ".join(map(str, settings.folds)),
        "Seeds": ", ".join(map(str, settings.seeds)),
        "Budget of each training": budget,
        "Recipe": _recipes(results),
        "Features": _listed(settings.features),
        "Patch size": _listed(settings.patch_size),
        "Batch size": settings.batch_size,
        "Mirroring in validation": settings.validation_tta
        if settings.validation_tta != "on"
        else "",
        "Validation cases": f"{settings.validation_cases} of each fold at most, those that come "
        "first by the SHA-256 of their names"
        if settings.validation_cases
        else "",
        "NSD tolerance": _tolerances(evaluation, unit),
        "Surfaces": f"as defined by {evaluation.surface}",
        "Objects": f"connected components; two match above an IoU of {evaluation.matching_iou:g}",
        "Size cut points": _cut_points(evaluation, unit),
        "Two empty masks": f"Dice, IoU and NSD are {analysis.empty}",
        "Margin": f"{analysis.margin:g} Dice points" if analysis.margin else "",
        "Cases that belong together": cases_of(analysis.clusters, "clusters"),
        "Subgroups": cases_of(analysis.groups, "groups"),
        "Machine": _machine(manifest),
        "Versions": ", ".join(f"{n} {v}" for n, v in sorted(manifest.get("versions", {}).items())),
    }
    return {title: str(says) for title, says in items.items() if says}


def _recipes(results: Results) -> str:
    """Return the models by recipe; nothing if all have nnU-Net's."""
    models: dict[str, list[str]] = {}
    for model in results.models:
        models.setdefault(model.recipe, []).append(model.name)
    if list(models) == ["nnunet"]:
        return ""
    return "; ".join(f"{recipe} for {', '.join(names)}" for recipe, names in models.items())


def _labels(labels: Mapping[str, Any]) -> str:
    return ", ".join(name for name in labels if name not in ("background", "ignore"))


def _listed(values: Iterable[Any] | None) -> str:
    return ", ".join(map(str, values or ()))


def _tolerances(settings: EvaluationSettings, unit: str) -> str:
    texts = [f"{settings.nsd_tolerance:g} {unit}"]
    return ", ".join(
        texts + [f"{label} {value:g} {unit}" for label, value in settings.nsd_tolerances.items()]
    )


def cases_of(named: Mapping[str, str], what: str) -> str:
    """Return the numbers of cases and of their clusters or groups."""
    return f"{len(named)} cases of {len(set(named.values()))} {what}" if named else ""


def _cut_points(settings: EvaluationSettings, unit: str) -> str:
    what = (
        f"equivalent diameter in {unit}"
        if settings.size_measure == "diameter"
        else f"volume in {unit}^3"
    )
    texts = [
        f"{label} {', '.join(f'{cut:.4g}' for cut in c)}"
        for label, c in settings.size_cut_points.items()
        if c
    ]
    return f"{'; '.join(texts)} ({what})" if texts else ""


def _machine(manifest: Mapping[str, Any]) -> str:
    machine = manifest.get("machine") or {}
    # Versions have their own line.
    told = {name: value for name, value in machine.items() if value and name != "versions"}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items())


def _few_folds(results: Results) -> str:
    n_folds = len({t.fold for t in results.trainings if t.compared})
    if n_folds >= FEWEST_FOLDS:
        return ""
    return (
        "Fewer than three folds cannot show how much the training data matter: verdicts hold for "
        "other trainings on the same data."
    )


def limits_texts(results: Results) -> list[str]:
    """Return sentences on what the numbers do not show."""
    dice = results.dice
    unsure = [s.model for s in dice.summaries if not s.estimate.includes_seed_variance]
    partial = [f"{c.model} {c.n_cases_left_out}" for c in dice.comparisons if c.n_cases_left_out]
    problems = {m: c.problem for m, c in results.cost.items() if c.problem}
    lacking = [m.name for m in results.models if m.name not in results.cost]
    partly = [f"{s.model} {s.n_partly_defined}" for s in dice.summaries if s.n_partly_defined]
    undefined = [f"{s.model} {s.n_undefined}" for s in dice.summaries if s.n_undefined]
    items = [
        "The cases are the validation cases of cross-validation on one data set: what holds for "
        "them need not hold for other scanners, sites or organs, or for longer trainings.",
        f"Incomplete: of each fold, no more than {results.settings.validation_cases} validation "
        "cases were predicted, the same for all models; the others are not in any number here."
        if results.settings.validation_cases
        else "",
        '"No difference shown" does not mean that models are equal: where possible, a verdict says '
        "how large a difference would have been shown.",
        _few_folds(results),
        "The verdicts are about Dice, false alarms and misses; other metrics, object sizes and "
        "learning curves are descriptive, and were not corrected for one another.",
        "All models were trained with one recipe, nnU-Net's (SGD from a learning rate of 0.01, its "
        "loss and augmentation); networks that were published with another, such as transformers "
        "with AdamW, may do better with their own."
        if all(model.recipe == "nnunet" for model in results.models)
        else "",
        f"Trainings of {', '.join(unsure)} were not repeated: their intervals hold for these "
        "trained networks, not for the models."
        if unsure
        else "",
        "Cases left out of the comparison with the baseline because one or both have no score: "
        f"{', '.join(partial)}."
        if partial
        else "",
        f"Predictions left out because their Dice is undefined: {', '.join(undefined)}."
        if undefined
        else "",
        "Cases left out because their Dice is defined for only some of the trainings: "
        f"{', '.join(partly)}."
        if partly
        else "",
        *(f"Cost of {model}: {problem}." for model, problem in problems.items()),
        f"The cost of {', '.join(lacking)} was not measured." if lacking else "",
    ]
    return [item for item in items if item]
