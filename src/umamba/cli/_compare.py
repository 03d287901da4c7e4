"""`umamba compare`: train models alike on one data set, and show how they differ."""

import argparse
import sys
from typing import TYPE_CHECKING

from umamba.cli.management import add_management
from umamba.cli.output import print_json
from umamba.comparison.runs.requests import CompareRequest
from umamba.options import add_options, from_namespace
from umamba.system.interruption import run_again

if TYPE_CHECKING:
    from umamba.comparison.runs.state import Comparison

__all__ = ["add_parser", "run"]

_GIB = 2**30


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba compare`."""
    parser = subparsers.add_parser(
        "compare",
        help="train models under the same conditions and compare them",
        description=(
            "Train every model on every fold from every seed, with the same fingerprint, "
            "preprocessing, splits and budget; evaluate the validation cases; and compare the "
            "models. Run the same command again to continue after a stop or to add models, folds "
            "and seeds: finished work is not repeated."
        ),
        epilog=(
            "example: umamba compare 4 --models nnunet,umamba_bot --folds 0-4 --seeds 3 "
            "--budget epochs:100"
        ),
    )
    add_options(parser, CompareRequest)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show what would be trained, with estimated time and memory, without training",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="with --dry-run: measure what each model costs, which takes minutes; otherwise costs "
        "that no earlier call has measured are estimated",
    )
    add_management(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run, go_on=run_again("continue"))


def run(args: argparse.Namespace) -> int:
    """Compare, and print where the results are."""
    from umamba.api import run_comparison
    from umamba.job_control import manage_comparison, open_comparison

    request = from_namespace(CompareRequest, args)
    if args.managed is not None:
        sys.stdout.write(manage_comparison(request, args.managed))
        return 0
    if args.dry_run:
        with open_comparison(request, measured=args.measure) as (comparison, n_workers):
            _show_plan(comparison, n_workers, as_json=args.json)
        return 0
    result = run_comparison(request)
    if args.json:
        from umamba.comparison.results import to_plain

        found = {"trainings": to_plain(result.trainings), "verdicts": dict(result.verdicts)}
        print_json({"output": str(result.output), **found})
    else:
        files = [str(result.output / name) for name in ("summary.md", "report.html")]
        lines = [*result.verdicts.values(), *files]
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if result.failed else 0


def _show_plan(comparison: "Comparison", n_workers: int, *, as_json: bool) -> None:
    from umamba.comparison.runs.estimates import estimate_models, estimate_trainings
    from umamba.comparison.runs.progress import format_hours

    models = estimate_models(comparison)
    known = [model["hours_left"] for model in models if model["hours_left"] is not None]
    hours = sum(known) / n_workers if known else None
    if as_json:
        rows = estimate_trainings(comparison)
        print_json({"trainings": rows, "models": models, "workers": n_workers, "hours": hours})
        return
    width = max(len(model["model"]) for model in models)
    sys.stdout.write(
        f"{'model':<{width}}{'trainings':>11}{'done':>6}{'failed':>8}{'epochs':>8}"
        f"{'memory GiB':>12}{'to do':>10}\n"
    )
    for model in models:
        statuses, note = model["statuses"], model["note"]
        sys.stdout.write(
            f"{model['model']:<{width}}{model['trainings']:>11}{statuses.get('done', 0):>6}"
            f"{statuses.get('failed', 0):>8}{model['epochs'] or '?':>8}"
            f"{model['memory_bytes'] / _GIB:>12.2f}{format_hours(model['hours_left']):>10}"
            f"{f'  {note}' if note else ''}\n"
        )
    n_trainings = sum(model["trainings"] for model in models)
    duration = "how long they take is unknown"
    if hours is not None:
        some = "" if len(known) == len(models) else ", not counting some whose time is unknown"
        duration = f"about {format_hours(hours)} with {n_workers} at a time{some}"
        predicts = sum(model["prediction_hours"] or 0.0 for model in models) / n_workers
        if predicts:
            duration += f"; {format_hours(predicts)} of it to predict whole cases"
        elif hours:
            duration += "; predicting whole cases takes extra time"
    sys.stdout.write(f"{n_trainings} trainings: {duration}\n")
    if any(model["note"] for model in models):
        sys.stdout.write("add --measure to measure the times, which takes minutes\n")
