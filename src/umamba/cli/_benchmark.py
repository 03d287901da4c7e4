"""`umamba benchmark`: measure what the layers cost on this machine."""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from umamba.option_checks import positive
from umamba.options import parsed

if TYPE_CHECKING:
    from umamba.costs.results import ScalingResult

__all__ = ["add_parser", "run_scaling"]

log = logging.getLogger(__name__)

_SCALING = """\
Measure time and peak memory of the forward and backward pass of one Mamba layer, of
self-attention (torch's scaled_dot_product_attention) and of a convolution, on longer and longer
sequences, and fit how they grow: with exponent 1, twice the length costs twice as much; with
exponent 2, four times as much. The table is printed; scaling.json, scaling.md, scaling.png and
scaling.svg in the output folder are replaced.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `umamba benchmark`."""
    parser = subparsers.add_parser(
        "benchmark",
        help="measure how the cost of the layers grows with the image on this machine",
        description="Measure what the layers cost on this machine.",
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
