"""`umamba benchmark`: measure what layers cost on this machine, and how far networks look."""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umamba.cli.output import print_json
from umamba.option_checks import positive
from umamba.options import add_options, from_namespace, parsed
from umamba.reach.requests import LongRangeRequest, ReceptiveFieldRequest
from umamba.system.interruption import run_again

if TYPE_CHECKING:
    from umamba.costs.results import ScalingResult
    from umamba.reach.field_results import ReceptiveFieldResult

__all__ = ["add_parser", "run_long_range", "run_receptive_field", "run_scaling"]

log = logging.getLogger(__name__)

_SCALING = """\
Measure time and peak memory of the forward and backward pass of one Mamba layer, of
self-attention (torch's scaled_dot_product_attention) and of a convolution, on longer and longer
sequences, and fit how they grow: with exponent 1, twice the length costs twice as much; with
exponent 2, four times as much. The table is printed; scaling.json, scaling.md, scaling.png and
scaling.svg in the output folder are replaced.
"""

_RECEPTIVE_FIELD = """\
Measure how far networks look: the gradient of the logits of the central voxel over the input,
averaged over patches, and the radius that holds 50, 90 and 99 per cent of it (Luo et al. 2016).
Networks of the registry are measured with the weights that training begins with, trained models
before and after training. The table is printed; receptive-field.json, .md, .png and .svg,
receptive-field-maps.png and receptive-field.npz, the maps, are replaced in the output folder.
"""

_LONG_RANGE = """\
Train small networks on synthetic pictures, in which the label of an object depends on a marker at
some distance from it and on nothing nearer, and show up to which distance each network finds it.
Markers have labels, too, which need no range: the control. The receptive fields before and after
training are measured. Nothing is downloaded. The table is printed. long-range.json, .md, .png and
.svg and long-range-maps.png in the output folder are replaced, and hold what this command names
only. Finished trainings are kept there, so that the same command continues after an interruption
(exit code 75), and one that names more models, seeds or axes trains only these.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba benchmark`."""
    parser = subparsers.add_parser(
        "benchmark",
        help="measure how cost grows with the image on this machine, and how far networks look",
        description="Measure what the layers cost on this machine, and how far networks look.",
        epilog="example: umamba benchmark scaling --budget 60",
    )
    kinds = parser.add_subparsers(
        dest="kind", metavar="WHAT", required=True, help="what to measure:"
    )
    scaling = kinds.add_parser(
        "scaling",
        help="cost of Mamba, self-attention and convolution against sequence length",
        description=_SCALING,
        epilog="example: umamba benchmark scaling --threads 2 --budget 120 --output scaling",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_scaling_arguments(scaling)
    scaling.set_defaults(run=run_scaling)
    _add_reach_parsers(kinds)


def _add_reach_parsers(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    field = kinds.add_parser(
        "receptive-field",
        help="how far networks look, by the gradient over their input",
        description=_RECEPTIVE_FIELD,
        epilog="example: umamba benchmark receptive-field nnunet umamba_bot --patch-size 64 64 64",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(field, ReceptiveFieldRequest)
    field.set_defaults(run=run_receptive_field)
    long_range = kinds.add_parser(
        "long-range",
        help="how far networks look, by training them on tasks that need it",
        description=_LONG_RANGE,
        epilog="example: umamba benchmark long-range nnunet nnunet:5 umamba_bot --dims 2 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(long_range, LongRangeRequest)
    long_range.set_defaults(run=run_long_range, go_on=run_again("train what is left"))
    for parser in (field, long_range):
        parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_scaling_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("umamba-scaling"),
        metavar="DIR",
        help="folder for table, data and plot (default: ./umamba-scaling)",
    )
    parser.add_argument(
        "--budget",
        type=parsed(positive),
        default=60,
        metavar="SECONDS",
        help="time to spend in total, a third on each layer (default: 60)",
    )
    parser.add_argument(
        "--lengths",
        type=parsed(positive),
        nargs="+",
        metavar="N",
        help="tokens (default: 1024, doubled up to 262144, which is 64 x 64 x 64 voxels)",
    )
    parser.add_argument(
        "--d-model",
        type=parsed(positive),
        default=64,
        metavar="N",
        help="width of the layers (default: 64)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is a GPU")
    parser.add_argument(
        "--threads", type=parsed(positive), metavar="N", help="default: as torch chooses"
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time summed over all threads, for busy machines (default: wall)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run_scaling(args: argparse.Namespace) -> int:
    """Measure the layers, and write, draw and print the results."""
    from umamba.costs.scaling import DEFAULT_LENGTHS, ScalingRequest, measure_scaling
    from umamba.system.path_names import check_writable

    output: Path = args.output.expanduser()
    check_writable(output, "--output")
    result = measure_scaling(
        ScalingRequest(
            lengths=args.lengths or DEFAULT_LENGTHS,
            d_model=args.d_model,
            device=args.device,
            threads=args.threads,
            budget_s=float(args.budget),
            clock=args.clock,
        )
    )
    _write(result, output)
    log.info("%s: scaling.json, scaling.md, scaling.png, scaling.svg", output)
    text = json.dumps(result.to_dict(), indent=2) + "\n" if args.json else result.to_markdown()
    sys.stdout.write(text)
    return 0


def _write(result: "ScalingResult", output: Path) -> None:
    from umamba.costs.drawing import draw_scaling
    from umamba.system.atomic_files import write_whole

    output.mkdir(parents=True, exist_ok=True)
    data = json.dumps(result.to_dict(), indent=2) + "\n"
    write_whole(output / "scaling.json", data)
    write_whole(output / "scaling.md", result.to_markdown())
    draw_scaling(result, output)


def run_receptive_field(args: argparse.Namespace) -> int:
    """Measure the networks, and write, draw and print the results."""
    from umamba.reach.receptive_fields import measure_receptive_fields
    from umamba.system.path_names import check_writable

    request = from_namespace(ReceptiveFieldRequest, args)
    output = Path(request.output)
    check_writable(output, "--output")
    result = measure_receptive_fields(request)
    _write_fields(result, output)
    log.info("%s: receptive-field.json, .md, .png, .svg, .npz and -maps.png", output)
    if args.json:
        print_json(result.to_dict())
    else:
        sys.stdout.write(result.to_markdown())
    return 0


def _write_fields(result: "ReceptiveFieldResult", output: Path) -> None:
    import numpy as np

    from umamba.reach.field_drawing import draw_fields
    from umamba.system.atomic_files import whole_file, write_whole

    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "receptive-field.json", json.dumps(result.to_dict(), indent=1) + "\n")
    write_whole(output / "receptive-field.md", result.to_markdown())
    maps: dict[str, Any] = {
        field.title: field.shares.astype(np.float32)
        for field in result.fields
        if field.shares is not None
    }
    with whole_file(output / "receptive-field.npz") as partial, partial.open("wb") as file:
        np.savez_compressed(file, **maps)
    draw_fields(result, output)


def run_long_range(args: argparse.Namespace) -> int:
    """Train what is not trained yet, and write, draw and print all results."""
    from umamba.reach.long_range import measure_long_range
    from umamba.reach.long_range_drawing import draw_long_range
    from umamba.system.atomic_files import write_whole
    from umamba.system.path_names import check_writable

    request = from_namespace(LongRangeRequest, args)
    output = Path(request.output)
    check_writable(output, "--output")
    result = measure_long_range(request)
    write_whole(output / "long-range.json", json.dumps(result.to_dict(), indent=1) + "\n")
    write_whole(output / "long-range.md", result.to_markdown())
    draw_long_range(result, output)
    log.info("%s: long-range.json, .md, .png, .svg and -maps.png", output)
    if args.json:
        print_json(result.to_dict())
    else:
        sys.stdout.write(result.to_markdown())
    return 0
