"""`umamba plan`: derive plans that name one of our networks from nnU-Net's plans."""

import argparse
import sys
from typing import TYPE_CHECKING

from umamba import registry
from umamba.cli.output import print_line
from umamba.nnunet.requests import PlanRequest
from umamba.options import add_options, from_namespace
from umamba.recipes import RECIPES
from umamba.system.interruption import run_again

if TYPE_CHECKING:
    from umamba.results import PlanResult

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba plan`."""
    parser = subparsers.add_parser(
        "plan",
        help="derive plans for a network from nnU-Net's plans",
        description=(
            "Derive plans for a network from existing nnU-Net plans. If there are none yet, "
            "nnU-Net's fingerprint extraction and planning run first. Preprocessed data are used "
            "as they are."
        ),
        epilog="example: umamba plan Dataset004_Hippocampus --model umamba_bot",
    )
    add_options(parser, PlanRequest)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run, go_on=run_again("plan"))


def run(args: argparse.Namespace) -> int:
    """Derive and write the plans, and print the commands to run next."""
    from umamba.api import run_planning

    result = run_planning(from_namespace(PlanRequest, args))
    if args.json:
        print_line(
            {
                "plans_name": result.plans_name,
                "path": str(result.path),
                "configurations": {name: row.to_dict() for name, row in result.memory.items()},
            }
        )
    else:
        sys.stdout.write(_as_text(result))
    return 0


def _as_text(
    result: "PlanResult",
) -> str:
    from umamba.nnunet.planning import preferred_configuration
    from umamba.nnunet.plans.memory import memory_table
    from umamba.nnunet.training.folds import pick_device

    architecture = registry.find_architecture(result.model)

    device = pick_device(None)
    on = " -tr nnUNetTrainerUMamba" if _needs_our_loss(architecture) else ""
    on += "" if device == "cuda" else f" -device {device}"
    name = result.plans_name
    recipe = RECIPES[architecture.recipe]
    by = "" if recipe.name == "nnunet" else f" --recipe {recipe.name}"
    of = "" if recipe.name == "nnunet" else f" -tr {recipe.trainer}"
    configuration = preferred_configuration(result.configurations)
    number = int(result.dataset[7:10])
    whose = "nnU-Net's own plans:" if registry.find_planner(name) else "wrote"
    return f"""{whose} {result.path}

{memory_table(result.memory)}
Train and predict with our commands:
  umamba train {number} {configuration} 0 -p {name}{by}
  umamba predict -d {number} -c {configuration} -p {name} -f 0 -i IMAGES -o OUTPUT{of}
or with stock nnU-Net (which predicts a model of `umamba train` with -tr {recipe.trainer}):
  nnUNetv2_train {number} {configuration} 0 -p {name}{on}
  nnUNetv2_predict -d {number} -c {configuration} -p {name} -f 0 -i IMAGES -o OUTPUT{on}
{_variable(architecture)}"""


def _needs_our_loss(architecture: registry.Architecture) -> bool:
    return bool(architecture.keywords.get("nested_supervision"))


def _variable(architecture: registry.Architecture) -> str:
    """Return the line that lets stock nnU-Net find our trainers, with its reason; or nothing."""
    from umamba.nnunet.training.folds import ext_trainer_folder

    if _needs_our_loss(architecture):
        why = (
            "Stock nnU-Net's trainer has no loss for this network. For ours, run this line before "
            "training:"
        )
    elif architecture.has_authors_trainers:
        why = (
            "To use the authors' commands (-tr nnUNetTrainerUMambaBot, ...Enc, ...EncNoAMP), run "
            "this line before\ntraining, and before predicting with such a model:"
        )
    else:
        return ""
    return f'\n{why}\n  export nnUNet_extTrainer="{ext_trainer_folder()}"\n'
