"""The request for a report: keywords of the Python API, and options of the command."""

from dataclasses import dataclass, field
from pathlib import Path

from umamba.comparison.statistic_options import clusters_option, groups_option
from umamba.nnunet.paths import Paths, path_options
from umamba.option_checks import folder_or_file, positive_size
from umamba.options import Request, Section, argument, option
from umamba.reporting.credit import credit_option

__all__ = ["ReportRequest"]

Folder = str | Path

_STATISTICS = Section(
    "statistics",
    "what is given replaces what the results were made with: the statistics are computed again, "
    "and results.json is written again",
)


@dataclass(frozen=True, kw_only=True)
class ReportRequest(Request):
    """Results, and how to report them."""

    results: Folder = field(
        metadata=argument(
            "folder of `umamba compare` or `umamba rank`, or results.json in it",
            check=folder_or_file,
            metavar="RESULTS",
        )
    )
    margin: float | None = field(
        default=None,
        metadata=option(
            "the smallest difference that matters, in the unit in which differences are told, such "
            "as 1.0 Dice points",
            check=positive_size,
            metavar="SIZE",
            section=_STATISTICS,
        ),
    )
    clusters: Folder | None = field(default=None, metadata=clusters_option(_STATISTICS))
    groups: Folder | None = field(default=None, metadata=groups_option(_STATISTICS))
    credit: str | None = field(default=None, metadata=credit_option())
    paths: Paths = field(default=Paths(), metadata=path_options())
