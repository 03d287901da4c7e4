"""`umamba doctor`: what runs on this machine, what does not, and what would mend it."""

import argparse
import json
import sys

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="show what runs on this machine, and what would mend what does not",
        description=(
            "Show which backend of the selective scan runs on which device, why a faster one does "
            "not, and the command that mends it. Exit code 1 if the backend that "
            "UMAMBA_SCAN_BACKEND asks for cannot run."
        ),
        epilog="example: umamba doctor --json",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look at everything, and print."""
    from dataclasses import asdict

    from umamba.doctor.sections import examine

    sections = examine()
    if args.json:
        content = {"sections": [asdict(section) for section in sections]}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(section.to_text() for section in sections))
    return 1 if any(section.problems for section in sections) else 0
