"""The summary of a folder of evaluated cases, shown as tables and written as JSON and CSV."""

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from umamba.errors import EvaluationError
from umamba.evaluation.folders import FolderEvaluation
from umamba.evaluation.froc import RATES, Froc, LesionScores, froc
from umamba.evaluation.instances import ALL_SIZES, stratum_names
from umamba.evaluation.metrics import chosen_metrics, measured_metrics
from umamba.system.atomic_files import write_whole
from umamba.system.spreadsheets import guarded
from umamba.system.terminal import one_line

__all__ = ["as_csv", "check_tables", "evaluation_data", "evaluation_text", "write_tables"]

Row = dict[str, Any]

_TABLE_BEGIN = b"case,label,"  # the same for both tables
_EMPTY = ("reference", "prediction", "both")


def evaluation_data(evaluation: FolderEvaluation) -> Row:
    """Return everything in a form for JSON: settings, cases, objects, summary, failures."""
    cases, instances = _rows(evaluation)
    labels = evaluation.labels
    return {
        "labels": None if labels is None else dict(labels),
        "unit": evaluation.unit,
        "settings": evaluation.settings.to_dict(),
        "cases": cases,
        "instances": instances,
        "summary": {
            "labels": _summarise_labels(cases),
            "instances": _pool(instances),
            "froc": {label: asdict(curve) for label, curve in _curves(evaluation).items()},
        },
        "failed": dict(evaluation.failed),
        "missing": list(evaluation.missing),
        "extra": list(evaluation.extra),
        "notes": list(evaluation.notes),
        "unused": list(evaluation.unused),
    }


def _rows(evaluation: FolderEvaluation) -> tuple[list[Row], list[Row]]:
    cases = [
        {"case": case, **row}
        for case, result in evaluation.cases.items()
        for row in result.case_records()
    ]
    instances = [
        {"case": case, **row}
        for case, result in evaluation.cases.items()
        for row in result.instance_records(evaluation.settings)
    ]
    return cases, instances


def _summarise_labels(cases: Sequence[Row]) -> list[Row]:
    """Return mean, median and count of the defined values per label, and count empty masks."""
    summary = []
    names = list(measured_metrics(case["metrics"] for case in cases))
    for label, rows in _grouped(cases, "label").items():
        metrics = {}
        for name in names:
            values = [row["metrics"][name] for row in rows if row["metrics"][name] is not None]
            metrics[name] = {
                "mean": statistics.fmean(values) if values else None,
                "median": statistics.median(values) if values else None,
                "n": len(values),
            }
        empty = {kind: sum(row["empty"] == kind for row in rows) for kind in _EMPTY}
        summary.append({"label": label[0], "n": len(rows), "metrics": metrics, "empty": empty})
    return summary


def _pool(instances: Sequence[Row]) -> list[Row]:
    """Add up the objects of all cases per label and size; Dice is the mean over all pairs."""
    pooled = []
    for (label, stratum), rows in _grouped(instances, "label", "stratum").items():
        counts = {
            name: sum(row[name] for row in rows)
            for name in ("n_reference", "n_prediction", "n_matched")
        }
        n_objects, n_matched = counts["n_reference"] + counts["n_prediction"], counts["n_matched"]
        total = sum(row["dice"] * row["n_matched"] for row in rows if row["n_matched"])
        pooled.append(
            {
                "label": label,
                "stratum": stratum,
                **counts,
                "f1": 2 * n_matched / n_objects if n_objects else None,
                "dice": total / n_matched if n_matched else None,
            }
        )
    return pooled


def _curves(evaluation: FolderEvaluation) -> dict[str, Froc]:
    """Return the FROC of every label that has lesions and, in all cases, probabilities."""
    scores: dict[str, list[LesionScores | None]] = {}
    for case in evaluation.cases.values():
        for label in case.labels:
            scores.setdefault(label.label, []).append(label.lesions)
    curves = {
        label: froc([one for one in found if one is not None])
        for label, found in scores.items()
        if None not in found
    }
    return {label: curve for label, curve in curves.items() if curve is not None}


def _froc_text(evaluation: FolderEvaluation) -> str:
    rows = [
        [label, str(curve.n_lesions), *map(_shown, (*curve.at_rates, curve.score))]
        for label, curve in _curves(evaluation).items()
    ]
    head = ["FROC of label", "lesions", *(f"at {rate:g} per case" for rate in RATES), "mean"]
    return _table(head, rows)


def _grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def evaluation_text(evaluation: FolderEvaluation) -> str:
    """Return the tables of cases, of labels, and of objects by size."""
    cases, instances = _rows(evaluation)
    summary = _summarise_labels(cases)
    settings, unit = evaluation.settings, evaluation.unit
    headings = [m.heading(unit, evaluation.n_dims) for m in chosen_metrics(settings).values()]
    parts = [
        f"Surfaces (NSD, HD95, ASSD): {settings.surface}.\n",
        _table(
            ["case", "label", *headings, "empty"],
            [
                [row["case"], row["label"], *_cells(row["metrics"]), row["empty"] or ""]
                for row in cases
            ],
        ),
        _table(
            ["label", "of cases", *headings],
            [
                [label["label"], statistic, *_cells(_pick(label["metrics"], statistic))]
                for label in summary
                for statistic in ("mean", "median", "n")
            ],
        ),
        _empty_text(summary),
        _table(
            ["label", "objects", "size", "reference", "predicted", "matched", "F1", "Dice"],
            [_object_cells(row, evaluation) for row in _pool(instances)],
        ),
        _froc_text(evaluation),
        _settings_text(evaluation),
    ]
    return "\n".join(filter(None, parts))


def _pick(metrics: Mapping[str, Mapping[str, Any]], statistic: str) -> Row:
    return {name: values[statistic] for name, values in metrics.items()}


def _cells(metrics: Mapping[str, Any]) -> list[str]:
    return [_shown(value) for value in metrics.values()]


def _shown(value: float | int | None) -> str:
    if value is None:
        return "-"
    # Adding zero turns what rounds to -0 into 0.
    return str(value) if isinstance(value, int) else f"{round(value, 4) + 0.0:.4f}"


def _object_cells(row: Row, evaluation: FolderEvaluation) -> list[str]:
    counts = [str(row[name]) for name in ("n_reference", "n_prediction", "n_matched")]
    scores = [_shown(row["f1"]), _shown(row["dice"])]
    return [row["label"], row["stratum"], _size_range(row, evaluation), *counts, *scores]


def _size_range(row: Row, evaluation: FolderEvaluation) -> str:
    if row["stratum"] == ALL_SIZES:
        return ""
    cuts = evaluation.settings.size_cut_points[row["label"]]
    index = stratum_names(len(cuts)).index(row["stratum"])
    low = f"from {cuts[index - 1]:.4g}" if index else ""
    high = f"below {cuts[index]:.4g}" if index < len(cuts) else ""
    return f"{low} {high}".strip()


def _empty_text(summary: Sequence[Row]) -> str:
    lines = [
        f"empty masks of {one_line(label['label'])}: "
        + ", ".join(f"{n} {kind}" for kind, n in label["empty"].items() if n)
        + f" (of {label['n']} cases)\n"
        for label in summary
        if any(label["empty"].values())
    ]
    return "".join(lines)


def _settings_text(evaluation: FolderEvaluation) -> str:
    settings, unit = evaluation.settings, evaluation.unit
    tolerances = [f"{settings.nsd_tolerance:g} {unit}"]
    tolerances += [f"{name} {value:g} {unit}" for name, value in settings.nsd_tolerances.items()]
    size = f"equivalent diameter in {unit}"
    if settings.size_measure == "volume":
        size = f"volume in {unit}^3 (2D: area in {unit}^2)"
    return (
        f"- is undefined. NSD tolerance: "
        f"{', '.join(tolerances)}. Objects match above an IoU of {settings.matching_iou:g}; "
        f"their size is the {size}; Dice of objects is that of matched ones.\n"
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table; the columns after the first two hold numbers and are aligned right."""
    if not rows:
        return ""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        + "\n"
        for row in (headings, *rows)
    ]
    return "".join(lines)


def write_tables(evaluation: FolderEvaluation, cases_file: Path) -> tuple[Path, Path]:
    """Write a row per case and label, and one per case, label and object size, as CSV.

    Args:
        evaluation: The evaluation to write.
        cases_file: File for the cases; objects go to `NAME_objects.csv` next to it.

    Returns:
        The two files, each written atomically.

    Raises:
        UMambaError: If one cannot be written.
    """
    cases, instances = _rows(evaluation)
    flat = [
        {
            "case": row["case"],
            "label": row["label"],
            **row["metrics"],
            "surface": evaluation.settings.surface,
            "empty": row["empty"],
            "reference_volume": row["reference_volume"],
            "prediction_volume": row["prediction_volume"],
        }
        for row in cases
    ]
    objects_file = _objects_file(cases_file)
    cases_file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(cases_file, as_csv(list(flat[0]), flat))
    write_whole(objects_file, as_csv(list(instances[0]), instances))
    return cases_file, objects_file


def check_tables(cases_file: Path) -> None:
    """Check that the tables of an evaluation would replace only such tables.

    Raises:
        EvaluationError: If they would.
    """
    for file in (cases_file, _objects_file(cases_file)):
        if not file.is_file():
            continue
        with file.open("rb") as there:
            begin = there.read(len(_TABLE_BEGIN))
        if begin not in (b"", _TABLE_BEGIN):
            msg = (
                f"{file} is not a table of an evaluation, and would be overwritten; give another "
                "--csv, or move that file"
            )
            raise EvaluationError(msg)


def _objects_file(cases_file: Path) -> Path:
    return cases_file.with_name(f"{cases_file.stem}_objects.csv")


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table as CSV; other keys of the rows are dropped, and missing ones left empty.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: guarded(cell) for name, cell in row.items()} for row in rows)
    return text.getvalue()
