"""Peak memory of prediction: a synthetic volume, many classes, a tiny untrained network.

Each prediction is a process of its own, and its peak what the operating system says of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from benchmarks.environment import environment

_PATCH = 128
_OURS = "from umamba.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"
_STOCK = """
import sys, torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
model, images, output = sys.argv[1:]
stock = nnUNetPredictor(1.0, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
stock.initialize_from_trained_model_folder(model, (0,))
stock.predict_from_files_sequential(images, output)
"""


def main() -> None:
    """Measure what the command line asks for, and add it to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(735, 512, 512))
    parser.add_argument("--spacing", type=float, default=1.0, help="of the network; the image's: 1")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--stock", action="store_true", help="predict with stock nnU-Net, too")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/prediction-memory.jsonl")
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        row = _measure(Path(name), args)
    with args.output.open("a") as file:
        file.write(json.dumps(row) + "\n")
    sys.stdout.write(json.dumps(row, indent=2) + "\n")


def _measure(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    _write_model(folder / "model", args.spacing, args.classes)
    _write_image(folder / "images" / "case_0000.nii.gz", tuple(args.shape))
    model, images = str(folder / "model"), str(folder / "images")
    ours = ["predict", "-m", model, "-i", images, "-o", str(folder / "ours"), "-device", "cpu"]
    row: dict[str, object] = {
        "shape": args.shape,
        "classes": args.classes,
        "network_spacing": args.spacing,
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads(),
        "device": "cpu",
        "ours": _run(_OURS, [*ours, "--disable_tta", "-step_size", "1.0"]),
    }
    if args.stock:
        (folder / "stock").mkdir()
        row["stock"] = _run(_STOCK, [model, images, str(folder / "stock")])
        labels = [_read(folder / name / "case.nii.gz") for name in ("ours", "stock")]
        row["same_labels"] = bool(np.array_equal(*labels))
    return row | environment()


def _run(program: str, arguments: list[str]) -> dict[str, float]:
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        msg = f"prediction failed with exit code {process.returncode}"
        raise RuntimeError(msg)
    return {
        "peak_gib": round(usage.ru_maxrss / 2**20, 2),
        "seconds": round(time.perf_counter() - start, 1),
    }


def _write_image(path: Path, shape: tuple[int, ...]) -> None:
    path.parent.mkdir()
    noise = np.random.default_rng(0).standard_normal((32, *shape[1:]), np.float32)
    volume = np.resize(noise, shape)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume), str(path))


def _read(path: Path) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def _write_model(folder: Path, spacing: float, n_classes: int) -> None:
    labels = {"background": 0} | {f"class_{i}": i for i in range(1, n_classes)}
    dataset_json = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    plans = _plans(spacing)
    manager = PlansManager(plans)
    configuration = manager.get_configuration("3d_fullres")
    torch.manual_seed(0)
    network = nnUNetTrainer.build_network_architecture(
        manager, configuration, 1, n_classes, enable_deep_supervision=False
    )
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset_json | {"numTraining": 1}))
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def _plans(spacing: float) -> dict[str, object]:
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    network = {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 2,
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "data_identifier": "synthetic",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [_PATCH] * 3,
        "spacing": [spacing] * 3,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        **{f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in _RESAMPLED},
        **{f"resampling_fn_{kind}_kwargs": resampling for kind in _RESAMPLED},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": network,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    return {
        "dataset_name": "Dataset999_Synthetic",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},
    }


_RESAMPLED = ("data", "seg", "probabilities")

if __name__ == "__main__":
    main()
