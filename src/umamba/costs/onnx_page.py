"""The table of networks as ONNX files on its reference page, measured here.

`python -m umamba.costs.onnx_page docs/reference/onnx.md [NAME ...]` writes the rows of these
models, by default of all, and leaves the others as they are.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import torch

from umamba import registry
from umamba.errors import ModelFileError
from umamba.nnunet.building import build
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.example import EXAMPLE_DATASET, example_plans
from umamba.onnx_export.writing import write_onnx
from umamba.registry import Architecture
from umamba.reporting.tables import markdown_table
from umamba.topologies import OwnTopology

__all__ = ["update_page"]

_BEGIN, _END = "<!-- networks -->\n", "<!-- end -->"
_PLACES = {2: ("2d", (128, 256)), 3: ("3d_fullres", (32, 32, 64))}
_SMALLER = {("umamba_enc_attention", 3): (16, 16, 16)}  # attention over all voxels, in tens of GB
_FEATURES = (8, 16, 24)
_WIDTHS = {"segresnet": 16, "swinunetr": 12}
_PER_HEAD = 6  # the least that Primus takes
_ENGINES = ("onnxruntime", "openvino")
_HEAD = (
    *("model", "axes", "patch", "other patches"),
    *(f"difference, {engine}" for engine in _ENGINES),
    "size, kB",
    *(f"s, {engine}" for engine in ("torch", *_ENGINES)),
    "remark",
)


def update_page(path: Path, models: Sequence[str]) -> None:
    """Measure models, and write their rows into a page after each of them.

    Args:
        path: A page of Markdown with a marked place.
        models: Names of models.
    """
    page = path.read_text(encoding="utf-8")
    before, _, rest = page.partition(_BEGIN)
    old, _, after = rest.partition(_END)
    rows = {(row[0], row[1]): row for row in map(_cells, old.splitlines()[2:])}
    for name in models:
        architecture = registry.find_architecture(name)
        for n_axes in architecture.dims:
            row = _measure(architecture, n_axes)
            rows[row[0], row[1]] = row
            order = {f"`{known}`": place for place, known in enumerate(registry.names())}
            table = sorted(rows.values(), key=lambda cells: (order[cells[0]], cells[1]))
            lines = markdown_table([_HEAD, *table], texts=(0, len(_HEAD) - 1))
            text = before + _BEGIN + "\n".join(lines) + "\n" + _END + after
            path.write_text(text, encoding="utf-8")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _measure(architecture: Architecture, n_axes: int) -> list[str]:
    """Return the row of a model."""
    name = architecture.name
    configuration, patch_size = _PLACES[n_axes]
    patch_size = _SMALLER.get((name, n_axes), patch_size)
    sys.stderr.write(f"{name}, {configuration}\n")
    torch.manual_seed(0)
    first = [f"`{name}`", f"{n_axes}D", "x".join(map(str, patch_size))]
    options = PlanOptions(features=_features(architecture), plans_name="table")
    plans = derive_plans(
        example_plans({configuration: patch_size}), architecture, options, EXAMPLE_DATASET
    )
    network = build(plans, configuration=configuration)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fold_0.onnx"
        try:
            any_patch = not architecture.needs_input_size
            other = (*patch_size[:-1], patch_size[-1] // 2)
            written = write_onnx(
                network,
                (1, *patch_size),
                path,
                any_patch=any_patch,
                other_patch=other,
                clock=process_time,  # of one thread, whatever else runs on the machine
            )
        except ModelFileError as error:
            return [*first, *["-"] * (len(_HEAD) - len(first) - 1), f"not exported: {error}"]
        size = path.stat().st_size
    checks = written.checks
    left_out = [engine for engine in _ENGINES if engine not in checks]
    return [
        *first,
        "yes" if set(written.free_axes) >= set(range(2, 2 + n_axes)) else "no",
        *(f"{checks[e].largest_difference:.1e}" if e in checks else "-" for e in _ENGINES),
        f"{size / 1000:.0f}",
        *(f"{checks[e].seconds:.3f}" if e in checks else "-" for e in ("torch", *_ENGINES)),
        "; ".join(f"{engine} is less exact than is allowed" for engine in left_out),
    ]


def _features(architecture: Architecture) -> tuple[int, ...]:
    if not isinstance(architecture.topology, OwnTopology):
        return _FEATURES
    heads = architecture.keywords.get("num_heads")
    return (_PER_HEAD * int(heads) if heads else _WIDTHS[architecture.name],)


if __name__ == "__main__":
    update_page(Path(sys.argv[1]), sys.argv[2:] or registry.names())
