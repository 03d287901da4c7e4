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
    """Do what is left to do for the cell, claimed from the beginning to the end.

    The folder of another program's training is only read: there the evaluation is what is claimed.
    """
    from umamba.cli.main import build_parser
    from umamba.comparison.runs.cells import evaluate_training, read_cell, training_command
    from umamba.executors.attempts import note_start
    from umamba.system.fencing import claiming
    from umamba.system.run_lock import only_training

    cell = read_cell(args.file)
    todo = cell.evaluation
    claim = claiming(todo.cache.with_suffix(".claim"))
    with claim if cell.trained is None else only_training(todo.folder):
        command, progress = training_command(cell)
        note_start(args.file.with_suffix(".starts"), progress)
        if command is not None:
            training = build_parser().parse_args(command)
            training.run(training)
        evaluate_training(todo)
    return 0
