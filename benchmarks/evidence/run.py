"""Run the comparisons of the evidence, one after another; what is finished is not repeated."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from benchmarks.evidence.sets import ALL, UMAMBA


def main() -> None:
    """Run the commands of each, in the current folder; stop where one does not end well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(ALL)} (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in ALL]:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(ALL)}")
    for name in args.names or ALL:
        for command in ALL[name].commands(name):
            sys.stdout.write(f"{shlex.join(command)}\n")
            sys.stdout.flush()
            if not args.dry_run and (code := _call([sys.executable, *UMAMBA, *command[1:]])):
                sys.exit(code)


def _call(command: Sequence[str]) -> int:
    """Run a command to its end, and return its exit code; Ctrl-C reaches it, too, and it saves."""
    with subprocess.Popen(command) as process:
        while True:
            with suppress(KeyboardInterrupt):
                return process.wait()


if __name__ == "__main__":
    main()
