"""`umamba train-rank`, for `umamba train -num_gpus` only: one of the processes of a training."""

import argparse
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from umamba.cli.failures import exit_code, explain
from umamba.errors import UMambaError

if TYPE_CHECKING:
    from umamba.nnunet.training.ranks import Rank

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("train-rank")
    parser.add_argument("number", type=int)
    parser.add_argument("size", type=int)
    parser.add_argument("folder", type=Path)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train with the other processes."""
    from umamba.nnunet.training.folds import train_with_others
    from umamba.nnunet.training.ranks import Rank

    rank = Rank(args.number, args.size, args.folder)
    with _Telling(rank) as telling:
        train_with_others(rank)
    return telling.code


class _Telling:
    """Leaves the message of an error to the process that began this one, and keeps the code."""

    def __init__(self, rank: "Rank") -> None:
        self.code = 0
        self._rank = rank

    def __enter__(self) -> "_Telling":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        if error is None:
            return False
        self.code, message = _outcome(error)
        self._rank.told.write_text(message, encoding="utf-8")
        return True


def _outcome(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the message of an error."""
    from umamba.nnunet.training.ranks import EXIT_LOST, is_loss

    if is_loss(error):
        return EXIT_LOST, str(error)
    if isinstance(error, Exception) and not isinstance(error, UMambaError):
        return exit_code(error), explain(error)
    return exit_code(error), str(error)
