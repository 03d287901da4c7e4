"""Entry point of the `umamba` command: parses, dispatches, and turns errors into exit codes."""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from umamba import __version__
from umamba.cli.parser import CommandParser
from umamba.errors import ResumableInterruptError, UMambaError
from umamba.nnunet.interruption import EXIT_INTERRUPTED, StopRequest, resumable
from umamba.nnunet.paths import share_cores
from umamba.nnunet.workers import become_pool_worker

__all__ = ["build_parser", "main"]

# In the order in which a user needs them; each module has `add_parser(subparsers)`.
COMMANDS = (
    "_dataset",
    "_check",
    "_models",
    "_plan",
    "_train",
    "_predict",
    "_evaluate",
    "_compare",
    "_export",
    "_install",
    "_demo",
    "_benchmark",
    "_doctor",
)

EXIT_USER_ERROR = 2


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all subcommands, without importing torch."""
    parser = CommandParser(
        prog="umamba",
        description="U-Mamba for unmodified nnU-Net v2: from raw images to segmentations.",
        epilog="`umamba COMMAND --help` shows the options of a command, and an example.",
    )
    parser.set_defaults(go_on=None)  # a command that can be taken up says how
    parser.add_argument("--version", action="version", version=f"umamba {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f"umamba.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; `None` takes those of the process.

    Returns:
        0 done, 1 some cases failed, 2 the user's input is at fault, 75 interrupted and resumable,
        130 interrupted with nothing to resume; SIGINT, SIGTERM, SIGHUP and SIGUSR1 interrupt.
    """
    args = build_parser().parse_args(argv)
    _log_to_stderr()
    share_cores()
    try:
        with StopRequest(ends_process=True).listening(), resumable(lambda: args.go_on):
            code: int = args.run(args)
    except UMambaError as error:
        sys.stderr.write(f"umamba {args.command}: {error}\n")
        return EXIT_USER_ERROR
    except ResumableInterruptError as interrupt:
        sys.stderr.write(f"\numamba {args.command}: {interrupt}\n")
        return interrupt.EXIT_CODE
    except KeyboardInterrupt as interrupt:
        by = f" by {interrupt}" if str(interrupt) else ""
        sys.stderr.write(f"\numamba {args.command}: interrupted{by}\n")
        return EXIT_INTERRUPTED
    return code


def _log_to_stderr() -> None:
    """Show our own messages, and nobody else's."""
    log = logging.getLogger("umamba")
    if not log.handlers:
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.INFO)


# A worker of nnU-Net's pools, all of which are spawned, imports the program of its parent first.
if "__mp_main__" in sys.modules:
    become_pool_worker()

if __name__ == "__main__":
    sys.exit(main())
