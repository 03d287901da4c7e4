"""`umamba check`: find what is wrong with an nnU-Net raw data set before hours of training."""

import argparse
import sys

from umamba.cli.output import print_json, progress_bar
from umamba.errors import UMambaError
from umamba.nnunet.paths import Paths, add_path_arguments

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Read every file of an nnU-Net raw data set, and list each problem with its file and what to do:
missing, misnamed or unreadable files; grids that differ between image, channels and
mask; values that dataset.json does not name, and labels that occur in no mask; NaN and infinities;
constant images and empty masks; duplicate images, above all across training and validation or
test; mixed orientations; impossible voxel sizes; too few cases for the folds.

Nothing is changed. The folds are those of splits_final.json in the preprocessed folder or, if
there is no such file, those that nnU-Net will make.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba check`."""
    parser = subparsers.add_parser(
        "check",
        help="find what is wrong with a data set before training",
        description=_DESCRIPTION,
        epilog="example: umamba check 4 --json\n\nexit codes: 0 no errors, 2 errors",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", metavar="DATASET", help="DatasetXXX_Name, or its number")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_path_arguments(parser, "raw", "preprocessed")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the data set, and print what was found."""
    from umamba.nnunet.dataset_report import check_dataset

    try:
        report = check_dataset(args.dataset, Paths.from_arguments(args), progress_bar)
    except UMambaError as error:
        if args.json:
            print_json({"error": str(error), "problems": []})
        raise
    if args.json:
        print_json(report.to_dict())
    else:
        sys.stdout.write(report.to_text())
    return 2 if report.n_errors else 0
