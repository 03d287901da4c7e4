"""`umamba models`: list every model with its origin, purpose and cost."""

import argparse
import sys

from umamba.cli.output import print_json
from umamba.costs.requests import CostsRequest
from umamba.options import add_options, from_namespace

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
List the models with paper, purpose, parameters, multiply-adds, and the memory that training keeps
for the backward pass, using a data set's plans or, if none is given, typical plans. No network is
run unless --time asks for training steps, and nothing is written.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba models`."""
    parser = subparsers.add_parser(
        "models",
        help="list the models, their papers, and what they cost",
        description=_DESCRIPTION,
        epilog="example: umamba models Dataset004_Hippocampus --configurations 3d_fullres --time",
    )
    add_options(parser, CostsRequest)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Profile the models, and print the tables."""
    from umamba.api import run_models

    tables = run_models(from_namespace(CostsRequest, args)).tables
    if args.json:
        print_json(tables.to_dict())
    else:
        sys.stdout.write(tables.to_markdown())
    return 0
