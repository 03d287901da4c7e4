"""`umamba doctor`: show what runs on this machine, what does not, and how to fix it."""

import argparse
import sys
from pathlib import Path

from umamba.cli.output import print_json
from umamba.nnunet.paths import Paths, add_path_arguments

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="show what runs on this machine, and how to fix what does not",
        description=(
            "Show versions; devices, the backend of the selective scan that runs on each, and why "
            "a faster one does not; whether torch.compile can run; whether nnunetv2 is the stock "
            "one; nnU-Net's folders; whether the networks in plans can be imported; and the limits "
            "for augmentation workers. Problems and warnings name the command that fixes them. "
            "The exit code is 1 if there are problems, which would make a training, or whatever "
            "was asked for, fail."
        ),
        epilog="example: umamba doctor --json",
    )
    parser.add_argument(
        "--slurm",
        type=Path,
        metavar="FILE.toml",
        help="examine a node of a Slurm cluster, by a short job that is submitted as the file says",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_path_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine everything, and print the report."""
    if args.slurm is not None:
        return _run_on_node(args)
    from dataclasses import asdict

    from umamba.doctor.report import examine

    sections = examine(Paths.from_arguments(args))
    if args.json:
        print_json({"sections": [asdict(section) for section in sections]})
    else:
        sys.stdout.write("\n".join(section.to_text() for section in sections))
    return 1 if any(section.problems for section in sections) else 0


def _run_on_node(args: argparse.Namespace) -> int:
    from umamba.executors.slurm.site import read_site
    from umamba.executors.slurm.trial import run_on_node

    command = ["doctor", *(["--json"] if args.json else [])]
    for name, folder in vars(Paths.from_arguments(args)).items():
        if folder is not None:
            command += [f"--{name}", str(folder)]
    code, said = run_on_node(read_site(args.slurm), command, Path.cwd())
    sys.stdout.write(said)
    return code
