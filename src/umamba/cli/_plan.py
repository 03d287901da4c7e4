"""`umamba plan`: plans that name one of our networks, from nnU-Net's plans."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umamba import registry
from umamba.cli.arguments import add_patch_arguments, add_trust_argument, model_name, numbers
from umamba.nnunet.paths import Paths, add_path_arguments, set_default_workers

if TYPE_CHECKING:
    from umamba.nnunet.memory import MemoryComparison
    from umamba.nnunet.plans import PlanOptions

__all__ = ["add_parser", "run"]

_EPOCHS, _ITERATIONS = 1000, 250  # nnU-Net's defaults


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba plan`."""
    parser = subparsers.add_parser(
        "plan",
        help="derive plans for a network from nnU-Net's plans",
        description=(
            "Derive plans for a network from existing nnU-Net plans; where there are none yet, "
            "nnU-Net's fingerprint and planning run first. Preprocessed data are used as they are."
        ),
        epilog="example: umamba plan Dataset004_Hippocampus --model umamba_bot",
    )
    parser.add_argument("dataset", help="DatasetXXX_Name, or its number")
    parser.add_argument(
        "--model",
        required=True,
        type=model_name,
        metavar="NAME",
        help="name of the network, such as umamba_bot, unetpp or nnunet; `umamba models` lists all",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="PLANS",
        help=(
            "plans to derive from (default: nnUNetPlans; for nnU-Net's own networks, which need "
            "no derived plans without further options, those of nnU-Net's planner)"
        ),
    )
    parser.add_argument(
        "--plans-name",
        metavar="P",
        help="name of the new plans (default: the model's, such as nnUNetUMambaBotPlans)",
    )
    parser.add_argument(
        "--variant",
        choices=("paper", "official"),
        help="paper: the network of the paper; official: the authors' code (U-Mamba only; default: "
        "as the model's name says)",
    )
    parser.add_argument(
        "--mixer",
        choices=("mamba", "none", "attention", "lti"),
        help="what stands where U-Mamba has Mamba (default: as the model's name says); with "
        "--variant and --scan another way to name a model",
    )
    parser.add_argument(
        "--scan",
        choices=("forward", "bidirectional", "axes"),
        help="in which orders Mamba sees the voxels (default: as the model's name says)",
    )
    parser.add_argument(
        "--features",
        type=numbers,
        metavar="8,16,...",
        help="channels per stage, the last for further stages, too (default: the source plans'); "
        "fewer need less memory and time",
    )
    add_patch_arguments(parser)
    parser.add_argument(
        "--activation-checkpointing",
        choices=("none", "mamba", "blocks"),
        help="what training computes again instead of keeping it: less memory, more time "
        "(default: none)",
    )
    parser.add_argument(
        "--configurations",
        nargs="+",
        metavar="C",
        help=(
            "configurations that features, patch and batch size are for (default: all); the "
            "others stay as plans of ours that have the same name have them"
        ),
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace plans of ours that have the same name"
    )
    add_trust_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_path_arguments(parser)
    parser.set_defaults(run=run, go_on="the same command plans again")


def run(args: argparse.Namespace) -> int:
    """Derive, write, and print what to run next."""
    paths = Paths.from_arguments(args)
    set_default_workers("cpu")
    from umamba.nnunet.attention_cost import check_attention
    from umamba.nnunet.json_files import load_json
    from umamba.nnunet.memory import compare_memory
    from umamba.nnunet.plans import PlanOptions, derive_plans
    from umamba.nnunet.plans_files import keep_others, write_plans
    from umamba.nnunet.preparation import ensure_plans, find_dataset
    from umamba.nnunet.trust import check_plans, read_trusted_plans

    architecture = registry.with_keywords(
        registry.find_architecture(args.model),
        variant=args.variant,
        mixer=args.mixer,
        scan=args.scan,
    )
    dataset = find_dataset(args.dataset, paths)
    folder = paths.require("preprocessed") / dataset
    own_plans = architecture.plans_name if architecture.planner else None
    source_name = args.source or own_plans or "nnUNetPlans"
    ensure_plans(dataset, source_name, paths)
    source = read_trusted_plans(folder, source_name, trusted=args.trust_plans)
    options = PlanOptions(
        plans_name=args.plans_name,
        features=args.features,
        patch_size=args.patch_size,
        batch_size=args.batch_size,
        activation_checkpointing=args.activation_checkpointing,
        configurations=None if args.configurations is None else tuple(args.configurations),
    )
    dataset_json = load_json(folder / "dataset.json")
    plans = source
    if source_name != own_plans or options != PlanOptions():
        plans = derive_plans(source, architecture, options, dataset_json)
    if options.configurations is not None:
        plans = keep_others(folder, plans, options.configurations)
        check_plans(plans, folder / f"{plans['plans_name']}.json", trusted=args.trust_plans)
    memory = compare_memory(source, plans, dataset_json)
    names = options.configurations or tuple(memory)
    warnings = check_attention(plans, dataset_json, memory, names)
    for warning in [*warnings, *_small_maps(plans, architecture, names)]:
        sys.stderr.write(f"warning: {warning}\n")
    path = write_plans(folder, plans, overwrite=args.overwrite)
    sys.stderr.write(_rounding_note(memory, architecture, options))
    sys.stderr.write(_duration_note(plans, dataset_json, _configuration_to_train(names)))
    if args.json:
        sys.stdout.write(json.dumps(_as_json(path, plans, memory)) + "\n")
    else:
        sys.stdout.write(_as_text(path, dataset, plans, memory, architecture))
    return 0


def _small_maps(
    plans: dict[str, Any], architecture: registry.Architecture, names: Sequence[str]
) -> list[str]:
    """Say where a patch leaves too little in the deepest stage; the stages are the source's."""
    from umamba.nnunet.plans import resolve
    from umamba.patches import describe_small_map

    if not architecture.topology.follows_plan:
        return []
    warnings = []
    for name in names:
        configuration = resolve(plans, name)
        patch, keywords = configuration["patch_size"], configuration["architecture"]["arch_kwargs"]
        small = describe_small_map(patch, keywords["strides"])
        if small:
            mixer = keywords.get("mixer", "none")
            there = "" if mixer == "none" else f" ({mixer} mixes no more tokens than that there)"
            warnings.append(
                f"patch_size {patch} of {name} {small}{there}. Plan with a larger --patch-size, or "
                "have nnU-Net plan for less memory (nnUNetv2_plan_experiment -gpu_memory_target, "
                "which drops stages) and derive --from those plans"
            )
    return warnings


def _configuration_to_train(names: Sequence[str]) -> str:
    return "3d_fullres" if "3d_fullres" in names else names[0]


def _duration_note(plans: dict[str, Any], dataset_json: dict[str, Any], name: str) -> str:
    """Say how long a training takes on a CPU, where that is days; "" elsewhere."""
    from umamba.nnunet.pace import describe_days, estimate_seconds, remedy, with_validation
    from umamba.nnunet.planned_networks import build_network
    from umamba.nnunet.training import pick_device
    from umamba.profiling import profile_network

    if pick_device(None) != "cpu":
        return ""
    network = build_network(plans, dataset_json, name)
    batch = network[-1]
    step = estimate_seconds(profile_network(*network).multiply_adds * batch)
    days = describe_days(with_validation(step * _EPOCHS * _ITERATIONS))
    if not days:
        return ""
    return (
        f"note: on this CPU the default {_EPOCHS} epochs of {name} would take {days}, roughly, by "
        f"the network's multiply-adds; {remedy('cpu')}\n"
    )


def _rounding_note(
    memory: "dict[str, MemoryComparison]",
    architecture: registry.Architecture,
    options: "PlanOptions",
) -> str:
    """Say which patches were rounded up; "" where none was."""
    return "".join(
        f"note: patch_size of {name} is {row.patch_size} in place of {row.source_patch_size}, as "
        f"{architecture.name} needs multiples of {architecture.topology.patch_multiple}\n"
        for name, row in memory.items()
        if architecture.topology.patch_multiple
        and tuple(row.patch_size) not in (tuple(row.source_patch_size), options.patch_size)
    )


def _as_json(
    path: Path, plans: dict[str, Any], memory: "dict[str, MemoryComparison]"
) -> dict[str, Any]:
    return {
        "plans_name": plans["plans_name"],
        "path": str(path),
        "configurations": {name: comparison.to_dict() for name, comparison in memory.items()},
    }


def _as_text(
    path: Path,
    dataset: str,
    plans: dict[str, Any],
    memory: "dict[str, MemoryComparison]",
    architecture: registry.Architecture,
) -> str:
    from umamba.nnunet.memory import memory_table
    from umamba.nnunet.training import pick_device

    device = pick_device(None)
    on = " -tr nnUNetTrainerUMamba" if _needs_our_loss(architecture) else ""
    on += "" if device == "cuda" else f" -device {device}"
    name = plans["plans_name"]
    configuration = _configuration_to_train(tuple(memory))
    number = int(dataset[7:10])
    whose = "nnU-Net's own plans:" if registry.find_planner(name) else "wrote"
    return f"""{whose} {path}

{memory_table(memory)}
Train and predict with our commands:
  umamba train {number} {configuration} 0 -p {name}
  umamba predict -d {number} -c {configuration} -p {name} -f 0 -i IMAGES -o OUTPUT
or with stock nnU-Net (which predicts a model of `umamba train` with -tr nnUNetTrainerUMamba):
  nnUNetv2_train {number} {configuration} 0 -p {name}{on}
  nnUNetv2_predict -d {number} -c {configuration} -p {name} -f 0 -i IMAGES -o OUTPUT{on}
{_variable(architecture)}"""


def _needs_our_loss(architecture: registry.Architecture) -> bool:
    return bool(architecture.keywords.get("nested_supervision"))


def _variable(architecture: registry.Architecture) -> str:
    """Return the line that shows stock nnU-Net our trainers, and when it is needed; or nothing."""
    from umamba.nnunet.training import ext_trainer_folder

    if _needs_our_loss(architecture):
        why = (
            "Stock nnU-Net's trainer has no loss for this network; ours needs this line before "
            "training:"
        )
    elif architecture.has_authors_trainers:
        why = (
            "The authors' commands (-tr nnUNetTrainerUMambaBot, ...Enc, ...EncNoAMP) need this "
            "line before\ntraining, and before prediction with such a model, too:"
        )
    else:
        return ""
    return f'\n{why}\n  export nnUNet_extTrainer="{ext_trainer_folder()}"\n'
