"""The page of an evaluation: scores of all cases, to be pointed at and sorted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from umamba.errors import EvaluationError
from umamba.evaluation.browsed_cases import evaluated_cases
from umamba.evaluation.folders import FolderEvaluation
from umamba.evaluation.labels import sizes_of_cases
from umamba.evaluation.metric import Metric, size_title
from umamba.evaluation.metrics import chosen_metrics
from umamba.evaluation.summary import evaluation_data
from umamba.reporting.charts import CASES, Chart, link_params, linked_dots
from umamba.reporting.page.content import (
    ChosenCases,
    Page,
    ScoreCube,
    ScoredMetric,
    Section,
)
from umamba.reporting.page.writing import check_files, is_page
from umamba.reporting.tables import Note, Table

__all__ = ["check_page", "evaluation_page"]

_MISSING = "\N{EN DASH}"
_MODEL = "predictions"
_CHARTED = ("dice", "nsd", "hd95")

_Units = tuple[str, int | None]  # of lengths, and the number of dimensions


def evaluation_page(
    evaluation: FolderEvaluation,
    predictions: Path,
    references: Path,
    *,
    images: Path | None = None,
    credit: str = "",
) -> Page:
    """Return the page of an evaluation.

    Args:
        evaluation: The evaluation, with at least one case.
        predictions: The folder of the predictions.
        references: The folder of the references.
        images: The folder of the images; `None` shows masks alone.
        credit: Origin and licence of the data; "" if nothing need be said.
    """
    data, metrics = evaluation_data(evaluation), chosen_metrics(evaluation.settings)
    units = evaluation.unit, evaluation.n_dims
    labels = list(dict.fromkeys(row["label"] for row in data["cases"]))
    charts = [
        _chart(data["cases"], labels, metrics[name], units) for name in _CHARTED if name in metrics
    ]
    summary = _summary(data["summary"]["labels"], metrics, units)
    browser = evaluated_cases(evaluation, predictions, references, images)
    sections = [
        Section("labels", "Labels", (summary, ChosenCases(list(metrics)), *charts)),
        Section("objects", "Objects", (_objects(data["summary"]["instances"]),)),
        Section("cases", "Cases", (browser, _cases(data["cases"], metrics, units))),
        Section("notes", "Notes", (Note(items=tuple(_notes(evaluation))),)),
    ]
    return Page(
        title=f"{predictions.name or predictions} against {references.name or references}",
        subtitle=f"{len(evaluation.cases):,} cases, lengths in {evaluation.unit}, surfaces as "
        f"defined by {evaluation.settings.surface}.",
        sections=tuple(section for section in sections if any(map(_is_shown, section.blocks))),
        scores=_scores(evaluation, data["cases"], metrics),
        credit=credit,
    )


def check_page(file: Path) -> None:
    """Check that a page and the folder of its files would replace only such.

    Raises:
        UMambaError: If they would replace something else.
    """
    if file.exists() and not is_page(file):
        msg = f"{file} is not a report, and would be overwritten; give another --report"
        raise EvaluationError(msg)
    check_files(file)


def _is_shown(block: object) -> bool:
    if isinstance(block, Table):
        return bool(block.rows)
    return not isinstance(block, Note) or bool(block.items)


def _number(value: float | None, decimals: int) -> str:
    if value is None:
        return _MISSING
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _summary(
    labels: Sequence[Mapping[str, Any]], metrics: Mapping[str, Metric], units: _Units
) -> Table:
    head = ("label", "of cases", *(metric.heading(*units) for metric in metrics.values()))
    rows = []
    for label in labels:
        for statistic in ("mean", "median", "n"):
            found = {name: label["metrics"][name][statistic] for name in metrics}
            cells = [
                str(value) if statistic == "n" else _number(value, metrics[name].decimals)
                for name, value in found.items()
            ]
            rows.append((label["label"], statistic, *cells))
    explained = "Values that are undefined because a mask is empty are left out of means; n is the "
    return Table(head, tuple(rows), (0, 1), notes=(Note(f"{explained}number of the others."),))


def _objects(rows: Sequence[Mapping[str, Any]]) -> Table:
    head = ("label", "size", "reference", "predicted", "matched", "F1", "Dice of matches")
    counts = ("n_reference", "n_prediction", "n_matched")
    body = (
        (
            row["label"],
            row["stratum"],
            *(f"{row[name]:,}" for name in counts),
            *(_number(row[name], 3) for name in ("f1", "dice")),
        )
        for row in rows
    )
    return Table(head, tuple(body), (0, 1))


def _cases(
    rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, Metric], units: _Units
) -> Table:
    head = ("case", "label", *(metric.heading(*units) for metric in metrics.values()), "empty")
    body = (
        (
            row["case"],
            row["label"],
            *(_number(row["metrics"][name], metric.decimals) for name, metric in metrics.items()),
            row["empty"] or "",
        )
        for row in rows
    )
    return Table(head, tuple(body), (0, 1, len(head) - 1))


def _notes(evaluation: FolderEvaluation) -> list[str]:
    notes = [f"Case {case} was left out: {reason}" for case, reason in evaluation.failed.items()]
    if evaluation.missing:
        notes.append(f"References without prediction: {', '.join(evaluation.missing)}.")
    if evaluation.extra:
        notes.append(f"Predictions without reference: {', '.join(evaluation.extra)}.")
    return [*notes, *evaluation.notes]


def _chart(
    rows: Sequence[Mapping[str, Any]], labels: Sequence[str], metric: Metric, units: _Units
) -> Chart:
    """Return a chart with a dot for each case and label."""
    values = [
        {"case": row["case"], "label": row["label"], "value": row["metrics"][metric.name]}
        for row in rows
        if row["metrics"][metric.name] is not None
    ]
    encoding = {
        "x": {
            "field": "value",
            "type": "quantitative",
            "title": metric.heading(*units),
            "scale": {"zero": False},
        },
        "y": {"field": "label", "type": "nominal", "title": None, "sort": list(labels)},
        "tooltip": [{"field": name} for name in ("case", "label", "value")],
    }
    spec = {
        "params": link_params(),
        "datasets": {CASES: values},
        "layer": linked_dots(encoding, ["x"], size=40),
        "height": {"step": 36},
    }
    alt = f"{metric.title} of {len(values):,} labels in cases; the table below has the numbers."
    caption = "Each dot is a label in a case; cases without a value are left out."
    return Chart(f"cases_{metric.name}", metric.title, alt, caption, spec)


def _scores(
    evaluation: FolderEvaluation,
    rows: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Metric],
) -> ScoreCube:
    cases = list(dict.fromkeys(row["case"] for row in rows))
    labels = list(dict.fromkeys(row["label"] for row in rows))
    found = {(row["case"], row["label"]): row["metrics"] for row in rows}
    values = {
        name: {
            label: [[found.get((case, label), {}).get(name) for case in cases]] for label in labels
        }
        for name in metrics
    }
    units = evaluation.unit, evaluation.n_dims
    scored = [
        ScoredMetric(metric.name, metric.heading(*units), metric.higher_is_better, metric.decimals)
        for metric in metrics.values()
    ]
    volumes = {(row["case"], row["label"]): row["reference_volume"] for row in rows}
    sizes = sizes_of_cases(volumes, evaluation.labels or {})
    facts = {size_title(*units): [sizes[case] for case in cases]}
    return ScoreCube(cases, [_MODEL], scored, labels, values, facts)
