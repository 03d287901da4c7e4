"""`umamba cell`, for executors only: train, predict and evaluate one cell of a comparison."""

import argparse
from pathlib import Path

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("cell")
    parser.add_argument("file", type=Path)
    parser.set_defaults(run=run, go_on="the same comparison continues")


def run(args: argparse.Namespace) -> int:
    """Do what is left to do for the cell."""
    from umamba.cli.main import build_parser
    from umamba.comparison.runs.cells import evaluate_training, read_cell, training_command

    cell = read_cell(args.file)
    command = training_command(cell)
    if command is not None:
        training = build_parser().parse_args(command)
        training.run(training)
    evaluate_training(cell.evaluation)
    return 0
