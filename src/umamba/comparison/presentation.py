"""The results of a comparison in a notebook: a data frame, and a display for Jupyter."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from umamba.comparison.records import ModelSummary
from umamba.errors import ComparisonError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_data_frame", "as_html"]


def as_data_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> "pd.DataFrame":
    """Return rows as a pandas data frame.

    Raises:
        ComparisonError: If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        msg = "to_pandas() needs pandas, which is not installed; run `pip install pandas`"
        raise ComparisonError(msg) from None
    return pd.DataFrame(rows, columns=list(columns))


def as_html(title: str, verdicts: Iterable[str], summaries: Iterable[ModelSummary]) -> str:
    """Return HTML with the verdicts and a table of mean Dice with its 95 % interval."""
    said = "".join(f"<li>{escape(verdict)}</li>" for verdict in verdicts)
    rows = "".join(
        f"<tr><td>{escape(s.model)}</td><td>{_number(s.estimate.mean)}</td>"
        f"<td>{_number(s.estimate.interval.low)} to {_number(s.estimate.interval.high)}</td>"
        f"<td>{s.n_cases}</td></tr>"
        for s in summaries
    )
    head = "<tr><th>model</th><th>Dice</th><th>95 % interval</th><th>cases</th></tr>"
    table = f"<table>{head}{rows}</table>" if rows else "<p>No results yet.</p>"
    return f"<h4>{escape(title)}</h4><ul>{said}</ul>{table}"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "\N{EN DASH}"
