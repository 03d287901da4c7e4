"""The results of a comparison in a notebook: a data frame, and what Jupyter shows."""

import math
from html import escape
from typing import TYPE_CHECKING, Any

from umamba.comparison.results import Results
from umamba.errors import ComparisonError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_data_frame", "as_html", "case_columns", "case_rows"]


def case_columns(results: Results) -> tuple[str, ...]:
    """Return the columns of `cases.csv`."""
    head = ("model", "fold", "seed", "case", "label")
    return (*head, *results.metrics, "surface", "empty")


def case_rows(results: Results) -> list[dict[str, Any]]:
    """Return a row per training, case and label, with `case_columns`."""
    return [
        {
            "model": row.model,
            "fold": row.fold,
            "seed": row.seed,
            "case": row.case,
            "label": row.label,
            **{metric: row.metrics.get(metric) for metric in results.metrics},
            "surface": results.settings.evaluation.surface,
            "empty": row.empty,
        }
        for row in results.cases
    ]


def as_data_frame(results: Results) -> "pd.DataFrame":
    """Return `case_rows` as a table of pandas.

    Raises:
        ComparisonError: If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        msg = "pandas is not installed, and tables of it need it: pip install pandas"
        raise ComparisonError(msg) from None
    return pd.DataFrame(case_rows(results), columns=list(case_columns(results)))


def as_html(results: Results) -> str:
    """Return the verdicts and a table of mean Dice with its 95 % interval, for Jupyter."""
    title = f"{results.dataset.name}, {results.dataset.configuration}"
    said = "".join(f"<li>{escape(verdict)}</li>" for verdict in results.verdicts.values())
    rows = "".join(
        f"<tr><td>{escape(s.model)}</td><td>{_number(s.estimate.mean)}</td>"
        f"<td>{_number(s.estimate.interval.low)} to {_number(s.estimate.interval.high)}</td>"
        f"<td>{s.n_cases}</td></tr>"
        for s in results.dice.summaries
    )
    head = "<tr><th>model</th><th>Dice</th><th>95 % interval</th><th>cases</th></tr>"
    table = f"<table>{head}{rows}</table>" if rows else "<p>No results yet.</p>"
    return f"<h4>{escape(title)}</h4><ul>{said}</ul>{table}"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "\N{EN DASH}"
