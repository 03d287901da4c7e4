"""Provenance of a comparison, to repeat it: versions, hashes, machine, seeds, command."""

import sys
from typing import TYPE_CHECKING, Any

from umamba.costs.machine import describe_machine
from umamba.system.checksums import sha256
from umamba.system.versions import versions

if TYPE_CHECKING:
    from umamba.comparison.runs.state import Comparison

__all__ = ["describe_run"]

_PACKAGES = (
    "umamba",
    "nnunetv2",
    "dynamic-network-architectures",
    "torch",
    "numpy",
    "scipy",
    "SimpleITK",
    "monai",
    "connected-components-3d",
)


def describe_run(comparison: "Comparison") -> dict[str, Any]:
    """Return the contents of `manifest.json`."""
    request, planned = comparison.request, comparison.planned
    folder = comparison.paths.require("preprocessed") / planned.source.dataset
    names = [
        "dataset.json",
        "dataset_fingerprint.json",
        "splits_final.json",
        f"{request.source}.json",
    ]
    names += [f"{plans['plans_name']}.json" for plans in planned.plans.values()]
    return {
        "command": ["umamba", *sys.argv[1:]],
        "dataset": planned.source.dataset,
        "configuration": planned.source.configuration,
        "seeds": list(request.seeds),
        "versions": versions(_PACKAGES),
        "machine": describe_machine(request.device),
        "sha256": {name: sha256(folder / name) for name in names if (folder / name).is_file()},
    }
