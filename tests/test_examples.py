"""The notebooks of `examples` run from their first cells to their last, and its script draws."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import SimpleITK

from reference_cases import REPOSITORY
from umamba.system.environment import environment

HIPPOCAMPI = Path(os.environ.get("UMAMBA_TEST_DATA", "")) / "hippocampus_msd"


def executed(name: str, folder: Path) -> Any:
    """Run a notebook in a folder, and return its cells."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(REPOSITORY / "examples" / f"{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "kept without outputs"
    NotebookClient(notebook, timeout=900).execute(cwd=str(folder))
    return notebook.cells


@pytest.mark.nnunet
@pytest.mark.slow
def test_twelve_hippocampi_are_planned_trained_predicted_and_compared(tmp_path: Path) -> None:
    """The real ones where they are at hand, else those that the notebook draws."""
    variables = {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0"}
    if HIPPOCAMPI.is_dir():
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "imagesTr").symlink_to(HIPPOCAMPI.resolve() / "images")
        (tmp_path / "source" / "labelsTr").symlink_to(HIPPOCAMPI.resolve() / "labels")
        variables["HIPPOCAMPUS"] = str(tmp_path / "source")
    with environment(**variables):
        cells = executed("hippocampus", tmp_path)
    work = tmp_path / "hippocampus"
    assert len(list((work / "images").iterdir())) == 12
    segmented = sorted((work / "predictions").glob("*.nii.gz"))
    assert len(segmented) == 2
    for path in segmented:
        mask = SimpleITK.ReadImage(str(work / "masks" / path.name))
        assert SimpleITK.ReadImage(str(path)).GetSize() == mask.GetSize()
    results = json.loads((work / "comparison" / "results.json").read_text())
    trainings = {(row["model"], row["fold"]): row["status"] for row in results["trainings"]}
    assert trainings == {(m, f): "done" for m in ("nnunet", "umamba_bot") for f in (0, 1)}
    means = cells[-2].outputs[0]["data"]["text/plain"]
    assert {"nnunet", "umamba_bot", "anterior", "posterior"} <= set(means.split())


@pytest.mark.slow
def test_mamba_looks_farther_than_convolutions(tmp_path: Path) -> None:
    outputs = [
        output["data"]["text/plain"]
        for cell in executed("state_space_models", tmp_path)
        for output in cell.get("outputs", [])
        if output["output_type"] == "execute_result"
    ]
    difference, shares = (ast.literal_eval(outputs[i]) for i in (0, -1))
    assert difference < 1e-4
    near, far = shares["without"]["near"], shares["without"]["far"]
    assert near > 0.95 > 0.7 > far
    assert min(shares["with Mamba"].values()) > 0.95


@pytest.mark.slow
def test_figures_of_the_explanations_are_drawn(tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "examples" / "draw_figures.py"), str(tmp_path)]
    subprocess.run(command, check=True)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (REPOSITORY / "docs" / "explanation").glob("*.svg")}
    for path in tmp_path.iterdir():
        assert "var(--ink)" in path.read_text(encoding="utf-8")
