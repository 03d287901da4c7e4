"""One ranking from those of several tasks, and how stable it is."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from umamba.comparison.ranking_records import Consensus, ConsensusRank
from umamba.comparison.statistics.bootstrap import CONFIDENCE, N_BOOTSTRAP
from umamba.comparison.statistics.ranks import RankingDraws, draw_ranking
from umamba.comparison.statistics.scores import CaseScore, Structure

__all__ = ["consensus_ranking"]

_DECIMALS = 9  # smaller differences of mean ranks are rounding errors


def consensus_ranking(
    tasks: Mapping[str, Sequence[CaseScore]],
    structure: Structure | None = None,
    *,
    higher_is_better: bool = True,
    n_bootstrap: int = N_BOOTSTRAP,
) -> Consensus | None:
    """Rank models by their mean rank over tasks, with the certainty of that ranking.

    The mean rank is the Euclidean consensus: the ranking with the smallest sum of squared distances
    to those of the tasks (Hornik & Meyer, Deriving consensus rankings from benchmarking
    experiments, 2007), which challengeR uses (Wiesenfarth et al., Methods and open-source toolkit
    for analyzing and visualizing challenge results, 2021). Its bootstraps are those of the tasks'
    rankings; tasks with the same cases are drawn together. The tasks themselves are taken as given.

    Args:
        tasks: Scores of each task.
        structure: Clusters of cases, and seeds shared by folds; `None` is neither.
        higher_is_better: Whether higher scores are better.
        n_bootstrap: Number of bootstraps.

    Returns:
        The consensus of the models that all tasks rank; `None` with fewer than two models or tasks.

    Raises:
        ComparisonError: If scores contradict each other.
    """
    scored = [{score.model for score in scores} for scores in tasks.values()]
    known = list(dict.fromkeys(score.model for of in tasks.values() for score in of))
    models = [model for model in known if all(model in names for names in scored)]
    if len(tasks) < 2 or len(models) < 2:
        return None
    seeds: dict[tuple[str, ...], int] = {}
    drawn: list[RankingDraws] = []
    for scores in tasks.values():
        seed = seeds.setdefault(tuple(sorted({score.case for score in scores})), len(seeds))
        draws = draw_ranking(
            [score for score in scores if score.model in models],
            structure,
            higher_is_better=higher_is_better,
            n_bootstrap=n_bootstrap,
            seed=seed,
        )
        if draws is None:
            return None
        drawn.append(draws)
    return _consensus(models, known, dict(zip(tasks, drawn, strict=True)))


def _consensus(
    models: Sequence[str], known: Sequence[str], drawn: Mapping[str, RankingDraws]
) -> Consensus:
    own = {task: _ranks(draws, draws.observed[:, None], models) for task, draws in drawn.items()}
    means = np.mean(list(own.values()), axis=0)[:, 0]
    drawn_means = np.mean([_ranks(draws, draws.values, models) for draws in drawn.values()], axis=0)
    ranks = stats.rankdata(np.round(means, _DECIMALS), method="min").astype(int)
    drawn_ranks = stats.rankdata(np.round(drawn_means, _DECIMALS), method="min", axis=0)
    counts = [np.bincount(row.astype(int), minlength=len(models) + 1)[1:] for row in drawn_ranks]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn_ranks, [tail, 1 - tail], axis=1, method="inverted_cdf")
    found = [
        ConsensusRank(
            model=model,
            mean_rank=float(means[index]),
            rank=int(ranks[index]),
            rank_low=int(low[index]),
            rank_high=int(high[index]),
            shares=tuple((counts[index] / drawn_ranks.shape[1]).tolist()),
            task_ranks={task: float(of_task[index, 0]) for task, of_task in own.items()},
        )
        for index, model in enumerate(models)
    ]
    return Consensus(
        method="mean rank",
        models=tuple(sorted(found, key=lambda rank: rank.mean_rank)),
        left_out=tuple(model for model in known if model not in models),
    )


def _ranks(
    draws: RankingDraws, values: Float[np.ndarray, "models n"], models: Sequence[str]
) -> Float[np.ndarray, "models n"]:
    """Return the ranks of models, tied ones the mean of theirs, in the given order."""
    order = [draws.table.models.index(model) for model in models]
    ranks: np.ndarray = stats.rankdata(values, method="average", axis=0)[order]
    return ranks
