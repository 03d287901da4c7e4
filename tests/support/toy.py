"""A toy data set of bright and dark blobs, and nnU-Net's folders around it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from umamba.cli.main import main

NAME = "Dataset901_Toy"
PLANS = "nnUNetUMambaBotPlans"


def write_toy_images(folder: Path, n_cases: int = 6, shape: tuple[int, ...] = (12, 24, 20)) -> None:
    """Write `images` and `masks`: label 1 a bright box, label 2 a dark box inside it."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for i in range(n_cases):
        mask = np.zeros(shape, np.uint8)
        z, y, x = (int(rng.integers(1, size // 4)) for size in shape)
        mask[z : z + 8, y : y + 14, x : x + 12] = 1
        mask[z + 2 : z + 6, y + 4 : y + 10, x + 3 : x + 9] = 2
        values = np.array([0.0, 4.0, -4.0])[mask] + rng.normal(size=shape)
        for kind, array in (("images", values.astype(np.float32)), ("masks", mask)):
            image = SimpleITK.GetImageFromArray(array)
            image.SetSpacing((1.0, 1.2, 2.0))
            image.SetOrigin((5.0, -3.0, 11.0))
            SimpleITK.WriteImage(image, str(folder / kind / f"case_{i}.nii.gz"))


def folder_options(root: Path) -> list[str]:
    """The options that name nnU-Net's folders below a root."""
    return [
        part
        for name in ("raw", "preprocessed", "results")
        for part in (f"--{name}", str(root / name))
    ]


def prepare_toy(root: Path) -> None:
    """Make the data set and plans of a tiny UMambaBot by our commands."""
    write_toy_images(root / "source")
    images, masks = str(root / "source/images"), str(root / "source/masks")
    made = ["dataset", NAME, "--images", images, "--masks", masks, "--raw", str(root / "raw")]
    assert main([*made, "--labels", "background=0", "big=1", "small=2"]) == 0
    plan = ["plan", "901", "--model", "umamba_bot", "--features", "4,8"]
    plan += ["--patch-size", "8", "16", "16", "--batch-size", "2", *folder_options(root)]
    assert main(plan) == 0


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def voxels(path: Path) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
