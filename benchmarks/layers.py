"""Measure the Mamba layer and the networks around it: `python -m benchmarks.layers --help`."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import Tensor, nn

from benchmarks.environment import environment
from umamba import Mamba, UMambaBot, UMambaEnc
from umamba.profiling import Timing, peak_memory, saved_bytes, time_interleaved

log = logging.getLogger(__name__)

Row = dict[str, Any]

_MIB = 1 << 20
# The plan of nnU-Net's 3d_fullres for most data sets, without its last stage.
_PLAN: dict[str, Any] = {
    "input_channels": 1,
    "num_classes": 3,
    "n_stages": 5,
    "conv_op": nn.Conv3d,
    "kernel_sizes": 3,
    "strides": (1, 2, 2, 2, 2),
    "n_conv_per_stage": 2,
    "n_conv_per_stage_decoder": 2,
    "conv_bias": True,
    "norm_op": nn.InstanceNorm3d,
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": nn.LeakyReLU,
    "nonlin_kwargs": {"inplace": True},
    "deep_supervision": True,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of every network (default: 5)")
    parser.add_argument("--edge", type=int, default=64, help="of the cubic patch (default: 64)")
    parser.add_argument(
        "--features",
        type=int,
        nargs=5,
        default=(32, 64, 128, 256, 320),
        metavar="N",
        help="channels of the stages (default: those of nnU-Net)",
    )
    parser.add_argument("--length", type=int, default=32768, help="tokens of the Mamba block")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="where JSON goes")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    plan = _PLAN | {"features_per_stage": tuple(args.features)}
    image = torch.randn(1, 1, *[args.edge] * 3)
    rows: list[Row] = []
    for row in (
        *_block(args.length),
        *_against_twins(plan, image, args.rounds),
        *_checkpointing(plan, image, args.rounds),
    ):
        log.info("%s: %.3g (at most %.3g)", row["what"], row["measured"], row["at_most"])
        rows.append(row)
    found = {"threads": args.threads, "patch": list(image.shape[2:]), **environment()}
    text = json.dumps({**found, "results": rows}, indent=2) + "\n"
    sys.stdout.write(text)
    if args.output is not None:
        args.output.write_text(text, encoding="utf-8")
    return 0


def _block(length: int) -> Iterator[Row]:
    """Yield what a Mamba block keeps, and needs at its peak, in units of its tokens."""
    mamba = Mamba(64)
    tokens = torch.randn(2, length, 64, requires_grad=True)
    size = tokens.numel() * tokens.element_size()
    step = _step(mamba, tokens)
    step()  # compiles the kernels
    about = f"Mamba block, d_model 64, length {length}, batch 2, training"
    kept = saved_bytes(lambda: mamba(tokens), mamba.parameters()) / size
    yield {"what": f"{about}: kept for the backward / tokens", "measured": kept, "at_most": 6}
    peak = peak_memory(step)
    if peak is not None:
        what = f"{about}: peak of forward and backward above the tokens / tokens"
        yield {"what": what, "measured": peak / size, "at_most": 20}
    with torch.no_grad():
        kept = saved_bytes(lambda: mamba(tokens), mamba.parameters()) / size
    yield {"what": f"{about[:-10]}, inference: kept / tokens", "measured": kept, "at_most": 0}


def _against_twins(plan: Mapping[str, Any], image: Tensor, rounds: int) -> Iterator[Row]:
    """Yield the time of UMambaEnc in units of the same network without Mamba layers."""
    for variant, most in (("official", 1.1), ("paper", 1.25)):
        size = {"input_size": tuple(image.shape[2:])} if variant == "official" else {}
        networks = [UMambaEnc(**plan, variant=variant, **size) for _ in range(2)]
        encoder = networks[1].encoder
        encoder.mamba_layers = nn.ModuleList(nn.Identity() for _ in encoder.mamba_layers)
        steps = {str(i): _step(network, image) for i, network in enumerate(networks)}
        with_mamba, without = time_interleaved(steps, rounds).values()
        yield {
            "what": f"UMambaEnc {variant}: training step / its twin without Mamba",
            "measured": _ratio(with_mamba, without),
            "at_most": most,
            "seconds": with_mamba.seconds,
            "seconds_without": without.seconds,
        }


def _checkpointing(plan: Mapping[str, Any], image: Tensor, rounds: int) -> Iterator[Row]:
    """Yield memory of `blocks` beside a plain U-Net, and its time beside `none`."""
    none, blocks = (UMambaBot(**plan, activation_checkpointing=c) for c in ("none", "blocks"))
    steps = {
        "none": _step(none, image),
        "blocks": _step(blocks, image),
        "plain": _step(PlainConvUNet(**plan), image),
    }
    timings = time_interleaved(steps, rounds)
    peaks = {name: peak_memory(step) for name, step in steps.items()}
    if peaks["blocks"] is not None and peaks["plain"] is not None:
        yield {
            "what": "UMambaBot paper, blocks: peak memory of a step / PlainConvUNet",
            "measured": peaks["blocks"] / peaks["plain"],
            "at_most": 1.1,
            "mib": {name: round(peak / _MIB) for name, peak in peaks.items() if peak is not None},
        }
    yield {
        "what": "UMambaBot paper, blocks: training step / activation_checkpointing none",
        "measured": _ratio(timings["blocks"], timings["none"]),
        "at_most": 1.35,
        "seconds": {name: timing.seconds for name, timing in timings.items()},
    }


def _ratio(one: Timing, other: Timing) -> float:
    """Compare the fastest turns: what else the machine does only ever adds time."""
    return min(one.seconds) / min(other.seconds)


def _step(network: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return a training step without an optimiser, whose gradients are dropped."""

    def step() -> None:
        y = network(x)
        outputs = y if isinstance(y, list) else [y]
        torch.stack([output.square().mean() for output in outputs]).sum().backward()
        network.zero_grad(set_to_none=True)
        x.grad = None

    return step


if __name__ == "__main__":
    raise SystemExit(main())
