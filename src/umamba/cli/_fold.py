"""`umamba fold`, for executors only: begin or continue one fold of `umamba train`."""

import argparse

from umamba.nnunet.requests import TrainingRequest
from umamba.options import add_options, from_namespace

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("fold")
    add_options(parser, TrainingRequest)
    parser.set_defaults(run=run, go_on="the same training continues")


def run(args: argparse.Namespace) -> int:
    """Do what is left to do for the fold."""
    from umamba.job_control import run_fold

    run_fold(from_namespace(TrainingRequest, args))
    return 0
