"""Scores from the `summary.json` that nnU-Net writes next to predictions."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from umamba.comparison.ranking.recognition import Source, number_in
from umamba.comparison.ranking_records import ScoreRow
from umamba.errors import ComparisonError, unknown_name

__all__ = ["is_summary", "name_of", "read_summary", "summaries_in"]

SUMMARY = "summary.json"
_PER_CASE = "metric_per_case"
_FILE = "prediction_file"
_USUAL = "Dice"
_ALL = "all"  # fold of a training on all cases, which nnU-Net validates on these very cases
_FOLD = re.compile(r"fold_(\d{1,4}|all)", re.ASCII)


def summaries_in(folder: Path) -> list[Path]:
    """Return the summaries of a folder of predictions, or of all folds of a trained model.

    Fold `all` is left out if there are others, as it was trained on all cases.

    Raises:
        ComparisonError: If there is none.
    """
    own = folder / SUMMARY
    found = [own] if own.is_file() else sorted(folder.glob(f"fold_*/validation/{SUMMARY}"))
    found = [file for file in found if name_of(file)[1] != _ALL] or found
    if not found:
        msg = (
            f"{folder} has no {SUMMARY}, nor has a validation folder in it; give a folder with "
            "one, or a table of scores"
        )
        raise ComparisonError(msg)
    return found


def is_summary(content: Any) -> bool:
    """Return whether the content of a JSON file is such a summary."""
    return isinstance(content, dict) and isinstance(content.get(_PER_CASE), list)


def name_of(file: Path) -> tuple[str, str | None]:
    """Return the model that predicted, by the folders' names, and the fold, if there is one."""
    folder = file.absolute().parent
    fold = _FOLD.fullmatch(folder.parent.name)
    if folder.name == "validation" and fold is not None:
        return folder.parent.parent.name, fold[1]
    return folder.name, None


def read_summary(
    file: Path, content: Mapping[str, Any], model: str | None, metric: str | None
) -> Source:
    """Take the scores of all cases and labels from a summary.

    Args:
        file: Its file.
        content: What it holds.
        model: Name of the model; `None` takes it from the folders.
        metric: Name of the metric; `None` is Dice.

    Raises:
        ComparisonError: If it lacks the metric, is damaged, or scores the cases of the training.
    """
    own_name, fold = name_of(file)
    if fold == _ALL:
        msg = (
            f"{file} scores the cases that its model was trained on, as fold all has no others; "
            "give folds 0 to 4, or scores of other cases"
        )
        raise ComparisonError(msg)
    try:
        rows = tuple(
            _rows(file, content[_PER_CASE], model or own_name, int(fold or 0), metric or _USUAL)
        )
    except (LookupError, TypeError, AttributeError) as error:
        msg = f"{file} is not a whole summary of nnU-Net ({error!r}); evaluate the folder again"
        raise ComparisonError(msg) from None
    remedy = "name the models or trainings, as in a=run_1/summary.json b=run_2/summary.json"
    form = "nnU-Net's summary.json"
    return Source(form, (metric or _USUAL).lower(), rows, {}, remedy, fold is not None)


def _rows(
    file: Path, cases: list[Any], model: str, fold: int, metric: str
) -> Iterator[tuple[str, ScoreRow]]:
    for number, case in enumerate(cases, start=1):
        file_name = Path(case[_FILE]).name
        name = Path(file_name.removesuffix(".gz")).stem
        if not name:
            raise LookupError(_FILE)
        for label, metrics in case["metrics"].items():
            column = next((key for key in metrics if key.lower() == metric.lower()), None)
            if column is None:
                raise ComparisonError(unknown_name(f"{file}: metric", metric, metrics))
            n_reference, n_prediction = metrics.get("n_ref"), metrics.get("n_pred")
            yield (
                f"case {number}",
                ScoreRow(
                    model=model,
                    case=name,
                    value=number_in(f"{file}, {name}, label {label}: {column}", metrics[column]),
                    label=str(label),
                    fold=fold,
                    empty="both" if n_reference == 0 and n_prediction == 0 else None,
                ),
            )
