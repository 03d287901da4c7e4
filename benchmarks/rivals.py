"""Every rival trained through stock `nnUNetv2_train` on one data set, beside stock PlainConvUNet.

Same data, split, patch, batch, features and iterations; each training is a process of its own.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import environment
from umamba.reporting.tables import markdown_table

_DATASET = "Dataset004_Hippocampus"
_OURS = ("-c", "from umamba.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))")
_TRAIN = ("-c", "from nnunetv2.run.run_training import run_training_entry; run_training_entry()")
_PREPARE = (
    "-c",
    "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import "
    "plan_and_preprocess_entry; plan_and_preprocess_entry()",
)
_MODELS = (
    "nnunet",
    "unetpp",
    "attention_unet",
    "unetrpp",
    "segresnet",
    "swinunetr",
    "umamba_bot",
    "umamba_enc",
)
# Networks that keep their own topology take one width, and patches that fit them.
_OWN_SHAPES = {
    "segresnet": ("8", ("32", "40", "32")),
    "swinunetr": ("12", ("32", "64", "32")),
}
_ITERATIONS_PER_EPOCH = 250  # of stock nnU-Net's trainers


def main() -> None:
    """Train what the command line asks for, one after the other; finished ones are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds images/ and labels/, of hippocampi")
    parser.add_argument("work", type=Path, help="where nnU-Net's three folders are made")
    parser.add_argument("--models", nargs="+", default=_MODELS)
    parser.add_argument("--cases", type=int, default=60, help="how many of the data set's")
    parser.add_argument("--features", default="8,16,32,64")
    parser.add_argument("--patch-size", nargs="+", default=("32", "40", "32"))
    parser.add_argument("--batch-size", default="2")
    parser.add_argument("--epochs", type=int, default=10, choices=(1, 5, 10, 20))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/rivals.jsonl"))
    args = parser.parse_args()
    folders = {
        f"nnUNet_{name}": str(args.work / name) for name in ("raw", "preprocessed", "results")
    }
    os.environ.update(folders)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _make_dataset(args.folder, args.work, args.cases)
    done = {row["model"] for row in _rows(args.output)}
    for model in args.models:
        if model in done:
            continue
        row = _train(model, args)
        with args.output.open("a") as file:
            file.write(json.dumps(row) + "\n")
        sys.stdout.write(json.dumps(row) + "\n")
    args.output.with_suffix(".md").write_text(_to_markdown(_rows(args.output)))


def _rows(output: Path) -> list[dict[str, Any]]:
    if not output.exists():
        return []
    return [json.loads(line) for line in output.read_text().splitlines()]


def _make_dataset(source: Path, work: Path, n_cases: int) -> None:
    if (work / "raw" / _DATASET / "dataset.json").exists():
        return
    for name in ("raw", "preprocessed", "results"):
        (work / name).mkdir(parents=True, exist_ok=True)
    for kind in ("images", "labels"):
        (work / kind).mkdir()
        for path in sorted((source / kind).glob("*.nii.gz"))[:n_cases]:
            shutil.copy(path, work / kind)
    images, masks = str(work / "images"), str(work / "labels")
    labels = ["background=0", "anterior=1", "posterior=2"]
    options = ["--images", images, "--masks", masks, "--channels", "MRI", "--labels", *labels]
    _run(*_OURS, "dataset", _DATASET, *options)
    _run(*_PREPARE, "-d", "4", "-c", "3d_fullres", "-np", "2")


def _train(model: str, args: argparse.Namespace) -> dict[str, Any]:
    epochs = args.epochs
    features, patch_size = _OWN_SHAPES.get(model, (args.features, args.patch_size))
    plans = f"rivals_{model}"
    shape = ["--features", features, "--patch-size", *patch_size, "--batch-size", args.batch_size]
    options = ["--plans-name", plans, "--configurations", "3d_fullres", "--overwrite", "--json"]
    _run(*_OURS, "plan", "4", "--model", model, "--from", "nnUNetPlans", *shape, *options)
    trainer = f"nnUNetTrainer_{epochs}epoch{'s' if epochs > 1 else ''}"
    arguments = ["4", "3d_fullres", "0", "-p", plans, "-tr", trainer, "-device", "cpu"]
    peak = _run_measured(*_TRAIN, *arguments)
    folder = Path(os.environ["nnUNet_results"], _DATASET, f"{trainer}__{plans}__3d_fullres")
    summary = json.loads((folder / "fold_0" / "validation" / "summary.json").read_text())
    weights = torch.load(
        folder / "fold_0" / "checkpoint_final.pth", map_location="cpu", weights_only=False
    )["network_weights"]
    return {
        "model": model,
        "trainer": trainer,
        "iterations": epochs * _ITERATIONS_PER_EPOCH,
        "features": features,
        "patch_size": " x ".join(patch_size),
        "batch_size": args.batch_size,
        "cases": args.cases,
        "dice": summary["foreground_mean"]["Dice"],
        "seconds_per_iteration": _seconds_per_epoch(folder / "fold_0") / _ITERATIONS_PER_EPOCH,
        "peak_gib": round(peak / 2**20, 2),
        "parameters": _count(weights),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads(),
    } | environment()


def _count(weights: dict[str, torch.Tensor]) -> int:
    """Return how many parameters there are; PlainConvUNet names its own several times."""
    own = {w.data_ptr(): w.numel() for name, w in weights.items() if "running_" not in name}
    return sum(own.values())


def _seconds_per_epoch(fold: Path) -> float:
    """Return the median over epochs, validation batches included, from nnU-Net's log."""
    logs = fold.glob("training_log_*.txt")  # one each time that it was begun anew
    log = max(logs, key=lambda path: path.stat().st_mtime)
    return statistics.median(
        float(s) for s in re.findall(r"Epoch time: ([\d.]+) s", log.read_text())
    )


def _run(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _run_measured(*arguments: str) -> int:
    """Run a command; return the resident peak of its largest process, in KiB."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return usage.ru_maxrss


def _to_markdown(rows: list[dict[str, Any]]) -> str:
    """Return conditions and a table with a line per training."""
    first = rows[0]
    conditions = (
        f"{first['cases']} hippocampi, fold 0, batch {first['batch_size']}, trained by stock "
        f"nnUNetv2_train, unseeded; {first['threads']} thread, {first['cpu']}, "
        f"torch {first['torch']}, umamba {first['umamba']}, {first['date']}. Dice: mean over both "
        "labels of the validation cases, as nnU-Net scores them. Memory: resident peak of the "
        "training process, validation included."
    )
    head = ["model", "iterations", "Dice", "s/iteration", "peak GiB", "parameters", "features"]
    body = [[*head, "patch"]]
    for row in sorted(rows, key=lambda row: _MODELS.index(row["model"])):
        figures = [f"{row['dice']:.3f}", f"{row['seconds_per_iteration']:.2f}"]
        peak = "-" if row["peak_gib"] is None else f"{row['peak_gib']:.2f}"
        shape = [f"{row['parameters']:,}", row["features"], row["patch_size"]]
        body.append([row["model"], str(row["iterations"]), *figures, peak, *shape])
    notes = [f"- {row['model']}: {row['note']}" for row in rows if "note" in row]
    lines = ["# Rivals", "", conditions, "", *markdown_table(body, [0, 6, 7])]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


if __name__ == "__main__":
    main()
