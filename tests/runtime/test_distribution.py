"""The distribution `umamba-runtime` predicts in an environment that has nothing else."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from exported_models import Exported
from reference_cases import REPOSITORY

DISTRIBUTION = REPOSITORY / "distributions" / "runtime"
SHIPPED = set(re.findall(r'= "umamba/(\w+)', (DISTRIBUTION / "pyproject.toml").read_text()))
BLOCKED = ("torch", "nnunetv2", "batchgenerators", "acvl_utils", "skimage", "matplotlib")
PREDICT = """
import sys
for name in sys.argv.pop().split(","):
    sys.modules[name] = None
from umamba.runtime.__main__ import main
code = main(sys.argv[1:])
print(*sorted({name.split(".")[1] for name in sys.modules if name.startswith("umamba.")}))
sys.exit(code)
"""


def predict(tmp_path: Path, python: Path, *blocked: str, **environment: str) -> set[str]:
    """Predict in another process; return the rooms of umamba that it imported."""
    (tmp_path / "images").mkdir()
    voxels = np.random.default_rng(0).normal(size=(12, 18, 9)).astype(np.float32)
    image = nibabel.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0]))
    nibabel.save(image, tmp_path / "images" / "case_0000.nii.gz")
    exported = Exported(tmp_path / "model")
    folders = [str(tmp_path / name) for name in ("model", "images", "out")]
    command = [folders[0], "-i", folders[1], "-o", folders[2], "--engine", "onnxruntime"]
    result = subprocess.run(
        [str(python), "-c", PREDICT, *command, ",".join(blocked) or "none"],
        capture_output=True,
        text=True,
        check=False,
        env=environment or None,
    )
    assert result.returncode == 0, result.stderr
    labels = np.asarray(nibabel.load(tmp_path / "out" / "case.nii.gz").dataobj).T
    want = exported.stock_labels(voxels.T[None], (3.0, 2.0, 1.0))
    assert (labels != want).mean() < 1e-3
    return set(result.stdout.splitlines()[-1].split())


def test_nothing_of_torch_or_nnunet_is_imported(tmp_path: Path) -> None:
    assert predict(tmp_path, Path(sys.executable), *BLOCKED) <= SHIPPED


@pytest.mark.slow
def test_the_distribution_predicts_alone(tmp_path: Path) -> None:
    """Needs a package index; run with `pytest -m slow tests/runtime/test_distribution.py`."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet"]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([*pip, f"{DISTRIBUTION}[onnxruntime]"], check=True, env=clean)
    installed = subprocess.run(
        [python, "-m", "pip", "list"], check=True, capture_output=True, text=True, env=clean
    ).stdout
    assert "umamba-runtime" in installed
    assert "torch" not in installed
    assert "nnunet" not in installed
    assert predict(tmp_path, python, **clean) <= SHIPPED
