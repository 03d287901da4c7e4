"""Records of a ranking of any table of scores, as its `results.json` holds them."""

import math
from dataclasses import dataclass, field
from typing import Literal

from umamba.comparison.records import MetricStatistics, ModelComparison

__all__ = [
    "Consensus",
    "ConsensusRank",
    "Ranking",
    "RankingSettings",
    "ScoreRow",
    "TaskRanking",
]


@dataclass(frozen=True)
class ScoreRow:
    """A score of one model in one case; tasks, labels, folds and seeds as far as they are known.

    Attributes:
        model: Name of the model.
        case: Name of the case.
        value: Its score in the unit of the table; nan if it is missing.
        task: Name of the task; "" if there is only one.
        label: Name of the label; "" if scores are those of whole cases.
        fold: Fold whose validation set contains the case.
        seed: Seed, or number, of the training; `None` if trainings are not told apart.
        empty: The empty mask, as `umamba evaluate` writes it; `None` if neither is, or if the table
            does not say.
    """

    model: str
    case: str
    value: float
    task: str = ""
    label: str = ""
    fold: int = 0
    seed: int | None = None
    empty: Literal["reference", "prediction", "both"] | None = None

    @property
    def is_undefined(self) -> bool:
        """True if there was nothing to measure: no prediction would have had a score.

        Where only the prediction is empty another one would have, so that the score is missing.
        """
        return math.isnan(self.value) and self.empty in ("both", "reference")


@dataclass(frozen=True)
class RankingSettings:
    """Settings of a ranking: everything that its numbers depend on, besides the scores.

    Attributes:
        metric: Name of the scores.
        unit: Unit in which differences are written.
        factor: Factor from the unit of the scores: 100 for Dice points.
        higher_is_better: Whether higher scores are better.
        baseline: The model that the others are compared with.
        missing: How missing scores were treated: `error`, `omit`, `worst`, or a number.
        margin: The smallest difference that matters, in `unit`; `None` if none is given.
        clusters: The cluster of each case, such as a patient; empty if cases are independent.
        groups: The subgroup of each case, such as a scanner; empty if there are none.
    """

    metric: str
    unit: str
    factor: float
    higher_is_better: bool
    baseline: str
    missing: str = "error"
    margin: float | None = None
    clusters: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskRanking:
    """The ranking of one task.

    Attributes:
        task: Its name; "" if there is only one.
        n_cases: Number of its cases.
        n_filled: Number of missing scores, by model, that were replaced or left out.
        statistics: Each model, against the baseline, its rank, subgroups and margins.
        pairs: Every pair of models, corrected for the number of pairs.
        verdicts: A sentence on each model against the baseline.
    """

    task: str
    n_cases: int
    n_filled: dict[str, int]
    statistics: MetricStatistics
    pairs: tuple[ModelComparison, ...]
    verdicts: dict[str, str]


@dataclass(frozen=True)
class ConsensusRank:
    """The rank of one model over several tasks.

    Attributes:
        model: Name.
        mean_rank: Mean of its ranks in the tasks; models that tie share the mean of their ranks.
        rank: Rank by that mean; equal means share the better rank.
        rank_low: 2.5 % quantile of the rank over bootstraps.
        rank_high: 97.5 % quantile.
        shares: Share of the bootstraps in which it has rank 1, 2, ...
        task_ranks: Its rank in each task.
    """

    model: str
    mean_rank: float
    rank: int
    rank_low: int
    rank_high: int
    shares: tuple[float, ...]
    task_ranks: dict[str, float]


@dataclass(frozen=True)
class Consensus:
    """One ranking from those of several tasks.

    Attributes:
        method: Method by which the tasks' rankings are combined.
        models: Ranks of each model, the best first.
        left_out: Models that are not in every task.
    """

    method: str
    models: tuple[ConsensusRank, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Ranking:
    """Everything that a ranking has found.

    Attributes:
        title: Names of the files, for headings.
        recognised: A sentence on what the files were taken for.
        settings: Settings that the numbers depend on.
        models: Names of the models, in their order.
        tasks: The ranking of each task.
        consensus: One ranking over all tasks; `None` if there is only one task.
        scores: The scores as they were read, without those replaced.
        credit: Origin and licence of the data; "" if nothing need be said.
    """

    title: str
    recognised: str
    settings: RankingSettings
    models: tuple[str, ...]
    tasks: tuple[TaskRanking, ...]
    consensus: Consensus | None
    scores: tuple[ScoreRow, ...]
    credit: str = ""

    @property
    def described(self) -> str:
        """Say what the files were taken for, with the name and the direction of the scores."""
        better = "higher" if self.settings.higher_is_better else "lower"
        return f"{self.recognised}; scores are {self.settings.metric}, of which {better} is better"

    @property
    def lacks_scores_of_empty(self) -> bool:
        """True if scores are undefined as predictions are empty.

        Earlier versions left these out, whatever `missing` says.
        """
        return any(math.isnan(row.value) and row.empty == "prediction" for row in self.scores)

    @property
    def repeated(self) -> bool:
        """True if all models have repeated trainings in all tasks."""
        return all(
            summary.estimate.includes_seed_variance
            for task in self.tasks
            for summary in task.statistics.summaries
        )
