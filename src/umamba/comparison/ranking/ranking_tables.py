"""The tables of a ranking's summary, and their rows for CSV files."""

import math
from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import Any

from umamba.comparison.charts.pairs import won_by
from umamba.comparison.ranking_records import Ranking, TaskRanking
from umamba.comparison.records import ModelComparison
from umamba.comparison.report.summary_cells import (
    MISSING,
    by_model,
    evidence,
    number,
    table,
)
from umamba.comparison.statistics.verdicts import Outcome, Unit, outcome, outcome_of_networks
from umamba.reporting.tables import Table

__all__ = [
    "consensus_note",
    "consensus_table",
    "decimals_of",
    "model_rows",
    "models_table",
    "order_of",
    "pair_rows",
    "pairs_table",
]

_MOST_DECIMALS = 8
_ROUNDING = 1e-9  # standard errors below this share of the largest mean are rounding errors


def decimals_of(task: TaskRanking, factor: float) -> int:
    """Return the decimals that show two digits of a typical standard error of a difference."""
    errors = [pair.difference.standard_error * factor for pair in task.pairs]
    largest = max((abs(s.estimate.mean) for s in task.statistics.summaries), default=0.0)
    least = _ROUNDING * largest * factor
    errors = [error for error in errors if math.isfinite(error) and error > least]
    if not errors:
        return 2
    return min(max(1 - math.floor(math.log10(median(errors))), 0), _MOST_DECIMALS)


def order_of(ranking: Ranking, task: TaskRanking) -> list[str]:
    """Return the models of a task, the best first; those without a rank at the end."""
    stability = task.statistics.rank_stability
    ranked = [model.model for model in stability.models] if stability else []
    scored = {summary.model for summary in task.statistics.summaries}
    return ranked + [m for m in ranking.models if m in scored and m not in ranked]


def models_table(ranking: Ranking, task: TaskRanking) -> Table:
    """Return the table of the models of a task, the best first."""
    settings, found = ranking.settings, task.statistics
    decimals = decimals_of(task, settings.factor)
    of_means = decimals + round(math.log10(settings.factor))
    summaries, comparisons = by_model(found.summaries), by_model(found.comparisons)
    ranks = by_model(found.rank_stability.models) if found.rank_stability else {}
    better, worse = _wins(task)
    head = ["model", f"{settings.metric} [95 % interval]", f"{settings.unit} above"]
    rows = [[*head[:2], f"{head[2]} {settings.baseline} [95 % interval]"]]
    rows[0] += ["detectable", "p of mean", "p of ranks", "d_z", "rank-biserial", "rank [95 %]"]
    rows[0] += ["first, %", "better than", "worse than", "cases"]
    for name in order_of(ranking, task):
        mean, rank = summaries[name].estimate, ranks.get(name)
        interval = (number(end, of_means) for end in (mean.interval.low, mean.interval.high))
        rows.append(
            [
                f"{name} (baseline)" if name == settings.baseline else name,
                f"{number(mean.mean, of_means)} [{', '.join(interval)}]",
                *evidence(comparisons.get(name), settings.factor, decimals, detectable=True),
                f"{rank.rank} [{rank.rank_low}, {rank.rank_high}]" if rank else MISSING,
                number(rank.first_share if rank else None, 0, factor=100.0),
                str(better[name]),
                str(worse[name]),
                str(summaries[name].n_cases),
            ]
        )
    return table(rows, notes=[*_absent_models(ranking, task), *_ranked_cases(task)])


def _absent_models(ranking: Ranking, task: TaskRanking) -> list[str]:
    """Return which models have no score in the task, and what that means for the baseline."""
    baseline, scored = ranking.settings.baseline, by_model(task.statistics.summaries)
    absent = [model for model in ranking.models if model not in scored]
    notes = [f"Without any score here, and left out: {', '.join(absent)}."] if absent else []
    if baseline in absent:
        notes.append(f"As the baseline {baseline} has none, no model is compared with it.")
    return notes


def _ranked_cases(task: TaskRanking) -> list[str]:
    """Return what ranks are over, if that is not what means are over."""
    ranked = task.statistics.rank_stability
    if ranked is None and len(task.statistics.summaries) > 1:
        return ["Without ranks: fewer than two cases, or clusters, have a score of every model."]
    if ranked is None or not ranked.n_cases_left_out:
        return []
    return [
        f"Ranks are over the {ranked.n_cases:,} cases that have a score of every model "
        f"({ranked.n_cases_left_out:,} left out), and may contradict means, which are over all "
        "cases of a model, and differences, which are over those that two models share."
    ]


def _wins(task: TaskRanking) -> tuple[Counter[str], Counter[str]]:
    """Return how many models each was shown to be better, and worse, than."""
    better: Counter[str] = Counter()
    worse: Counter[str] = Counter()
    for (model, _), shown in won_by(task.pairs).items():
        better[model] += shown == "better"
        worse[model] += shown == "worse"
    return better, worse


def pairs_table(task: TaskRanking, unit: Unit, decimals: int) -> Table:
    """Return the table of all pairs of models."""
    rows = [["model", "against", f"{unit.name} [95 % interval]", "detectable", "p of mean"]]
    rows[0] += ["p of ranks", "d_z", "rank-biserial", "cases", "shown"]
    rows += [
        [
            pair.model,
            pair.baseline,
            *evidence(pair, unit.factor, decimals, detectable=True),
            str(pair.n_cases),
            _shown(pair),
        ]
        for pair in task.pairs
    ]
    return table(rows, (0, 1, 9))


def _shown(pair: ModelComparison) -> str:
    """Return what a pair shows, and of what."""
    of_networks: Outcome = outcome_of_networks(pair)
    return f"{of_networks}, these networks" if outcome(pair) == "trained once" else of_networks


def consensus_table(ranking: Ranking) -> Table | None:
    """Return the table of the consensus over tasks; `None` if there is none."""
    consensus = ranking.consensus
    if consensus is None:
        return None
    tasks = [task.task for task in ranking.tasks]
    rows = [["model", "rank [95 %]", "mean rank", "first, %", *(f"rank in {t}" for t in tasks)]]
    rows += [
        [
            one.model,
            f"{one.rank} [{one.rank_low}, {one.rank_high}]",
            number(one.mean_rank, 2),
            number(one.shares[0], 0, factor=100.0),
            *(f"{one.task_ranks[task]:g}" for task in tasks),
        ]
        for one in consensus.models
    ]
    explained = (
        f"Models by their {consensus.method} over tasks, the Euclidean consensus of challengeR "
        "(Wiesenfarth et al. 2021; Hornik and Meyer 2007). Ranges and shares are those of "
        "bootstraps over the cases of every task."
    )
    if consensus.left_out:
        explained += f" Not in every task, and left out: {', '.join(consensus.left_out)}."
    return table(rows, notes=[explained])


def consensus_note(ranking: Ranking) -> str:
    """Return why several tasks have no consensus; "" if they have one, or if there is one task."""
    if ranking.consensus is not None or len(ranking.tasks) < 2:
        return ""
    scored = [by_model(task.statistics.summaries) for task in ranking.tasks]
    shared = [model for model in ranking.models if all(model in of_task for of_task in scored)]
    why = (
        "fewer than two models have scores in every task"
        if len(shared) < 2
        else "in at least one of them fewer than two cases, or clusters, have a score of every "
        "model that is in all tasks"
    )
    return f"There is no ranking over all tasks, as {why}."


def model_rows(ranking: Ranking) -> list[Mapping[str, Any]]:
    """Return a row per task and model."""
    rows: list[Mapping[str, Any]] = []
    for task in ranking.tasks:
        found, (better, worse) = task.statistics, _wins(task)
        summaries = by_model(found.summaries)
        ranks = by_model(found.rank_stability.models) if found.rank_stability else {}
        for name in order_of(ranking, task):
            estimate, rank = summaries[name].estimate, ranks.get(name)
            rows.append(
                {
                    "task": task.task,
                    "model": name,
                    "cases": summaries[name].n_cases,
                    "mean": estimate.mean,
                    "low": estimate.interval.low,
                    "high": estimate.interval.high,
                    "rank": rank and rank.rank,
                    "rank_low": rank and rank.rank_low,
                    "rank_high": rank and rank.rank_high,
                    "first_share": rank and rank.first_share,
                    "better_than": better[name],
                    "worse_than": worse[name],
                }
            )
    return rows


def pair_rows(ranking: Ranking) -> list[Mapping[str, Any]]:
    """Return a row per task and pair of models, in the unit of the scores."""
    return [
        {
            "task": task.task,
            "model": pair.model,
            "against": pair.baseline,
            "cases": pair.n_cases,
            "difference": pair.difference.mean,
            "low": pair.difference.interval.low,
            "high": pair.difference.interval.high,
            "corrected_low": pair.corrected_interval.low,
            "corrected_high": pair.corrected_interval.high,
            "p_of_mean": pair.p_difference_holm,
            "p_of_ranks": pair.p_wilcoxon_holm,
            "d_z": pair.cohen_d_z,
            "rank_biserial": pair.rank_biserial,
            "detectable": pair.smallest_detectable_difference,
            "shown": _shown(pair),
        }
        for task in ranking.tasks
        for pair in task.pairs
    ]
