"""Memory and time of a training step with activations kept or computed again, per network.

All networks are derived from one plan and take their steps in turn; nnU-Net's PlainConvUNet is the
yardstick. The clock counts the time of the processor, and memory is the resident peak above what
was in use before: with MALLOC_MMAP_THRESHOLD_=1000000 in the environment, glibc gives large blocks
back to the system at once, so that the peak is that of the tensors.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import environment
from umamba import registry
from umamba.errors import PlansError
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.example import EXAMPLE_DATASET, example_plans
from umamba.nnunet.plans.networks import build_network
from umamba.profiling import (
    estimate_training_memory,
    peak_memory,
    saved_bytes,
    time_interleaved,
    training_step,
)
from umamba.reporting.tables import markdown_table

_MIB = 2**20
_SETTINGS = ("none", "norms", "blocks")
_MODELS = ("umamba_bot", "umamba_enc", "umamba_bot_nomamba", "unetpp", "attention_unet", "unetrpp")
_FEATURES = (32, 64, 128, 256, 320)


def main() -> None:
    """Measure what the command line asks for, and write a row per network and setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=_MODELS)
    parser.add_argument("--edge", type=int, default=48, help="voxels along each axis of the patch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/checkpointing.jsonl")
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = _measure(args)
    args.output.write_text("".join(json.dumps(row) + "\n" for row in rows))
    args.output.with_suffix(".md").write_text(_to_markdown(rows))
    sys.stdout.write(_to_markdown(rows))


def _measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    steps = {}
    for model, setting in [("nnunet", "none"), *((m, s) for m in args.models for s in _SETTINGS)]:
        try:
            plans = _plans(model, setting, args.edge)
            network = build_network(plans, EXAMPLE_DATASET, "3d_fullres")
        except PlansError as error:
            sys.stderr.write(f"{model} {setting}: {error}\n")
            continue
        image = torch.empty(1, network.input_channels, *network.patch_size, device="meta")
        estimate = estimate_training_memory(*network)
        built = build_network(plans, EXAMPLE_DATASET, "3d_fullres", "cpu")
        step = training_step(*built)
        step()  # load and compile everything that is not part of the peak
        name = f"{model} {setting}"
        rows[name] = {
            "model": model,
            "setting": setting,
            "saved_bytes": saved_bytes(
                lambda net=network.network, x=image: net(x), network.network.parameters()
            ),
            "estimated_bytes": estimate.peak_bytes,
            "peak_bytes": peak_memory(step),
            "edge": args.edge,
            "threads": torch.get_num_threads(),
        } | environment()
        steps[name] = step
        sys.stderr.write(f"{name}\n")
    for name, timing in time_interleaved(steps, args.rounds, time.process_time).items():
        rows[name]["seconds"] = timing.median
    return list(rows.values())


def _plans(model: str, setting: str, edge: int) -> dict[str, Any]:
    """Return plans of five stages and one patch a batch."""
    source = example_plans()
    configuration = source["configurations"]["3d_fullres"]
    configuration |= {"patch_size": [edge] * 3, "batch_size": 1}
    keywords = configuration["architecture"]["arch_kwargs"]
    n_stages = len(_FEATURES)
    keywords |= {
        "n_stages": n_stages,
        "features_per_stage": list(_FEATURES),
        "strides": [[1] * 3, *[[2] * 3] * (n_stages - 1)],
        "kernel_sizes": [[3] * 3] * n_stages,
        "n_conv_per_stage": [2] * n_stages,
        "n_conv_per_stage_decoder": [2] * (n_stages - 1),
    }
    source["configurations"] = {"3d_fullres": configuration}
    if model == "nnunet":
        return source
    options = PlanOptions(activation_checkpointing=setting)
    return derive_plans(source, registry.find_architecture(model), options, EXAMPLE_DATASET)


def _to_markdown(rows: list[dict[str, Any]]) -> str:
    first = rows[0]
    conditions = (
        f"Patch of {first['edge']} cubed, batch 1, features {', '.join(map(str, _FEATURES))}; "
        f"{first['threads']} thread, {first['cpu']}, torch {first['torch']}, umamba "
        f"{first['umamba']}, {first['date']}. Saved: what autograd keeps. Estimated: what "
        "`umamba plan` counts on the meta device, without weights and momentum. Peak: measured."
    )
    head = ["model", "setting", "saved MiB", "estimated MiB", "peak MiB", "s/step"]
    ratios = [f"{what} / nnunet" for what in ("saved", "peak", "time")]
    body = [[*head, *ratios], *(_cells(row, first) for row in rows)]
    lines = ["# Activation checkpointing", "", conditions, "", *markdown_table(body, [0, 1])]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[str, Any], yardstick: Mapping[str, Any]) -> list[str]:
    sizes = [row[key] for key in ("saved_bytes", "estimated_bytes", "peak_bytes")]
    compared = ("saved_bytes", "peak_bytes", "seconds")
    return [
        row["model"],
        row["setting"],
        *(f"{size / _MIB:.0f}" for size in sizes),
        f"{row['seconds']:.2f}",
        *(f"{row[key] / yardstick[key]:.2f}" for key in compared),
    ]


if __name__ == "__main__":
    main()
