"""What is fuzzed: every reader of files from elsewhere, from a valid file with damage drawn."""

import io
import json
import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz.mutation import (
    SCALARS,
    Draw,
    damage_bytes,
    damage_pickle,
    damage_plain,
    damage_png,
    damage_zip,
    packed,
    records_of,
    to_json,
)
from hypothesis import strategies as st

from exported_models import Exported
from plans_factory import DATASET_JSON, old_plans, stock_plans
from toy import NAME
from toy_model import MODEL, toy_plans, write_toy_model
from umamba.datasets.checks import Case, inspect_case
from umamba.datasets.inputs import check_case
from umamba.errors import UMambaError
from umamba.images.files import UnreadableFileError
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.model_loading import read_model
from umamba.nnunet.paths import Paths
from umamba.nnunet.plans.derivation import resolve
from umamba.nnunet.plans.networks import build_network
from umamba.nnunet.sharing.installation import install_model
from umamba.nnunet.trust import check_dataset_json, check_plans
from umamba.runtime import Predictor
from umamba.runtime.pipeline import PIPELINE
from umamba.system.checksums import sha256

EXPLAINED = (UMambaError, UnreadableFileError)
_FINAL = "checkpoint_final.pth"

Target = Callable[[Draw, Path], None]


class Targets:
    """Readers of files from elsewhere, and valid files for them, made once.

    Args:
        folder: Where they are made.
    """

    def __init__(self, folder: Path) -> None:
        from umamba.cli.main import main

        self.model = write_toy_model(folder / "results", ("0", "1"))
        self.export = folder / "model.zip"
        command = ["export", "901", "3d_fullres", "--model", "umamba_bot", "-o", str(self.export)]
        assert main([*command, "--results", str(folder / "results")]) == 0
        self.checkpoint = (self.model / "fold_0" / _FINAL).read_bytes()
        self.plans = [stock_plans(), stock_plans(residual=True), old_plans(), toy_plans()]
        self.pipeline = Exported(folder / "exported")
        self.images = _write_images(folder / "images")
        read_model(self.model, (), _FINAL)  # imports what would count as the first input's time

    def checkpoint_file(self, draw: Draw, work: Path) -> None:
        """Read a checkpoint with damage in its bytes, or in its instructions."""
        if draw(st.integers(0, 3)) == 0:
            content = damage_bytes(draw, self.checkpoint)
        else:
            records = records_of(self.checkpoint)
            name = next(name for name in records if name.endswith("data.pkl"))
            records[name] = damage_pickle(draw, records[name])
            content = packed(records)
        (work / _FINAL).write_bytes(content)
        read_checkpoint(work / _FINAL)

    def plan_values(self, draw: Draw, work: Path) -> None:
        """Check plans, and build every network that they describe."""
        content = damage_plain(draw, draw(st.sampled_from(self.plans)))
        file = work / "plans.json"
        check_plans(content, file, trusted=draw(st.booleans()))
        for name in content["configurations"]:
            resolve(content, name)
            build_network(content, DATASET_JSON, name, file=file)

    def dataset_json(self, draw: Draw, work: Path) -> None:
        """Check a `dataset.json`, and build a network for it."""
        labels = {"background": 0, "whole": [1, 2], "core": [2]}
        regions = DATASET_JSON | {"labels": labels, "regions_class_order": [1, 2]}
        content = damage_plain(draw, draw(st.sampled_from([DATASET_JSON, regions])))
        file = work / "dataset.json"
        check_dataset_json(content, file)
        build_network(stock_plans(), content, "3d_fullres", file=file)

    def model_folder(self, draw: Draw, work: Path) -> None:
        """Load a model folder."""
        folder = work / MODEL
        contents = {
            "plans.json": toy_plans(),
            "dataset.json": deepcopy(DATASET_JSON),
            _FINAL: torch.load(io.BytesIO(self.checkpoint), weights_only=True),
        }
        damaged = draw(st.sampled_from([*contents, _FINAL]))
        (folder / "fold_0").mkdir(parents=True)
        for name in ("plans.json", "dataset.json"):
            content = contents[name]
            text = to_json(draw, damage_plain(draw, content)) if name == damaged else None
            (folder / name).write_bytes(text or json.dumps(content).encode())
        checkpoint = contents[_FINAL]
        if damaged == _FINAL:
            checkpoint = _damage_checkpoint(draw, checkpoint)
        torch.save(checkpoint, folder / "fold_0" / _FINAL)
        read_model(folder, (), _FINAL).build()

    def zip_file(self, draw: Draw, work: Path) -> None:
        """Install an exported zip file."""
        (work / "model.zip").write_bytes(damage_zip(draw, self.export.read_bytes()))
        _install(work / "model.zip", work)

    def stock_zip(self, draw: Draw, work: Path) -> None:
        """Install a zip file of stock nnU-Net."""
        records = {
            f"{NAME}/{MODEL}/{path.relative_to(self.model).as_posix()}": path.read_bytes()
            for path in sorted(self.model.rglob("*"))
            if path.suffix in (".pth", ".json")
        }
        (work / "model.zip").write_bytes(damage_zip(draw, packed(records)))
        _install(work / "model.zip", work)

    def manifest(self, draw: Draw, work: Path) -> None:
        """Install an exported folder whose checksums fit the damage."""
        folder = work / "model"
        for name, content in records_of(self.export.read_bytes()).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        content = json.loads((folder / "manifest.json").read_text())
        name = draw(st.sampled_from(["plans.json", "dataset.json", "manifest.json"]))
        if name != "manifest.json":
            damaged = damage_plain(draw, json.loads((folder / name).read_text()))
            (folder / name).write_bytes(to_json(draw, damaged))
            raw = (folder / name).read_bytes()
            content["files"][name] = {"bytes": len(raw), "sha256": sha256(folder / name)}
        else:
            content = damage_plain(draw, content)
        (folder / "manifest.json").write_text(json.dumps(content))
        _install(folder, work)

    def exported(self, draw: Draw, work: Path) -> None:
        """Load an exported model whose description or network is damaged, and predict."""
        folder = work / "exported"
        shutil.copytree(self.pipeline.folder, folder)
        content = json.loads((folder / PIPELINE).read_text())
        network = folder / "fold_0.onnx"
        if draw(st.booleans()):
            content = damage_plain(draw, content)
        else:
            network.write_bytes(damage_bytes(draw, network.read_bytes()))
            size, digest = network.stat().st_size, sha256(network)
            content["networks"][0] |= {"bytes": size, "sha256": digest}
        (folder / PIPELINE).write_bytes(to_json(draw, content))
        with Predictor(folder, engine="onnxruntime", threads=1) as predictor:
            predictor(np.ones((1, 6, 9, 7), np.float32), (1.0, 1.0, 1.0))

    def image(self, endings: tuple[str, ...]) -> Target:
        """Return what reads an image and a mask of one of these endings."""

        def read(draw: Draw, work: Path) -> None:
            chosen = [name for name in self.images if name.endswith(endings)]
            name = draw(st.sampled_from(chosen))
            damage = damage_png if name.endswith(".png") else damage_bytes
            path = work / name
            path.write_bytes(damage(draw, self.images[name]))
            ending = "." + name.partition(".")[2]
            description = {"channel_names": {"0": "A"}, "file_ending": ending}
            check_case(Case("a", (path,), None), description)
            inspect_case(Case("a", (), path))

        return read

    def named(self) -> dict[str, Target]:
        """Return all targets by name; each draws damage and reads the result."""
        return {
            "checkpoint": self.checkpoint_file,
            "plans": self.plan_values,
            "dataset.json": self.dataset_json,
            "model folder": self.model_folder,
            "export": self.zip_file,
            "stock zip": self.stock_zip,
            "manifest": self.manifest,
            "exported": self.exported,
            "NIfTI": self.image((".nii", ".nii.gz")),
            "PNG": self.image((".png",)),
            "other images": self.image((".tif", ".mha", ".nrrd")),
        }


def _write_images(folder: Path) -> dict[str, bytes]:
    import numpy as np
    import SimpleITK
    import tifffile
    from skimage.io import imsave

    folder.mkdir()
    rng = np.random.default_rng(0)
    image = SimpleITK.GetImageFromArray(rng.normal(size=(4, 9, 7)).astype(np.float32))
    for ending in (".nii", ".nii.gz", ".mha", ".nrrd"):
        SimpleITK.WriteImage(image, str(folder / f"a{ending}"))
    pixels = rng.integers(0, 255, (20, 30), np.uint8)
    imsave(folder / "a.png", pixels, check_contrast=False)
    imsave(folder / "b.png", np.stack([pixels] * 3, -1), check_contrast=False)
    tifffile.imwrite(folder / "a.tif", np.stack([pixels] * 3))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _damage_checkpoint(draw: Draw, checkpoint: dict[str, Any]) -> Any:
    weights = checkpoint["network_weights"]
    kind = draw(st.sampled_from(["entries", "weight", "dtype", "prefix", "name"]))
    name = draw(st.sampled_from(sorted(weights)))
    if kind == "entries":
        values = [value for value in SCALARS if isinstance(value, (int, float, str, type(None)))]
        return damage_plain(draw, checkpoint, [*values, [], {}, [0] * 40, [5], ["a"]])
    if kind == "weight":
        damaged = [torch.zeros(()), weights[name][:0], weights[name] * float("nan"), 3, None]
        weights[name] = damaged[draw(st.integers(0, len(damaged) - 1))]
    elif kind == "dtype":
        names = ["float16", "bfloat16", "float64", "int64", "complex64", "bool", "uint16"]
        dtype = getattr(torch, draw(st.sampled_from(names)))
        checkpoint["network_weights"] = {key: value.to(dtype) for key, value in weights.items()}
    elif kind == "prefix":
        prefix = draw(st.sampled_from(["module.", "_orig_mod.", "module._orig_mod.", "x."]))
        checkpoint["network_weights"] = {f"{prefix}{key}": w for key, w in weights.items()}
    else:
        weights[str(draw(st.sampled_from(["", "a\nb", "\x1b[2J", "x"])))] = weights.pop(name)
    return checkpoint


def _install(source: Path, work: Path) -> None:
    """Install, and check that nothing lies elsewhere than below the results."""
    before = {path for path in work.rglob("*") if "results" not in path.parts}
    home = set(os.listdir(work.parent))  # noqa: PTH208 - names only
    try:
        install_model(source, Paths(None, None, work / "results"))
    finally:
        after = {path for path in work.rglob("*") if "results" not in path.parts}
        assert after == before, after ^ before
        assert set(os.listdir(work.parent)) == home  # noqa: PTH208
