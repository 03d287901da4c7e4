"""Peak memory of training steps of the evidence's networks, with nothing computed again.

The article's networks keep all activations for the backward; those of the comparisons compute
norms, activations and mixers again, by our default. Patches are nnU-Net's own, of which some
comparisons take a part. Counted are the bytes of tensors on a CPU, in float32, without weights and
optimiser.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.environment import environment
from benchmarks.evidence.prepare import SOURCES
from benchmarks.evidence.questions import BOT, ENC, U_NET, WITHOUT
from benchmarks.planned_memory import allocator_peak
from umamba import registry
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.example import EXAMPLE_DATASET, example_plans
from umamba.nnunet.plans.networks import BuiltNetwork, build_network
from umamba.profiling import training_step
from umamba.system.atomic_files import write_whole

__all__ = ["FILE", "built", "main"]

FILE = "evidence-memory.json"  # in the folder of measurements


class _Size(NamedTuple):
    """The size of a data set's networks.

    Attributes:
        patch: Voxels along each axis.
        batch: Patches in a step.
        features: Channels of each stage.
    """

    patch: tuple[int, ...]
    batch: int
    features: tuple[int, ...]


# Features and batch by the options of `sets`, and the patch that nnU-Net plans.
_SIZES = {
    "nuclei": _Size((256, 256), 1, (8, 16, 32, 64, 64, 64, 64)),
    "pet": _Size((40, 72, 40), 2, (4, 8, 16, 32)),
    "axons": _Size((160, 256), 2, (8, 16, 32, 64, 64, 64)),
    "hippocampus": _Size((40, 56, 40), 2, (16, 32, 64, 128)),
}


def main() -> None:
    """Measure all networks, and write their peaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("benchmarks/results"),
        metavar="DIR",
        help=f"folder for {FILE} (default: benchmarks/results, which has ours)",
    )
    output = parser.parse_args().output
    torch.set_num_threads(1)
    peaks: dict[str, dict[str, int]] = {name: {} for name in _SIZES}
    for name, of_set in peaks.items():
        for model in (U_NET, BOT, ENC, WITHOUT):
            step = training_step(*built(name, model, "cpu"))
            step()  # load and compile everything that is not part of the peak
            of_set[model] = allocator_peak(step)
            sys.stderr.write(f"{name} {model}: {of_set[model] / 2**20:.0f} MiB\n")
    output.mkdir(parents=True, exist_ok=True)
    content = {"peak_bytes": peaks, "environment": environment()}
    write_whole(output / FILE, json.dumps(content, indent=1) + "\n")


def built(name: str, model: str, device: str = "meta") -> BuiltNetwork:
    """Return a network that keeps all activations.

    Args:
        name: Name of the data set.
        model: Name of the model.
        device: The device for its weights.
    """
    size, source = _SIZES[name], SOURCES[name]
    configuration = "2d" if len(size.patch) == 2 else "3d_fullres"
    plans = example_plans({configuration: size.patch}, most_stages=len(size.features))
    planned = plans["configurations"][configuration]
    planned["batch_size"] = size.batch
    planned["architecture"]["arch_kwargs"]["features_per_stage"] = list(size.features)
    dataset: dict[str, Any] = EXAMPLE_DATASET | {
        "channel_names": {str(n): channel for n, channel in enumerate(source.channels)},
        "labels": {label: value for value, label in enumerate(source.labels)},
    }
    if model != U_NET:
        options = PlanOptions(plans_name="benchmark", activation_checkpointing="none")
        plans = derive_plans(plans, registry.find_architecture(model), options, dataset)
    return build_network(plans, dataset, configuration, device)


if __name__ == "__main__":
    main()
