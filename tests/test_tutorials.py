"""The tutorials work as they are written, one after another, on tiny images with tiny budgets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from snippets import TUTORIALS, snippets_of


def draw_hippocampi(folder: Path) -> None:
    """Write images and masks of two parts under the names of the download."""
    rng = np.random.default_rng(0)
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    for number in (1, 3, 14, 15, 17, 19, 23, 34):
        mask = np.zeros((12, 24, 20), np.uint8)
        mask[3:9, 4:11, 5:15], mask[3:9, 11:18, 5:15] = 1, 2
        image = np.array([0, 4, -4], np.float32)[mask] + rng.normal(size=mask.shape)
        for kind, array in (("imagesTr", image.astype(np.float32)), ("labelsTr", mask)):
            target = folder / kind / f"hippocampus_{number:03d}.nii.gz"
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(target))


@pytest.mark.nnunet
@pytest.mark.slow
def test_tutorials_work_in_order(tmp_path: Path) -> None:
    draw_hippocampi(tmp_path / "Task04_Hippocampus")
    tested = [s.as_tested for page in TUTORIALS for s in snippets_of(page)]
    variables = {name: text for name, text in os.environ.items() if "nnUNet_" not in name}
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), variables["PATH"]])
    variables |= {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0", "OMP_NUM_THREADS": "1"}
    (tmp_path / "tutorials.sh").write_text("\n".join(tested), encoding="utf-8")
    run = subprocess.run(
        ["bash", "-ex", "tutorials.sh"],
        check=False,
        cwd=tmp_path,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    for folder in ("predictions", "predictions_again"):
        segmented = sorted(path.name for path in (tmp_path / folder).glob("*.nii.gz"))
        assert segmented == ["hippocampus_001.nii.gz", "hippocampus_003.nii.gz"]
    assert (tmp_path / "scores.html").is_file()
    results = json.loads(
        (tmp_path / "umamba-compare/Dataset004_Hippocampus/results.json").read_text()
    )
    done = {(t["model"], t["fold"]) for t in results["trainings"] if t["status"] == "done"}
    assert done == {(model, fold) for model in ("nnunet", "umamba_bot") for fold in (0, 1)}
    assert results["settings"]["analysis"]["margin"] == 2
