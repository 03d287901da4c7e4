"""`umamba report`: write the report of a comparison or a ranking again, from its results."""

import argparse
import sys

from umamba.cli.output import print_json
from umamba.comparison.report.requests import ReportRequest
from umamba.options import add_options, from_namespace

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Write summary.md, the figures and report.html of a comparison or a ranking again, from results.json
alone: after an update, with another margin, or with clusters or subgroups that were not named
before. Nothing is trained or evaluated. Images and masks of the cases are taken from nnU-Net's
folders; if these are not there, those of the report that is replaced are kept.

report.html works offline in any browser, and can be sent by mail.
"""

_EPILOG = """\
examples:
  umamba report umamba-compare/Dataset004_Hippocampus
  umamba report ranked --margin 1 --groups scanners.csv

exit codes: 0 done, 2 the input is at fault
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba report`."""
    parser = subparsers.add_parser(
        "report",
        help="write the report of a comparison or a ranking again",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, ReportRequest)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the report, and print where it is."""
    from umamba.api import run_report

    result = run_report(from_namespace(ReportRequest, args))
    if args.json:
        print_json({"output": str(result.output), "verdicts": result.verdicts})
        return 0
    sys.stdout.write(f"{result.output}/summary.md\n{result.output}/report.html\n")
    return 0
