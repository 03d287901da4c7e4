"""Memory and time of a training step with activations kept or computed again, per network.

All networks are derived from one plan. Each is measured in a process of its own, beside nnU-Net's
PlainConvUNet, the yardstick: steps are taken in turn, and the ratio is the median over the turns.
The clock counts the time of the processor in user mode, and memory is the resident peak above what
was in use before; glibc is told to give large blocks back to the system as soon as they are free.
With `--counted`, what autograd keeps and the peak are only counted, for a CPU and for a GPU.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import environment
from umamba import registry
from umamba.errors import PlansError
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.example import EXAMPLE_DATASET, example_plans
from umamba.nnunet.plans.networks import BuiltNetwork, build_network
from umamba.profiling import (
    estimate_training_memory,
    peak_memory,
    saved_bytes,
    time_interleaved,
    training_step,
)
from umamba.reporting.tables import markdown_table
from umamba.system.environment import child_environment

_MIB = 2**20
_YARDSTICK = "nnunet"
_SETTINGS = ("none", "norms", "blocks")
_COUNTED = ("saved_bytes", "estimated_bytes")
_DEVICES = {"cpu": "CPU", "cuda": "GPU"}
FEATURES = (16, 32, 64, 128)
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "1000000"}


def main() -> None:
    """Measure what the output does not have yet, and write a table of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=_different_networks())
    parser.add_argument("--edge", type=int, default=48, help="voxels along each axis of the patch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--counted", action="store_true", help="count memory, and measure nothing")
    parser.add_argument("--one", metavar="MODEL", help=argparse.SUPPRESS)
    parser.add_argument(
        "--output",
        type=Path,
        help="default: benchmarks/results/checkpointing.jsonl, or checkpointing-counted.jsonl",
    )
    args = parser.parse_args()
    if args.one:
        torch.set_num_threads(1)
        for row in _measure(args.one, args.edge, args.rounds):
            sys.stdout.write(json.dumps(row) + "\n")
        return
    name = "checkpointing-counted" if args.counted else "checkpointing"
    output = args.output or Path(f"benchmarks/results/{name}.jsonl")
    done = {row["model"] for row in read_rows(output)}
    for model in args.models:
        if model in done:
            continue
        if args.counted:
            torch.set_num_threads(1)  # on which oneDNN's copies depend
            rows = "".join(json.dumps(row) + "\n" for row in count(model, args.edge))
        else:
            options = ["--edge", str(args.edge), "--rounds", str(args.rounds), "--one", model]
            rows = in_own_process("benchmarks.checkpointing", *options)
        with output.open("a") as file:
            file.write(rows)
    table = (counted_table if args.counted else _to_markdown)(read_rows(output))
    output.with_suffix(".md").write_text(table)
    sys.stdout.write(table)


def _different_networks() -> list[str]:
    """Return the models that are not another one by another name, planned otherwise or widened."""
    different = {
        repr((a.class_path, a.topology, a.keywords)): a.name
        for a in registry.architectures()
        if not (a.same_as or a.parameters_of or a.name == _YARDSTICK)
    }
    return [_YARDSTICK, *different.values()]


def read_rows(output: Path) -> list[dict[str, Any]]:
    """Return what was measured before."""
    return [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []


def in_own_process(module: str, *options: str) -> str:
    """Run a benchmark's module, whose memory is that of its tensors, and return what it prints."""
    sys.stderr.write(f"{' '.join(options)}\n")
    return subprocess.run(
        [sys.executable, "-m", module, *options],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(**_GIVE_BACK),
    ).stdout


def count(model: str, edge: int) -> list[dict[str, Any]]:
    """Return a row per device and setting that the network has, without computing anything."""
    rows = []
    for setting in _SETTINGS[:1] if model == _YARDSTICK else _SETTINGS:
        try:
            network = _built(model, setting, edge, "meta")
        except PlansError as error:
            sys.stderr.write(f"{model} {setting}: {error}\n")
            continue
        for device in ("cpu", "cuda"):
            counted = estimate_training_memory(*network, device=device)
            rows.append(
                {
                    "model": model,
                    "setting": setting,
                    "device": device,
                    "saved_bytes": counted.saved_bytes,
                    "estimated_bytes": counted.peak_bytes,
                    "patch": list(network.patch_size),
                }
                | environment()
            )
    return rows


def _measure(model: str, edge: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row per setting that the network has."""
    steps = {_YARDSTICK: training_step(*_built(_YARDSTICK, "none", edge, "cpu"))}
    steps[_YARDSTICK]()
    rows: dict[str, dict[str, Any]] = {}
    for setting in _SETTINGS[:1] if model == _YARDSTICK else _SETTINGS:
        try:
            counted = _built(model, setting, edge, "meta")
        except PlansError as error:
            sys.stderr.write(f"{model} {setting}: {error}\n")
            continue
        network, channels, patch_size, _ = counted
        image = torch.empty(1, channels, *patch_size, device="meta")
        saved = saved_bytes(lambda n=network, x=image: n(x), network.parameters())
        step = training_step(*_built(model, setting, edge, "cpu"))
        step()  # load and compile everything that is not part of the peak
        rows[setting] = {
            "model": model,
            "setting": setting,
            "saved_bytes": saved,
            "estimated_bytes": estimate_training_memory(*counted, device="cpu").peak_bytes,
            "peak_bytes": peak_memory(step),
            "patch": list(patch_size),
            "threads": torch.get_num_threads(),
        } | environment()
        steps[setting] = step
    timings = time_interleaved(steps, rounds, lambda: os.times().user)
    yardstick = timings[_YARDSTICK].seconds
    for setting, row in rows.items():
        seconds = timings[setting].seconds
        row["seconds"] = timings[setting].median
        ratios = [ours / theirs for ours, theirs in zip(seconds, yardstick, strict=True)]
        row["ratio"] = statistics.median(ratios)
    return list(rows.values())


def _built(model: str, setting: str, edge: int, device: str) -> BuiltNetwork:
    plans = planned_step(model, setting, edge)
    return build_network(plans, EXAMPLE_DATASET, "3d_fullres", device)


def planned_step(
    model: str, setting: str, edge: int, features: Sequence[int] = FEATURES
) -> dict[str, Any]:
    """Return plans with one patch a batch, and a stage per number of channels.

    Raises:
        PlansError: If the network does not have the setting.
    """
    source = example_plans()
    configuration = source["configurations"]["3d_fullres"]
    configuration |= {"patch_size": [edge] * 3, "batch_size": 1}
    keywords = configuration["architecture"]["arch_kwargs"]
    n_stages = len(features)
    keywords |= {
        "n_stages": n_stages,
        "features_per_stage": list(features),
        "strides": [[1] * 3, *[[2] * 3] * (n_stages - 1)],
        "kernel_sizes": [[3] * 3] * n_stages,
        "n_conv_per_stage": [2] * n_stages,
        "n_conv_per_stage_decoder": [2] * (n_stages - 1),
    }
    source["configurations"] = {"3d_fullres": configuration}
    if model == _YARDSTICK:
        return source
    architecture = registry.find_architecture(model)
    is_ours = architecture.activation_checkpointing is not None
    asked = setting if is_ours or setting != "none" else None
    options = PlanOptions(plans_name="benchmark", activation_checkpointing=asked)
    return derive_plans(source, architecture, options, EXAMPLE_DATASET)


def _to_markdown(rows: list[dict[str, Any]]) -> str:
    yardstick = next(row for row in rows if row["model"] == _YARDSTICK)
    conditions = (
        f"Patch of {yardstick['patch'][0]} cubed, batch 1, features "
        f"{', '.join(map(str, FEATURES))} where the network has no channels of its own; "
        f"{yardstick['threads']} thread, {yardstick['cpu']}, torch {yardstick['torch']}, umamba "
        f"{yardstick['umamba']}, {yardstick['date']}. Saved: what autograd keeps. Estimated: what "
        "`umamba plan` counts, without weights and optimiser. Peak: measured. Time: of the "
        "processor in user mode, median of the turns; its ratio to nnunet's step in the same turn."
    )
    head = ["model", "setting", "saved MiB", "estimated MiB", "peak MiB", "s/step"]
    ratios = [f"{what} / nnunet" for what in ("saved", "peak", "time")]
    body = [[*head, *ratios], *(_cells(row, yardstick) for row in rows)]
    lines = ["# Activation checkpointing", "", conditions, "", *markdown_table(body, [0, 1])]
    rounded = {row["model"]: row["patch"] for row in rows if row["patch"] != yardstick["patch"]}
    notes = [f"- {model}: patch of {' x '.join(map(str, p))}" for model, p in rounded.items()]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def counted_table(rows: list[dict[str, Any]]) -> str:
    """Return the counted rows as Markdown, those of a network beside nnunet's on the device."""
    yardsticks = {row["device"]: row for row in rows if row["model"] == _YARDSTICK}
    first = yardsticks["cpu"]
    conditions = (
        f"Patch of {' x '.join(map(str, first['patch']))} where the network takes it, batch 1, "
        f"features {', '.join(map(str, FEATURES))} where the network has no channels of its own; "
        f"torch {first['torch']}, umamba {first['umamba']}, {first['date']}. Counted, not "
        "measured: what autograd keeps, and the peak of activations and gradients, without weights "
        "and optimiser; on a CPU in float32, on a GPU in mixed precision, not compiled."
    )
    head = [
        "model",
        "setting",
        "device",
        "saved MiB",
        "peak MiB",
        "saved / nnunet",
        "peak / nnunet",
    ]
    body = [head]
    for row in rows:
        sizes = [(row[key], yardsticks[row["device"]][key]) for key in _COUNTED]
        cells = [f"{size / _MIB:.0f}" for size, _ in sizes]
        ratios = [f"{size / usual:.2f}" for size, usual in sizes]
        body.append([row["model"], row["setting"], _DEVICES[row["device"]], *cells, *ratios])
    title = "# Activation checkpointing, counted"
    return "\n".join([title, "", conditions, "", *markdown_table(body, [0, 1, 2])]) + "\n"


def _cells(row: Mapping[str, Any], yardstick: Mapping[str, Any]) -> list[str]:
    sizes = [row[key] for key in ("saved_bytes", "estimated_bytes", "peak_bytes")]
    compared = [row[key] / yardstick[key] for key in ("saved_bytes", "peak_bytes")]
    return [
        row["model"],
        row["setting"],
        *(f"{size / _MIB:.0f}" for size in sizes),
        f"{row['seconds']:.2f}",
        *(f"{ratio:.2f}" for ratio in [*compared, row["ratio"]]),
    ]


if __name__ == "__main__":
    main()
