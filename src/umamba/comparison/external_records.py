"""Records of an external test of a comparison, as `results.json` holds them under `test`."""

from dataclasses import dataclass, field
from pathlib import Path

from umamba.comparison.records import MetricStatistics
from umamba.comparison.rows import CaseRow, EnsembleRow

__all__ = ["TEST_FOLDER", "ExternalTest", "Judged", "test_predictions"]

TEST_FOLDER = "test"


def test_predictions(output: Path, tester: object) -> Path:
    """Return the folder of the masks that a training or an ensemble predicted of the test set.

    Args:
        output: The folder of results.
        tester: The training or ensemble, whose text names the folder.
    """
    return output / TEST_FOLDER / "predictions" / str(tester)


@dataclass(frozen=True)
class Judged:
    """The statistics of one kind of prediction of a test set.

    Attributes:
        statistics: Statistics by metric, as in the results; `false_alarm` and `missed` are rates.
        verdicts: A sentence on each model: what Dice shows.
    """

    statistics: dict[str, MetricStatistics] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)

    @property
    def dice(self) -> MetricStatistics:
        """Return the statistics of Dice, by which models are judged."""
        return self.statistics.get("dice", MetricStatistics())


@dataclass(frozen=True)
class ExternalTest:
    """A second data set, predicted by every training and by the ensembles of its folds.

    Attributes:
        images: Folder of the images.
        labels: Folder of the reference masks.
        n_cases: Number of cases.
        in_training: By case, the training case that holds the same image; `None` if nobody knows,
            as the raw data set was not there to be read.
        untested: Reasons why trainings or ensembles have no scores, by name.
        cases: Metrics by training, case and label; `fold` is that of the training.
        ensemble_cases: The same by ensemble.
        trainings: Statistics of the trainings.
        ensembles: Statistics of the ensembles.
    """

    images: str
    labels: str
    n_cases: int
    in_training: dict[str, str] | None
    untested: dict[str, str]
    cases: tuple[CaseRow, ...]
    ensemble_cases: tuple[EnsembleRow, ...]
    trainings: Judged = field(default_factory=Judged)
    ensembles: Judged = field(default_factory=Judged)
