"""Requests for a ranking: keywords of the Python API, and options of the command."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from umamba.comparison.statistic_options import clusters_option, groups_option
from umamba.errors import UMambaError, unknown_name
from umamba.option_checks import folder_or_file, positive_size, real
from umamba.options import Request, argument, option
from umamba.reporting.credit import credit_option

__all__ = ["TREATMENTS", "RankRequest"]

Folder = str | Path

TREATMENTS = ("error", "omit", "worst")


def _sources(given: Any) -> tuple[str, ...]:
    """Return files, each with the name of its model before it if one is given."""
    if isinstance(given, Mapping):
        return tuple(f"{name}={path}" for name, path in given.items())
    items: Iterable[Any] = (given,) if isinstance(given, str | Path) else given
    found = tuple(str(item) for item in items)
    if not found:
        msg = "there is no file to rank; give one or more"
        raise UMambaError(msg)
    return found


def _treatment(given: Any) -> str | float:
    """Return how missing scores are treated: a word, or the number that replaces them."""
    if given in TREATMENTS:
        return str(given)
    value = real(given)
    if not math.isfinite(value):
        raise UMambaError(unknown_name("treatment", str(given), (*TREATMENTS, "a number")))
    return value


@dataclass(frozen=True, kw_only=True)
class RankRequest(Request):
    """Tables of scores, and how to rank the models in them."""

    scores: Folder | Iterable[Folder] | Mapping[str, Folder] = field(
        metadata=argument(
            "tables as .csv or .json: wide (case,MODEL,MODEL,...) or long (case,model,score, and "
            "if known task, label, fold, seed, group, cluster); or nnU-Net's summary.json, or "
            "folders with one. NAME=FILE names the model of a file that does not; files of the "
            "same name are repeated trainings",
            nargs="+",
            check=_sources,
            metavar="SCORES",
        )
    )
    metric: str | None = field(
        default=None,
        metadata=option(
            "column of the scores in a long table or summary.json, or what the scores of a wide "
            "one are; dice and other overlaps are fractions from 0 to 1, and told in points of 100 "
            "(default: score, value or dice)",
            metavar="NAME",
        ),
    )
    lower_is_better: bool = field(
        default=False,
        metadata=option(
            "lower scores are better; of metrics that `umamba evaluate` knows, this is known"
        ),
    )
    baseline: str | None = field(
        default=None,
        metadata=option(
            "model to compare the others with (default: nnunet if it is there, else the first)",
            metavar="NAME",
        ),
    )
    missing: str | float = field(
        default="error",
        metadata=option(
            "missing scores, among them what is undefined for an empty prediction, such as hd95: "
            "an error, omit (compare on the cases for which both models have a score, and rank on "
            "those that all have), worst (the worst score of the task) or a number (default: "
            "error)",
            check=_treatment,
            metavar="error|omit|worst|NUMBER",
        ),
    )
    margin: float | None = field(
        default=None,
        metadata=option(
            "the smallest difference that matters, in the unit in which differences are told, such "
            "as 1.0 Dice points (default: none)",
            check=positive_size,
            metavar="SIZE",
        ),
    )
    clusters: Folder | None = field(default=None, metadata=clusters_option())
    groups: Folder | None = field(default=None, metadata=groups_option())
    credit: str | None = field(default=None, metadata=credit_option())
    output: Folder | None = field(
        default=None,
        metadata=option(
            "folder for summary.md, report.html for the browser, figures and tables, made anew; an "
            "earlier one of this command is replaced (default: only print)",
            "-o",
            "--output",
            check=folder_or_file,
            metavar="DIR",
        ),
    )
