"""The memory of a training step as `umamba plan` estimates it, beside what it needs.

Each plan is measured in a process of its own: a step of nnU-Net's loss, forward and backward, with
gradients, without the optimiser. The allocator's peak counts tensors, as `torch.cuda` does on a
GPU, and the copies that oneDNN makes of the maps that a convolution takes and gives; the resident
peak is that of the process. glibc is told to give large blocks back to the system as soon as they
are free. On a GPU the step is under autocast and not compiled.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.checkpointing import FEATURES, in_own_process, planned_step, read_rows
from benchmarks.environment import environment
from umamba.nnunet.plans.example import EXAMPLE_DATASET
from umamba.nnunet.plans.networks import build_network
from umamba.profiling import estimate_training_memory, peak_memory
from umamba.reporting.tables import markdown_table

_MIB = 2**20
_PLANS = (
    ("nnunet", "none"),
    ("umamba_bot", "norms"),
    ("umamba_bot", "none"),
    ("umamba_enc", "norms"),
    ("umamba_enc", "none"),
    ("umamba_enc_lean", "blocks"),
    ("mednext_s", "norms"),
    ("unetpp", "norms"),
)


def main() -> None:
    """Measure every plan that the output does not have yet, and write a table of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=64, help="voxels along each axis of the patch")
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "SETTING"), help=argparse.SUPPRESS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/planned-memory.jsonl")
    )
    args = parser.parse_args()
    if args.one:
        sys.stdout.write(json.dumps(measure(*args.one, args.edge, args.device)) + "\n")
        return
    done = {(row["model"], row["setting"]) for row in read_rows(args.output)}
    for plan in _PLANS:
        if plan not in done:
            options = ["--edge", str(args.edge), "--device", args.device, "--one", *plan]
            measured = in_own_process("benchmarks.planned_memory", *options)
            with args.output.open("a") as file:
                file.write(measured)
    table = _to_markdown(read_rows(args.output))
    args.output.with_suffix(".md").write_text(table)
    sys.stdout.write(table)


def measure(model: str, setting: str, edge: int, device: str) -> dict[str, Any]:
    """Return what is estimated for a step on a device, and what it needs there."""
    torch.set_num_threads(1)
    plans = planned_step(model, setting, edge)
    network = build_network(plans, EXAMPLE_DATASET, "3d_fullres")
    estimate = estimate_training_memory(*network, device=device)
    step = _step(plans, device)
    step()  # load and compile everything that is not part of the peak
    return {
        "model": model,
        "setting": setting,
        "edge": edge,
        "estimated_bytes": estimate.peak_bytes,
        "allocator_bytes": peak_memory(step, "cuda") if device == "cuda" else allocator_peak(step),
        "resident_bytes": None if device == "cuda" else peak_memory(step),
    } | environment()


def _step(plans: dict[str, Any], device: str) -> Callable[[], None]:
    """Return a training step of nnU-Net's loss, whose gradients are dropped at the end."""
    network, channels, patch, batch = build_network(plans, EXAMPLE_DATASET, "3d_fullres", device)
    options = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    criterion = DC_and_CE_loss(options, {}, dice_class=MemoryEfficientSoftDiceLoss)
    images = torch.randn(batch, channels, *patch, device=device)

    def step() -> None:
        with torch.autocast(device, enabled=device == "cuda"):
            losses: list[Tensor] = [
                criterion(logits, torch.zeros_like(logits[:, :1])) for logits in network(images)
            ]
        torch.stack(losses).sum().backward()
        network.zero_grad(set_to_none=True)

    return step


def allocator_peak(step: Callable[[], None]) -> int:
    """Return the most bytes that tensors of a step had at a time, by torch's profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    events = profiled.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    now = peak = 0
    for _, change in sorted(changes):
        now += change
        peak = max(peak, now)
    return peak


def _to_markdown(rows: list[dict[str, Any]]) -> str:
    first = rows[0]
    on_gpu = first["resident_bytes"] is None
    where = f"mixed precision; {first['gpu']}" if on_gpu else f"float32; 1 thread, {first['cpu']}"
    copies = "" if on_gpu else ", with oneDNN's copies of feature maps"
    conditions = (
        f"Patch of {first['edge']} cubed, batch 1, features {', '.join(map(str, FEATURES))}, "
        f"{where}, torch {first['torch']}, umamba {first['umamba']}, "
        f"{first['date']}. Without weights and optimiser. Tensors: the peak of torch's allocator"
        f"{copies}. Resident: that of the process."
    )
    head = ["model", "setting", "estimated MiB", "tensors MiB", "resident MiB", "estimated/tensors"]
    body = [head]
    for row in rows:
        sizes = [row[f"{key}_bytes"] for key in ("estimated", "allocator", "resident")]
        ratio = f"{sizes[0] / sizes[1]:.2f}"
        cells = ["-" if size is None else f"{size / _MIB:.0f}" for size in sizes]
        body.append([row["model"], row["setting"], *cells, ratio])
    lines = ["# Planned memory", "", conditions, "", *markdown_table(body, [0, 1])]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
