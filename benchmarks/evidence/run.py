"""Run the comparisons of the evidence, one after another; what is finished is not repeated."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from benchmarks.evidence.sets import PATCHES, SETS, UMAMBA


def main() -> None:
    """Run the commands of each, in the current folder; stop where one does not end well."""
    known = SETS | PATCHES
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(known)} (default: all)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in known]:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(known)}")
    for name in args.names or known:
        for command in known[name].commands(name):
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
