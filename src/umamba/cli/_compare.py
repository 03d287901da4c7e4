"""`umamba compare`: models trained alike on one data set, and what they differ in."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umamba.cli._evaluate import add_metric_arguments, metric_settings
from umamba.cli.arguments import (
    add_device_argument,
    add_patch_arguments,
    add_trust_argument,
    model_names,
    numbers,
    positive,
    positive_points,
)
from umamba.cli.output import print_json
from umamba.comparison.budget import Budget
from umamba.nnunet.paths import Paths, add_path_arguments, set_default_workers
from umamba.numerals import whole_number

if TYPE_CHECKING:
    from umamba.comparison.analysis_settings import AnalysisSettings
    from umamba.comparison.state import Comparison

__all__ = ["add_parser", "run"]

_GIB = 2**30
_MOST_FOLDS = 10_000


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba compare`."""
    parser = subparsers.add_parser(
        "compare",
        help="train models alike, several times, and compare them",
        description=(
            "Train every model on every fold from every seed, with the same fingerprint, "
            "preprocessing, splits and budget; evaluate the validation cases; compare. Start it "
            "again to go on: what is finished is not done again, and models, folds and seeds can "
            "be added."
        ),
        epilog=(
            "example: umamba compare 4 --models nnunet,umamba_bot --folds 0-4 --seeds 3 "
            "--budget epochs:100"
        ),
    )
    parser.add_argument("dataset", help="DatasetXXX_Name, or its number")
    parser.add_argument(
        "--models",
        required=True,
        type=model_names,
        metavar="NAME,...",
        help="models, separated by commas, such as nnunet,unetpp,umamba_bot; `umamba models` lists "
        "all",
    )
    parser.add_argument(
        "--folds",
        type=_folds,
        default=_folds("0-4"),
        metavar="0-4",
        help="folds of the cross-validation, such as 0-4 or 0,2 (default: 0-4)",
    )
    parser.add_argument(
        "--seeds", type=positive, default=3, metavar="N", help="how many, from 0 on (default: 3)"
    )
    parser.add_argument(
        "--budget",
        required=True,
        type=_budget,
        metavar="KIND:N",
        help="what each training may use: epochs:N, iterations:N or hours:N",
    )
    parser.add_argument(
        "--baseline", metavar="NAME", help="default: nnunet if it is compared, else the first"
    )
    parser.add_argument(
        "--no-controls",
        action="store_true",
        help="leave out the controls that models of U-Mamba bring along: without Mamba, and "
        "without it at the same size (without Mamba, bot and enc are one network: once)",
    )
    parser.add_argument(
        "--configuration", metavar="C", help="default: 3d_fullres where there is one, else 2d"
    )
    parser.add_argument(
        "--from",
        dest="source",
        default="nnUNetPlans",
        metavar="PLANS",
        help="plans to derive from (default: nnUNetPlans)",
    )
    parser.add_argument(
        "--features",
        type=numbers,
        metavar="8,16,...",
        help="channels per stage, of every model (default: the source plans')",
    )
    add_patch_arguments(parser)
    add_metric_arguments(parser)
    _add_statistics_arguments(parser)
    add_device_argument(parser)
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="trainings at a time (default: one per GPU; on a CPU one)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of the results (default: umamba-compare/DATASET)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show what there is to train, with estimated time and memory, and train nothing",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="with --dry-run: measure what models cost, which takes minutes; without, only what "
        "an earlier call has measured is known, and the rest is estimated",
    )
    add_trust_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_path_arguments(parser)
    parser.set_defaults(run=run, go_on="the same command goes on")


def _add_statistics_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "statistics", "of this call: given again with others, they are computed anew"
    )
    group.add_argument(
        "--empty",
        choices=("undefined", "one", "zero"),
        default="undefined",
        help="what Dice, IoU and NSD are where reference and prediction are empty: undefined and "
        "left out, as nnU-Net has it, one, as BraTS has it, or zero; false alarms are compared in "
        "any case (default: undefined)",
    )
    group.add_argument(
        "--margin",
        type=positive_points,
        metavar="POINTS",
        help="the smallest difference in Dice points that matters, such as 1.0: verdicts say "
        "whether a model is equivalent, not inferior or superior by it, or what would settle it "
        "(default: none)",
    )
    group.add_argument(
        "--clusters",
        type=Path,
        metavar="FILE.csv",
        help="columns case,cluster: which cases belong together, such as slices of a patient "
        "(default: none do)",
    )
    group.add_argument(
        "--groups",
        type=Path,
        metavar="FILE.csv",
        help="columns case,group: subgroups, such as scanners, to look at one by one "
        "(default: none)",
    )


def _analysis(args: argparse.Namespace) -> "AnalysisSettings":
    from umamba.comparison.analysis_settings import AnalysisSettings, read_case_table

    clusters = {} if args.clusters is None else read_case_table(args.clusters, "cluster")
    groups = {} if args.groups is None else read_case_table(args.groups, "group")
    return AnalysisSettings(args.empty, args.margin, clusters, groups)


def _folds(text: str) -> tuple[int, ...]:
    folds: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = whole_number(first), whole_number(last if dash else first)
        if begin is None or end is None or end >= _MOST_FOLDS:
            msg = f"{text!r} are no folds such as 0-4 or 0,2"
            raise argparse.ArgumentTypeError(msg)
        folds |= set(range(begin, end + 1))
    if not folds:
        msg = f"{text!r} are no folds such as 0-4 or 0,2"
        raise argparse.ArgumentTypeError(msg)
    return tuple(sorted(folds))


def _budget(text: str) -> Budget:
    try:
        return Budget.parse(text)
    except ValueError:
        msg = f"{text!r} is none of epochs:100, iterations:25000, hours:1.5"
        raise argparse.ArgumentTypeError(msg) from None


def run(args: argparse.Namespace) -> int:
    """Compare, and print where the results are."""
    paths = Paths.from_arguments(args)
    import torch

    from umamba.comparison.collecting import Collector
    from umamba.comparison.controls import with_controls
    from umamba.comparison.engine import run_comparison
    from umamba.comparison.executor import LocalExecutor, local_workers
    from umamba.comparison.opening import comparing, open_comparison
    from umamba.comparison.planning import ComparisonRequest
    from umamba.comparison.progress import ComparisonProgress
    from umamba.evaluation.settings import EvaluationSettings
    from umamba.nnunet.preparation import find_dataset
    from umamba.nnunet.training import pick_device

    device = pick_device(args.device)
    set_default_workers("cuda")  # for preprocessing; trainings on a CPU count their own cores
    workers = local_workers(device, args.workers, torch.cuda.device_count())
    dataset = find_dataset(args.dataset, paths)
    request = ComparisonRequest(
        dataset=dataset,
        models=args.models if args.no_controls else with_controls(args.models),
        folds=args.folds,
        seeds=tuple(range(args.seeds)),
        budget=args.budget,
        output=(args.output or Path("umamba-compare") / dataset).expanduser().resolve(),
        baseline=args.baseline,
        configuration=args.configuration,
        source=args.source,
        features=args.features,
        patch_size=args.patch_size,
        batch_size=args.batch_size,
        device=device,
        evaluation=EvaluationSettings(**metric_settings(args)),
        analysis=_analysis(args),
        trust_plans=args.trust_plans,
    )
    n_threads = workers[0].n_threads
    if args.dry_run:
        comparison = open_comparison(request, paths, n_threads, dry=True, measured=args.measure)
        _show_plan(comparison, len(workers), as_json=args.json)
        return 0
    with comparing(request.output):
        comparison = open_comparison(request, paths, n_threads, dry=False)
        progress = ComparisonProgress()
        collector = Collector(1 if device == "cpu" else len(workers))
        try:
            results = run_comparison(comparison, LocalExecutor(workers), progress.update, collector)
        finally:
            progress.close()
    _show_results(results, request.output, as_json=args.json)
    return 1 if any(cell["status"] == "failed" for cell in results["cells"]) else 0


def _show_plan(comparison: "Comparison", n_workers: int, *, as_json: bool) -> None:
    from umamba.comparison.estimates import estimate_cells, estimate_models
    from umamba.comparison.progress import format_hours

    models = estimate_models(comparison)
    known = [model["hours_left"] for model in models if model["hours_left"] is not None]
    hours = sum(known) / n_workers if known else None
    if as_json:
        cells = estimate_cells(comparison)
        print_json({"cells": cells, "models": models, "workers": n_workers, "hours": hours})
        return
    width = max(len(model["model"]) for model in models)
    sys.stdout.write(
        f"{'model':<{width}}{'cells':>7}{'done':>6}{'failed':>8}{'epochs':>8}{'memory GiB':>12}"
        f"{'to do':>10}\n"
    )
    for model in models:
        statuses, note = model["statuses"], model["note"]
        sys.stdout.write(
            f"{model['model']:<{width}}{model['cells']:>7}{statuses.get('done', 0):>6}"
            f"{statuses.get('failed', 0):>8}{model['epochs'] or '?':>8}"
            f"{model['memory_bytes'] / _GIB:>12.2f}{format_hours(model['hours_left']):>10}"
            f"{f'  {note}' if note else ''}\n"
        )
    n_cells = sum(model["cells"] for model in models)
    duration = "how long they take is not known"
    if hours is not None:
        some = "" if len(known) == len(models) else ", and the time of some is not known"
        duration = f"about {format_hours(hours)} with {n_workers} at a time{some}"
    sys.stdout.write(
        f"{n_cells} cells, a training each: {duration}; validation of whole cases comes on top\n"
    )
    if any(model["note"] for model in models):
        sys.stdout.write("--measure measures the times, which takes minutes\n")


def _show_results(results: dict[str, Any], output: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "output": str(output),
                "cells": results["cells"],
                "verdicts": results["verdicts"],
            }
        )
        return
    for sentence in results["verdicts"].values():
        sys.stdout.write(sentence + "\n")
    sys.stdout.write(f"{output / 'summary.md'}\n")
