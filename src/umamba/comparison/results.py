"""The results of a comparison: their types, and the only reader and writer of `results.json`.

`docs/reference/comparison-results.md` describes the file.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import inspect

from umamba.comparison.external_records import ExternalTest
from umamba.comparison.learning_records import Dynamics
from umamba.comparison.presentation import as_data_frame, as_html
from umamba.comparison.records import MetricStatistics
from umamba.comparison.rows import (
    CaseRow,
    ComparedDataset,
    ComparedModel,
    Cost,
    EnsembleRow,
    LearningCurve,
    ObjectRow,
    Training,
    TrainingRow,
)
from umamba.comparison.training_options import TrainingOptions
from umamba.errors import ComparisonError, UMambaError
from umamba.evaluation.metric import Metric
from umamba.evaluation.metrics import measured_metrics
from umamba.evaluation.settings import EvaluationSettings
from umamba.nnunet.training.seed_streams import SHARED
from umamba.system.atomic_files import write_whole
from umamba.system.json_files import load_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "STATISTICS_VERSION",
    "AnalysisSettings",
    "Empty",
    "Results",
    "ResultsSettings",
    "from_plain",
    "read_results",
    "save_results",
    "to_plain",
    "write_record",
]

Empty = Literal["undefined", "one", "zero"]

_SCHEMA = "umamba-comparison"
_VERSION = 2
STATISTICS_VERSION = 1  # changes with the rules, so that reports of earlier results follow them
_NONE_SAID = {"low": None, "high": None}
# Settings that the first results of version 1 do not have yet.
_LATER_COMPARED: dict[str, Any] = {
    "n_informative_left_out": 0,
    "pooled": None,
    "unpooled": None,
    "corrected_interval": _NONE_SAID,
    "fold_test": {"n_folds": 0, "mean": None, "interval": _NONE_SAID, "p": None},
}
_T = TypeVar("_T")


@dataclass(frozen=True)
class AnalysisSettings:
    """Settings of the statistics of a comparison.

    Attributes:
        empty: Value of Dice, IoU and NSD if both reference and prediction are empty.
        margin: The smallest difference that matters, in Dice points; `None` if none is given.
        clusters: The cluster of each case, such as a patient; empty if cases are independent.
        groups: The subgroup of each case, such as a scanner; empty if there are none.
    """

    empty: Empty = "undefined"
    margin: float | None = None
    clusters: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ResultsSettings(TrainingOptions):
    """Settings of a comparison: everything that its numbers depend on.

    Attributes:
        models: Names of the models, in their order.
        baseline: The model that the others are compared with.
        folds: Folds of the cross-validation.
        seeds: Seeds of the trainings.
        budget: The budget of each training, by its kind.
        evaluation: Settings of the metrics.
        analysis: Settings of the statistics.
    """

    models: tuple[str, ...]
    baseline: str
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    budget: dict[str, int | float]
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    analysis: AnalysisSettings = field(default_factory=AnalysisSettings)


@dataclass(frozen=True)
class Results:
    """Everything that a comparison has found.

    Attributes:
        dataset: The data set.
        settings: Settings that the numbers depend on.
        models: The models, in their order.
        trainings: State of each training.
        cases: Metrics by training, case and label.
        instances: Objects found, by training, case, label and size.
        curves: The log of each training.
        cost: Cost of each model, as far as known.
        dynamics: Speed of learning of each model.
        statistics: Statistics by metric. For objects the keys name metric and size, such as
            `object_f1_small`; for labels predicted but not there, and labels there but not
            predicted, they are `false_alarm` and `missed`.
        verdicts: A sentence on each model: what Dice shows.
        test: The external test; `None` if none was asked for.
        statistics_version: Version of the rules of the statistics; 0 if they are older, or none.
    """

    dataset: ComparedDataset
    settings: ResultsSettings
    models: tuple[ComparedModel, ...]
    trainings: tuple[TrainingRow, ...]
    cases: tuple[CaseRow, ...]
    instances: tuple[ObjectRow, ...]
    curves: tuple[LearningCurve, ...]
    cost: dict[str, Cost] = field(default_factory=dict)
    dynamics: dict[str, Dynamics] = field(default_factory=dict)
    statistics: dict[str, MetricStatistics] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    test: ExternalTest | None = None
    statistics_version: int = 0

    @property
    def model_names(self) -> list[str]:
        """Return the names of the models, in order."""
        return [model.name for model in self.models]

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """Return the metrics that were measured in the cases."""
        return measured_metrics(row.metrics for row in self.cases)

    @cached_property
    def compared(self) -> frozenset[Training]:
        """Return the trainings that count in the statistics."""
        return frozenset(result.training for result in self.trainings if result.compared)

    def of(self, metric: str) -> MetricStatistics:
        """Return the statistics of a metric; empty while models train, and for unknown metrics."""
        return self.statistics.get(metric, MetricStatistics())

    @property
    def dice(self) -> MetricStatistics:
        """Return the statistics of Dice, by which models are judged."""
        return self.of("dice")

    def on_test_set(self) -> "Results | None":
        """Return these results with the trainings' cases of the external test as their cases."""
        if self.test is None:
            return None
        statistics = self.test.trainings.statistics
        return dataclasses.replace(
            self, cases=self.test.cases, instances=(), statistics=statistics, test=None
        )

    def to_pandas(self) -> "pd.DataFrame":
        """Return the metrics of all cases as a table.

        Returns:
            A row per training, case and label, with the columns of `cases.csv`: `model`, `fold`,
            `seed`, `case`, `label`, a column per metric, and `empty`.

        Raises:
            ComparisonError: If pandas is not installed.
        """
        return as_data_frame(self.case_rows(), self.case_columns())

    def case_columns(self) -> tuple[str, ...]:
        """Return the columns of `cases.csv`."""
        head = ("model", "fold", "seed", "case", "label")
        return (*head, *self.metrics, "surface", "empty")

    def case_rows(self) -> list[dict[str, Any]]:
        """Return a row per training, case and label, with `case_columns`."""
        return self._rows_of(self.cases)

    def _rows_of(self, rows: Iterable[CaseRow | EnsembleRow]) -> list[dict[str, Any]]:
        return [
            {
                "model": row.model,
                "fold": getattr(row, "fold", None),
                "seed": row.seed,
                "case": row.case,
                "label": row.label,
                **{metric: row.metrics.get(metric) for metric in self.metrics},
                "surface": self.settings.evaluation.surface,
                "empty": row.empty,
            }
            for row in rows
        ]

    def test_columns(self) -> tuple[str, ...]:
        """Return the columns of `test_cases.csv`."""
        return ("predicted_by", *self.case_columns())

    def test_rows(self) -> list[dict[str, Any]]:
        """Return a row per training or ensemble, case and label of the external test.

        The `fold` of an ensemble lists its folds.
        """
        test, of_trainings = self.test, self.on_test_set()
        if test is None or of_trainings is None:
            return []
        folds = ["-".join(map(str, row.folds)) for row in test.ensemble_cases]
        ensembles = zip(self._rows_of(test.ensemble_cases), folds, strict=True)
        return [
            *({"predicted_by": "training", **row} for row in of_trainings.case_rows()),
            *({"predicted_by": "ensemble", **row, "fold": fold} for row, fold in ensembles),
        ]

    def _repr_html_(self) -> str:
        """Return HTML for Jupyter: the verdicts, and the mean Dice of each model."""
        title = f"{self.dataset.name}, {self.dataset.configuration}"
        return as_html(title, self.verdicts.values(), self.dice.summaries)


def read_results(path: Path) -> Results:
    """Read the results of a comparison, of this version or an earlier one.

    Args:
        path: `results.json`, or the folder that contains it.

    Raises:
        ComparisonError: If the file is missing, damaged, or of a later version.
    """
    file = path / "results.json" if path.is_dir() else path
    do_again = "run the same `umamba compare` again, which repeats no finished training"
    try:
        content = load_json(file)
    except UMambaError as error:
        msg = f"{error}; {do_again}"
        raise ComparisonError(msg) from None
    schema, version = content.get("schema"), content.get("schema_version")
    if schema != _SCHEMA or version not in range(1, _VERSION + 1):
        msg = (
            f"{file} is of schema {schema!r}, version {version!r}; this umamba reads {_SCHEMA!r} "
            f"up to version {_VERSION}: update umamba, or {do_again}"
        )
        raise ComparisonError(msg)
    try:
        return from_plain(_from_version_1(content) if version == 1 else content, Results)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        msg = f"{file} is damaged ({error}); {do_again}"
        raise ComparisonError(msg) from None


def save_results(file: Path, results: Results) -> None:
    """Write `results.json` atomically.

    Args:
        file: The file to write.
        results: Its contents.

    Raises:
        UMambaError: If the file cannot be written.
    """
    write_record(file, results, _SCHEMA, _VERSION)


def write_record(file: Path, record: Any, schema: str, version: int) -> None:
    """Write a record as a JSON object with its schema, atomically.

    Args:
        file: The file to write.
        record: A dataclass; undefined numbers in it become `null`.
        schema: Name of the schema.
        version: Version of the schema.

    Raises:
        UMambaError: If the file cannot be written.
    """
    head = {"schema": schema, "schema_version": version}
    fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    write_whole(file, "".join(_as_json(head | fields)))


def _as_json(content: Mapping[str, Any]) -> Iterator[str]:
    """Write each row of a table on one line, which is faster and smaller than a line per key."""
    for opens, (key, value) in zip(chain("{", repeat(",")), content.items(), strict=False):
        yield f"{opens}\n{json.dumps(key)}: "
        if isinstance(value, tuple) and value:
            for between, row in zip(chain("[", repeat(",")), value, strict=False):
                yield f"{between}\n {_encode(row).decode()}"
            yield "\n]"
        else:
            yield msgspec.json.format(_encode(value), indent=1).decode()
    yield "\n}\n"


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value, enc_hook=_of_numpy)


def _of_numpy(value: object) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    msg = f"a {type(value).__name__} cannot be written as JSON"
    raise TypeError(msg)


def to_plain(value: object) -> Any:
    """Turn records, arrays and NumPy numbers into types that JSON knows.

    Args:
        value: A record, a mapping, a sequence, an array or a scalar.

    Returns:
        The same as dicts with string keys, lists and scalars; nan and infinity as `None`.
    """
    return json.loads(_encode(value))


def from_plain(value: Any, kind: type[_T]) -> _T:
    """Return values from JSON as a type, checked; numbers that are `null` become nan.

    Args:
        value: Dicts, lists and scalars.
        kind: A dataclass.

    Raises:
        ValueError: If the value has another form; the message says where.
    """
    filled = _with_nan(value, inspect.type_info(kind))
    return msgspec.convert(filled, kind, str_keys=True)


def _with_nan(value: Any, kind: inspect.Type) -> Any:
    """Replace `null` by nan in numbers that cannot be `None`."""
    if isinstance(kind, inspect.UnionType):
        kinds = [k for k in kind.types if not isinstance(k, inspect.NoneType)]
        return value if value is None or len(kinds) > 1 else _with_nan(value, kinds[0])
    if isinstance(kind, inspect.FloatType):
        return math.nan if value is None else value
    if isinstance(kind, inspect.DataclassType) and isinstance(value, dict):
        known = {f.encode_name: f.type for f in kind.fields}
        return {k: _with_nan(v, known[k]) if k in known else v for k, v in value.items()}
    if isinstance(kind, inspect.DictType) and isinstance(value, dict):
        return {k: _with_nan(v, kind.value_type) for k, v in value.items()}
    if isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
        return [_with_nan(v, kind.item_type) for v in value]
    return value


def _from_version_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """Convert results of version 1 to the present form; no number changes."""
    settings = dict(content["settings"])
    for name, kind in (("evaluation", EvaluationSettings), ("analysis", AnalysisSettings)):
        known = [f.name for f in dataclasses.fields(kind) if f.name in settings]
        settings[name] = {key: settings.pop(key) for key in known}
    trainings = [
        {"seeds": None if cell["seed"] is None else SHARED} | cell for cell in content["cells"]
    ]
    statistics = {name: _later(found) for name, found in content["statistics"].items()}
    changed = {"settings": settings, "trainings": trainings, "statistics": statistics}
    return {**content, **changed}


def _later(found: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in fields that the first statistics of version 1 do not have."""
    families = {
        family: [
            _LATER_COMPARED | {"n_clusters": comparison["n_cases"]} | comparison
            for comparison in found[family]
        ]
        for family in ("comparisons", "controls")
    }
    summaries = [{"n_partly_defined": 0} | summary for summary in found["summaries"]]
    return {**found, **families, "summaries": summaries}
