"""The options of every command whose jobs a cluster may run without it."""

import argparse

__all__ = ["add_management"]

_MANAGED = {
    "print-jobs": "print the scripts that would be submitted to Slurm, and submit nothing",
    "detach": "submit the jobs to Slurm, and wait for none",
    "status": "show how far the work is; of jobs on a cluster, from any of its machines",
    "cancel": "cancel the jobs of this command, and no others",
}


def add_management(parser: argparse.ArgumentParser) -> None:
    """Add the options that look after jobs; `managed` is the name of the one that was given."""
    managing = parser.add_mutually_exclusive_group()
    for what, text in _MANAGED.items():
        managing.add_argument(
            f"--{what}", dest="managed", action="store_const", const=what, help=text
        )
