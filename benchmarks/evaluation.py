"""Time and peak memory of `umamba evaluate` on one large synthetic volume with many labels.

The evaluation is a process of its own, and its peak what the operating system says of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import SimpleITK
from scipy import ndimage

from benchmarks.environment import environment

_SPACING = (0.8, 0.8, 1.0)  # x, y, z
_EVALUATE = "from umamba.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"


def main() -> None:
    """Measure what the command line asks for, and add it to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512))
    parser.add_argument("--labels", type=int, default=15)
    parser.add_argument("--stray", type=int, default=100, help="voxels per label and mask")
    parser.add_argument("--metrics", nargs="+", default=[], help="besides the standard ones")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/evaluation.jsonl"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        row = _measure(Path(name), tuple(args.shape), args.labels, args.stray, args.metrics)
    with args.output.open("a") as file:
        file.write(json.dumps(row) + "\n")
    sys.stdout.write(json.dumps(row, indent=2) + "\n")


def _measure(
    folder: Path, shape: tuple[int, ...], n_labels: int, n_stray: int, metrics: list[str]
) -> dict[str, object]:
    more = ["--metrics", *metrics] if metrics else []
    # in another process, as the peak of a process begins with that of the one that starts it
    with get_context("spawn").Pool(1) as pool:
        shares = pool.apply(_write_masks, (folder, shape, n_labels, n_stray))
    return {
        "shape": shape,
        "labels": n_labels,
        "stray_voxels_per_label": n_stray,
        **shares,
        "cores": len(os.sched_getaffinity(0)),
        "metrics": metrics,
        **_run([str(folder / "predictions"), str(folder / "references"), *more]),
        **environment(),
    }


def _write_masks(
    folder: Path, shape: tuple[int, ...], n_labels: int, n_stray: int
) -> dict[str, float]:
    reference = _organs(shape, n_labels)
    prediction = np.roll(reference, (1, 2, -2), axis=(0, 1, 2))
    _scatter((prediction, reference), n_labels, n_stray)
    for name, labels in (("predictions", prediction), ("references", reference)):
        (folder / name).mkdir()
        image = SimpleITK.GetImageFromArray(labels)
        image.SetSpacing(_SPACING)
        SimpleITK.WriteImage(image, str(folder / name / "case.nii.gz"), useCompression=True)
    shares = {"labelled": np.mean(reference > 0), "wrong": np.mean(reference != prediction)}
    return {f"{name}_share": round(float(share), 4) for name, share in shares.items()}


def _organs(shape: tuple[int, ...], n_labels: int) -> np.ndarray:
    """Fill the middle of a volume with touching organs whose surfaces are rough.

    An organ is where its centre is the nearest one, by distances that noise changes a little.
    """
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    rough = ndimage.zoom(
        rng.standard_normal([n // 8 for n in shape]).astype(np.float32), 8, order=1
    )
    noise = np.zeros(shape, np.float32)
    noise[tuple(slice(n) for n in rough.shape)] = 0.02 * rough
    body = sum(axis**2 for axis in grid) + noise < 0.8
    nearest = np.full(shape, np.inf, np.float32)
    organs = np.zeros(shape, np.uint8)
    for label, centre in enumerate(rng.uniform(-0.6, 0.6, (n_labels, 3)), start=1):
        distance = sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True))
        distance += noise * (-1) ** label
        closer = body & (distance < nearest)
        nearest[closer] = distance[closer]
        organs[closer] = label
    return organs


def _scatter(masks: Sequence[np.ndarray], n_labels: int, n_stray: int) -> None:
    """Put voxels of every label all over the volume, so that no bounding box helps."""
    rng = np.random.default_rng(1)
    for mask in masks:
        for label in range(1, n_labels + 1):
            mask[tuple(rng.integers(0, n, n_stray) for n in mask.shape)] = label


def _run(arguments: list[str]) -> dict[str, float]:
    command = [sys.executable, "-c", _EVALUATE, "evaluate", *arguments]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        msg = f"the evaluation failed with exit code {process.returncode}"
        raise RuntimeError(msg)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gib": round(usage.ru_maxrss / 2**20, 2),
    }


if __name__ == "__main__":
    main()
