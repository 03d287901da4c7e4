"""`umamba models`: every model, where it comes from, what it is for, and what it costs."""

import argparse
import sys

from umamba import registry
from umamba.cli.arguments import add_patch_arguments, add_trust_argument, model_names
from umamba.cli.output import print_json
from umamba.nnunet.paths import Paths, add_path_arguments

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
List the models, with paper, purpose, parameters, multiply-adds and the memory that training keeps
for the backward, on a data set's plans or, without one, on typical plans. Nothing is computed or
written, unless --time asks for training steps.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba models`."""
    parser = subparsers.add_parser(
        "models",
        help="list the models, their papers, and what they cost on a plan",
        description=_DESCRIPTION,
        epilog="example: umamba models Dataset004_Hippocampus --configurations 3d_fullres --time",
    )
    parser.add_argument(
        "dataset",
        nargs="?",
        help="DatasetXXX_Name, or its number (default: plans for large isotropic images)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        default="nnUNetPlans",
        metavar="PLANS",
        help="the data set's plans to derive from (default: nnUNetPlans)",
    )
    parser.add_argument(
        "--configurations", nargs="+", metavar="C", help="default: all that the plans have"
    )
    parser.add_argument(
        "--models",
        type=model_names,
        metavar="NAME,...",
        help="some of the models, separated by commas (default: all)",
    )
    add_patch_arguments(parser)
    parser.add_argument(
        "--time",
        action="store_true",
        help="measure time and peak memory of training steps, too: on a CPU minutes per model",
    )
    parser.add_argument(
        "-device",
        "--device",
        choices=("cpu", "cuda"),
        help="for --time; default: cuda where there is one",
    )
    add_trust_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_path_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Profile, and print."""
    from umamba.benchmark.models import ModelsRequest, profile_models
    from umamba.nnunet.example_plans import EXAMPLE_DATASET, EXAMPLE_TITLE, example_plans
    from umamba.nnunet.json_files import load_json
    from umamba.nnunet.preparation import find_dataset
    from umamba.nnunet.trust import read_trusted_plans

    if args.dataset is None:
        source, dataset_json, title = example_plans(), EXAMPLE_DATASET, EXAMPLE_TITLE
    else:
        paths = Paths.from_arguments(args)
        dataset = find_dataset(args.dataset, paths)
        folder = paths.require("preprocessed") / dataset
        source = read_trusted_plans(folder, args.source, trusted=args.trust_plans)
        dataset_json, title = load_json(folder / "dataset.json"), f"{args.source} of {dataset}"
    tables = profile_models(
        ModelsRequest(
            models=[registry.find_architecture(name) for name in args.models or registry.names()],
            source=source,
            dataset_json=dataset_json,
            title=title,
            configurations=args.configurations,
            patch_size=args.patch_size,
            batch_size=args.batch_size,
            times_steps=args.time,
            device=args.device,
        )
    )
    if args.json:
        print_json(tables.to_dict())
    else:
        sys.stdout.write(tables.to_markdown())
    return 0
