"""`umamba rank`: compare and rank the models of any table of scores."""

import argparse
import sys

from umamba.cli.output import print_json
from umamba.comparison.ranking.requests import RankRequest
from umamba.options import add_options, from_namespace
from umamba.system.terminal import one_line

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Compare and rank the models of any table of scores per case, by the statistics of `umamba compare`
and without training anything: verdicts against a baseline, intervals, all pairs corrected for
their number, ranks and how stable they are, the smallest difference that such a table shows, and
one ranking over several tasks.

The cases.csv of a comparison gives the numbers of its summary, unless the comparison left trainings
out, was given --empty one or zero, or shared seeds between folds: the table does not tell these.
It leaves out what is undefined for an empty prediction, such as hd95, as --missing omit does here.
"""

_EPILOG = """\
examples:
  umamba rank scores.csv --baseline nnunet -o ranked
  umamba rank umamba-compare/Dataset004_Hippocampus/cases.csv --metric hd95
  umamba rank unet=runs/unet/summary.json mamba=runs/mamba/summary.json --margin 1
  umamba rank challenge.csv --missing worst

exit codes: 0 done, 2 the input is at fault
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba rank`."""
    parser = subparsers.add_parser(
        "rank",
        help="compare and rank the models of any table of scores",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, RankRequest)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Rank, and print verdicts and ranks."""
    from umamba.api import run_ranking
    from umamba.evaluation.metrics import METRICS

    result = run_ranking(from_namespace(RankRequest, args))
    settings = result.ranking.settings
    is_assumed = settings.higher_is_better and settings.metric.lower() not in METRICS
    hint = " (--lower-is-better if not)" if is_assumed else ""
    sys.stderr.write(one_line(f"taken for {result.ranking.described}{hint}") + "\n")
    if args.json:
        print_json(result.to_dict())
        return 0
    sys.stdout.write(str(result))
    if result.output is not None:
        sys.stdout.write(f"\n{result.output / 'summary.md'}\n{result.output / 'report.html'}\n")
    return 0
