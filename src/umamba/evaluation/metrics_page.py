"""The tables of metrics on their reference page, made from the list of metrics.

`python -m umamba.evaluation.metrics_page docs/reference/metrics.md` writes them into it.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from umamba.evaluation.metric import Metric
from umamba.evaluation.metrics import METRICS

__all__ = ["with_tables"]

_HEAD = ("name", "title", "unit", "definition", "better", "if masks are empty", "source")
_BETTER = {True: "higher", False: "lower", None: "near 0"}


def with_tables(page: str) -> str:
    """Return a page with up-to-date tables of metrics at the marked places.

    Args:
        page: Markdown.
    """
    for name, is_standard in (("standard", True), ("other", False)):
        begin, end = f"<!-- {name} metrics -->\n", "<!-- end -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        table = _table(m for m in METRICS.values() if m.is_standard == is_standard)
        page = before + begin + table + end + after
    return page


def _table(metrics: Iterable[Metric]) -> str:
    units = {None: "", "length": "mm", "volume": "mm^3, in 2D mm^2"}
    rows = [_HEAD, ("---",) * len(_HEAD)]
    rows += [
        (
            f"`{metric.name}`",
            metric.title,
            units[metric.unit],
            metric.definition,
            _BETTER[metric.higher_is_better],
            metric.empty,
            metric.source,
        )
        for metric in metrics
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(with_tables(file.read_text(encoding="utf-8")), encoding="utf-8")
