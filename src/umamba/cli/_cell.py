"""`umamba cell`, for executors only: train, predict and evaluate one cell of a comparison."""

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
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
    from umamba.comparison.runs.cells import evaluate_training, read_cell, training_command
    from umamba.comparison.runs.external_tasks import predict_and_evaluate
    from umamba.executors.attempts import note_start
    from umamba.system.fencing import claiming
    from umamba.system.run_lock import only_process

    cell = read_cell(args.file)
    todo, external = cell.evaluation, cell.external
    claimed = todo or external
    claim = nullcontext() if claimed is None else claiming(claimed.cache.with_suffix(".claim"))
    with claim if cell.trained is None or todo is None else only_process(todo.folder):
        command, progress = training_command(cell)
        n_predicted = 0 if external is None else external.n_predicted
        note_start(args.file.with_suffix(".starts"), (*progress, n_predicted))
        if command is not None:
            _run_command(command)
        if todo is not None:
            evaluate_training(todo)
        if external is not None:
            predict_and_evaluate(external, _run_command)
    return 0


def _run_command(command: Sequence[str]) -> int:
    from umamba.cli.main import build_parser

    args = build_parser().parse_args(command)
    code: int = args.run(args)
    return code
