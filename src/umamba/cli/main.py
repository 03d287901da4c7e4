"""Entry point of the `umamba` command: parse, dispatch, and turn errors into exit codes."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from umamba import __version__
from umamba.cli.failures import (
    EXIT_BROKEN_PIPE,
    close_broken_output,
    exit_code,
    explain,
    log_to_stderr,
    tell,
)
from umamba.cli.parser import CommandParser
from umamba.errors import ResumableInterruptError, SupersededError, UMambaError
from umamba.system.environment import set_up_torch
from umamba.system.interruption import StopRequest, resumable
from umamba.system.processes import become_pool_worker
from umamba.system.terminal import filter_streams, filtered_streams

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
    "_rank",
    "_report",
    "_export",
    "_install",
    "_demo",
    "_benchmark",
    "_doctor",
)


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Build the parser for subcommands, without importing torch.

    Args:
        commands: Names of their modules.
    """
    parser = CommandParser(
        prog="umamba",
        description="U-Mamba for unmodified nnU-Net v2: from raw images to segmentations.",
        epilog="`umamba COMMAND --help` shows the options of a command, and an example.",
    )
    parser.set_defaults(go_on=None)  # a command that can be taken up says how
    parser.add_argument("--version", action="version", version=f"umamba {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in commands:
        import_module(f"umamba.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None, *, commands: Sequence[str] = COMMANDS) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; `None` takes those of the process.
        commands: Names of the modules of the commands that there are.

    Returns:
        0 done, 1 some cases failed, 2 the user's input is at fault, 75 interrupted and resumable,
        76 another process has taken over, 130 interrupted with nothing to resume, 141 nobody reads
        the output; SIGINT, SIGTERM, SIGHUP and SIGUSR1 interrupt.
    """
    with filtered_streams():
        return _run(argv, commands)


def _run(argv: Sequence[str] | None, commands: Sequence[str]) -> int:
    """Run one command, and explain any failure in one line."""
    command = ""
    try:
        args = build_parser(commands).parse_args(argv)
        command = args.command
        log_to_stderr()
        set_up_torch()
        stop = StopRequest(ends_process=True, until_exit=argv is None)
        with stop.listening(), resumable(lambda: args.go_on):
            code: int = args.run(args)
        sys.stdout.flush()
    except (UMambaError, SupersededError) as error:
        tell(command, str(error))
        code = exit_code(error)
    except ResumableInterruptError as interrupt:
        sys.stderr.write(f"\numamba {command}: {interrupt}\n")
        code = exit_code(interrupt)
    except KeyboardInterrupt as interrupt:
        by = f" by {interrupt}" if str(interrupt) else ""
        sys.stderr.write(f"\numamba {command}: interrupted{by}\n")
        code = exit_code(interrupt)
    except SystemExit:
        close_broken_output()
        raise
    except Exception as error:  # noqa: BLE001 - explains what nothing else has
        if isinstance(error, BrokenPipeError) and close_broken_output():
            return EXIT_BROKEN_PIPE
        tell(command, explain(error))
        code = exit_code(error)
    close_broken_output()
    return code


# A worker of nnU-Net's pools, all of which are spawned, imports the program of its parent first,
# under that name; in the parent itself it is a second name of `__main__`.
if getattr(sys.modules.get("__mp_main__"), "__name__", "") == "__mp_main__":
    become_pool_worker()
    filter_streams()

if __name__ == "__main__":
    sys.exit(main())
