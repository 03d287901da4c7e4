"""Ranking of the models of any table of scores, by the statistics of a comparison."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from umamba.comparison.ranking.missing import complete
from umamba.comparison.ranking.reading import Scores, read_scores
from umamba.comparison.ranking.requests import TREATMENTS, RankRequest
from umamba.comparison.ranking_records import Ranking, RankingSettings, ScoreRow, TaskRanking
from umamba.comparison.rows import Training
from umamba.comparison.runs.case_tables import check_cases, read_case_table
from umamba.comparison.statistics.consensus import consensus_ranking
from umamba.comparison.statistics.models import compare_all_pairs
from umamba.comparison.statistics.one_metric import (
    Question,
    compare_scores,
    mean_over_labels,
    metric_verdicts,
)
from umamba.comparison.statistics.scores import CaseScore, Structure
from umamba.comparison.statistics.verdicts import DICE_POINTS, Unit
from umamba.errors import ComparisonError, unknown_name
from umamba.evaluation.metrics import METRICS

__all__ = ["rank", "rank_again", "task_scores"]

_BASELINE = "nnunet"
_ROUNDING = 1e-6  # of scores computed in single precision


def rank(request: RankRequest) -> Ranking:
    """Read scores, and compare and rank their models.

    Raises:
        UMambaError: If a file cannot be used, or its scores cannot be compared.
    """
    sources = request.scores
    scores = read_scores(tuple(map(str, sources)), request.metric)  # type: ignore[arg-type]
    models = tuple(dict.fromkeys(row.model for row in scores.rows))
    if len(models) < 2:
        msg = f"{scores.title} has one model only, {models[0]}; give scores of two or more"
        raise ComparisonError(msg)
    settings = _settings(request, scores, models)
    ranking = Ranking(
        title=scores.title,
        recognised=scores.recognised,
        settings=settings,
        models=models,
        tasks=(),
        consensus=None,
        scores=scores.rows,
        credit=request.credit or "",
    )
    return rank_again(ranking, settings)


def rank_again(ranking: Ranking, settings: RankingSettings) -> Ranking:
    """Compare and rank the models of a ranking by other settings.

    Args:
        ranking: The ranking; its tasks and its consensus are ignored.
        settings: The settings.

    Raises:
        ComparisonError: If the scores cannot be compared.
    """
    by_task: dict[str, list[ScoreRow]] = {}
    for row in ranking.scores:
        by_task.setdefault(row.task, []).append(row)
    found = {task: _rank_task(rows, ranking.models, settings) for task, rows in by_task.items()}
    if all(len(of_task.statistics.summaries) < 2 for of_task, _ in found.values()):
        msg = f"{ranking.title} has scores of one model per task only; give those of two or more"
        raise ComparisonError(msg)
    consensus = consensus_ranking(
        {task: values for task, (_, values) in found.items()},
        Structure(settings.clusters),
        higher_is_better=settings.higher_is_better,
    )
    return replace(
        ranking,
        settings=settings,
        tasks=tuple(of_task for of_task, _ in found.values()),
        consensus=consensus,
    )


def _settings(request: RankRequest, scores: Scores, models: Sequence[str]) -> RankingSettings:
    unit, higher = _unit(scores.metric), not request.lower_is_better
    metric = METRICS.get(scores.metric.lower())
    if metric is not None:
        if metric.higher_is_better is None:
            msg = f"of {metric.name} neither higher nor lower is better; give another --metric"
            raise ComparisonError(msg)
        if metric.higher_is_better and request.lower_is_better:
            msg = f"--lower-is-better: higher {metric.name} is better; leave it out"
            raise ComparisonError(msg)
        higher = metric.higher_is_better
        if metric.is_overlap:
            _check_shares(metric.name, scores.rows)
    if request.baseline is not None and request.baseline not in models:
        raise ComparisonError(unknown_name("baseline", request.baseline, models))
    return RankingSettings(
        metric=scores.metric,
        unit=unit.name,
        factor=float(unit.factor),
        higher_is_better=higher,
        baseline=request.baseline or (_BASELINE if _BASELINE in models else models[0]),
        missing=str(request.missing),
        margin=request.margin,
        clusters=_of_cases("clusters", request.clusters, scores),
        groups=_of_cases("groups", request.groups, scores),
    )


def _check_shares(metric: str, rows: Sequence[ScoreRow]) -> None:
    """Check that scores lie between 0 and 1, as percentages and other columns do not.

    Raises:
        ComparisonError: If one does not.
    """
    for row in rows:
        if not (math.isnan(row.value) or -_ROUNDING <= row.value <= 1 + _ROUNDING):
            msg = (
                f"{metric} lies between 0 and 1, but that of {row.model} in {row.case} is "
                f"{row.value:g}; give fractions from 0 to 1, leave out a column that holds no "
                "scores, or give another metric name"
            )
            raise ComparisonError(msg)


def _unit(metric: str) -> Unit:
    """Return the unit in which differences of a metric are told."""
    known = METRICS.get(metric.lower())
    if known is None or not known.is_overlap:
        return Unit(f"units of {known.title if known else metric}")
    return DICE_POINTS if known.name == "dice" else Unit(f"{known.title} points", 100.0)


def _of_cases(option: str, file: str | Path | None, scores: Scores) -> dict[str, str]:
    """Return the cluster or group of each case, from its own table or from that of the scores."""
    column = option.removesuffix("s")
    if file is None:
        return dict(scores.of_cases.get(column, {}))
    if column in scores.of_cases:
        msg = f"--{option}: {scores.title} has a column {column} already; leave one of them out"
        raise ComparisonError(msg)
    table, cases = read_case_table(Path(file), column), {row.case for row in scores.rows}
    check_cases(f"--{option}", table, cases, cases | table.keys())
    return table


def task_scores(ranking: Ranking, task: str) -> list[CaseScore]:
    """Return the scores of a task as they were compared: complete, and averaged over labels."""
    rows = [row for row in ranking.scores if row.task == task]
    return _complete(rows, ranking.settings)[0]


def _complete(
    rows: Sequence[ScoreRow], settings: RankingSettings
) -> tuple[list[CaseScore], dict[str, int]]:
    said = settings.missing
    treatment = said if said in TREATMENTS else float(said)
    completed, n_missing = complete(rows, treatment, higher_is_better=settings.higher_is_better)
    scores = mean_over_labels(
        (
            Training(row.model, row.fold, row.seed),
            row.case,
            None if row.is_undefined else row.value,
        )
        for row in completed
    )
    return scores, n_missing


def _rank_task(
    rows: Sequence[ScoreRow], models: Sequence[str], settings: RankingSettings
) -> tuple[TaskRanking, list[CaseScore]]:
    task, higher = rows[0].task, settings.higher_is_better
    scores, n_missing = _complete(rows, settings)
    _check(scores, task)
    structure = Structure(settings.clusters)
    question = Question(
        models=models,
        baseline=settings.baseline,
        higher_is_better=higher,
        groups=settings.groups,
        margin=None if settings.margin is None else settings.margin / settings.factor,
    )
    statistics = compare_scores(scores, question, structure)
    ranking = TaskRanking(
        task=task,
        n_cases=len({score.case for score in scores}),
        n_filled=n_missing,
        statistics=statistics,
        pairs=tuple(compare_all_pairs(scores, structure, higher_is_better=higher)),
        verdicts=metric_verdicts(statistics, Unit(settings.unit, settings.factor)),
    )
    return ranking, scores


def _check(scores: Sequence[CaseScore], task: str) -> None:
    """Check that there is something to rank.

    Raises:
        ComparisonError: If there is not.
    """
    where = f"task {task}: " if task else ""
    values: dict[str, dict[str, float]] = {}
    for score in scores:
        of_model = values.setdefault(score.model, {})
        if math.isfinite(score.value):
            of_model[score.case] = score.value
    few = next((model for model, of_model in values.items() if len(of_model) < 2), None)
    if few is not None:
        n_cases = f"a score of {len(values[few])} case{'s' * (not values[few])}"
        msg = f"{where}{few} has {n_cases} only; give two cases or more, or leave it out"
        raise ComparisonError(msg)
    found = {value for of_model in values.values() for value in of_model.values()}
    if len(found) == 1:
        msg = f"{where}all scores are {found.pop():g}; nothing can be ranked, check the column"
        raise ComparisonError(msg)
