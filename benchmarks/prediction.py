"""Whole predictions beside stock `nnUNetv2_predict`, with the same untrained weights.

Each prediction is a process of its own, and both take turns. The peak is that of the whole tree of
processes, as stock has workers, and sampled; what they share is divided among them (PSS), as
stock's workers are forked.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import SimpleITK
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from benchmarks.environment import environment
from umamba.nnunet.plans.derivation import PlanOptions, derive_plans
from umamba.nnunet.plans.example import EXAMPLE_DATASET, example_plans
from umamba.registry import find_architecture

_OUTPUT = Path("benchmarks/results/prediction.jsonl")
_NAME = "Dataset999_Benchmark"
_PLANS = "nnUNetBenchmarkPlans"
_UMAMBA = "import sys; from umamba.cli.main import main; sys.exit(main(sys.argv[1:]))"
_STOCK = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point as main; main()"
_MODELS = ("nnunet", "umamba_bot", "umamba_bot_nomamba")  # the last for stock: see the targets
_PROGRAMS = ("umamba", "umamba-openvino", "umamba-onnxruntime", "stock")
_SAMPLE_SECONDS = 0.2


def main() -> None:
    """Measure what the command line asks for and a file lacks; each measurement adds a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=_MODELS)
    parser.add_argument("--shape", type=int, nargs=3, default=(80, 200, 200))
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 192, 160))
    parser.add_argument("--features", type=int, nargs="+", help="per stage (default: the plan's)")
    parser.add_argument("--spacing", type=float, nargs=3, help="of the image (default: the plan's)")
    parser.add_argument("--cases", type=int, default=1)
    parser.add_argument("--mirroring", nargs="+", choices=["off", "on"], default=["off", "on"])
    parser.add_argument("--programs", nargs="+", choices=_PROGRAMS, default=_PROGRAMS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="stock's -npp and -nps")
    parser.add_argument("--output", type=Path, default=_OUTPUT)
    args = parser.parse_args()
    for model in args.models:
        with tempfile.TemporaryDirectory() as name:
            _measure_model(Path(name), model, args)


def _measure_model(root: Path, model: str, args: argparse.Namespace) -> None:
    spacing = _write_model(root, model, args.patch, args.features)
    for number in range(args.cases):
        path = root / "images" / f"case{number:03d}_0000.nii.gz"
        _write_image(path, args.shape, args.spacing or spacing, number)
    for mirroring in args.mirroring:
        asked = {
            "model": model,
            "shape": list(args.shape),
            "patch": list(args.patch),
            "features": args.features,
            "spacing": args.spacing,
            "cases": args.cases,
            "mirroring": mirroring,
            "threads": args.threads,
        }
        for number in range(args.rounds):
            for program in args.programs:
                row = asked | {"program": program, "round": number}
                if program == "stock":
                    row["workers"] = args.workers
                if not _is_there(args.output, row):
                    found = _run(root, program, mirroring == "on", args)
                    _add(args.output, row | found | environment())
        stock = _labels(root / "stock")
        for name in args.programs:
            ours = _labels(root / name)
            if name != "stock" and stock and ours:
                differing = sum(int((a != b).sum()) for a, b in zip(ours, stock, strict=True))
                sys.stderr.write(f"{model}, {name}, mirroring {mirroring}: {differing} differ\n")


def _is_there(file: Path, row: dict[str, object]) -> bool:
    lines = file.read_text().splitlines() if file.is_file() else []
    return any(row.items() <= json.loads(line).items() for line in lines)


def _add(file: Path, row: dict[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        opened.write(json.dumps(row) + "\n")
    sys.stdout.write(json.dumps(row) + "\n")


def _run(root: Path, program: str, mirroring: bool, args: argparse.Namespace) -> dict[str, float]:  # noqa: FBT001
    output = root / program
    shutil.rmtree(output, ignore_errors=True)
    variables = {f"nnUNet_{kind}": str(root / kind) for kind in ("raw", "preprocessed", "results")}
    variables |= {"OMP_NUM_THREADS": str(args.threads), "nnUNet_def_n_proc": str(args.threads)}
    variables = {**os.environ, **variables}
    model = ["-d", _NAME, "-c", "3d_fullres", "-p", _PLANS, "-tr", "nnUNetTrainer"]
    _, _, engine = program.partition("-")
    if engine:
        model = ["-m", str(_exported(root, variables)), "--engine", engine]
    options = ["-i", str(root / "images"), "-o", str(output), "-device", "cpu", "-f", "0", *model]
    options += [] if mirroring else ["--disable_tta"]
    if program == "stock":
        workers = str(args.workers)
        command = [_STOCK, *options, "--disable_progress_bar", "-npp", workers, "-nps", workers]
    else:
        command = [_UMAMBA, "predict", *options]
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", *command], env=variables, stdout=sys.stderr)
    peak = _peak_gib(process)
    if process.returncode:
        msg = f"{program} failed with exit code {process.returncode}"
        raise RuntimeError(msg)
    return {"seconds": round(time.perf_counter() - start, 1), "peak_gib": round(peak, 2)}


def _exported(root: Path, variables: dict[str, str]) -> Path:
    """Return the model as exported with networks in ONNX, which is not part of the time."""
    folder = root / "exported"
    if not folder.is_dir():
        options = ["-p", _PLANS, "-tr", "nnUNetTrainer", "-f", "0", "--onnx", "-o", str(folder)]
        command = [sys.executable, "-c", _UMAMBA, "export", _NAME, "3d_fullres", *options]
        subprocess.run(command, env=variables, check=True, stdout=sys.stderr)
    return folder


def _peak_gib(process: "subprocess.Popen[bytes]") -> float:
    """Wait for a process; return the peak of memory of it and its descendants together."""
    peak = [0.0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            peak[0] = max(peak[0], _memory(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.wait()
    over.set()
    watcher.join()
    return peak[0] / 2**30


def _memory(pid: int) -> float:
    """Return the memory of a process and its descendants; what they share counts once."""
    total = 0.0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_full_info().pss
    except psutil.Error:  # it ended meanwhile
        pass
    return total


def _labels(folder: Path) -> list[np.ndarray]:
    paths = sorted(folder.glob("*.nii.gz")) if folder.is_dir() else []
    return [SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) for path in paths]


def _write_image(path: Path, shape: tuple[int, ...], spacing: tuple[float, ...], seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal(tuple(shape), np.float32)
    image = SimpleITK.GetImageFromArray(noise)
    image.SetSpacing([float(size) for size in spacing][::-1])
    SimpleITK.WriteImage(image, str(path))


def _write_model(
    root: Path, model: str, patch: list[int], features: list[int] | None
) -> tuple[float, ...]:
    """Write an untrained model into nnU-Net's folder of results; return its spacing."""
    options = PlanOptions(_PLANS, features and tuple(features), tuple(patch))
    plans = derive_plans(example_plans(), find_architecture(model), options)
    plans["dataset_name"] = _NAME
    plans["foreground_intensity_properties_per_channel"] = {"0": {}}
    for kind, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        keywords = {"is_seg": kind == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        plans["configurations"]["3d_fullres"] |= {
            f"resampling_fn_{kind}": "resample_data_or_seg_to_shape",
            f"resampling_fn_{kind}_kwargs": keywords,
        }
    dataset_json = EXAMPLE_DATASET | {"numTraining": 1, "file_ending": ".nii.gz"}
    manager = PlansManager(plans)
    configuration = manager.get_configuration("3d_fullres")
    torch.manual_seed(0)
    network = nnUNetTrainer.build_network_architecture(
        manager,
        configuration,
        len(dataset_json["channel_names"]),
        manager.get_label_manager(dataset_json).num_segmentation_heads,
        enable_deep_supervision=False,
    )
    for kind in ("raw", "preprocessed"):
        (root / kind / _NAME).mkdir(parents=True)
    (root / "raw" / _NAME / "dataset.json").write_text(json.dumps(dataset_json))
    folder = root / "results" / _NAME / f"nnUNetTrainer__{_PLANS}__3d_fullres"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return tuple(configuration.spacing)


if __name__ == "__main__":
    main()
