"""The notebook of `examples` runs from its first cell to its last."""

import json
import os
from pathlib import Path

import pytest
import SimpleITK

from reference_cases import REPOSITORY
from umamba.system.environment import environment

HIPPOCAMPI = Path(os.environ.get("UMAMBA_TEST_DATA", "")) / "hippocampus_msd"


@pytest.mark.nnunet
@pytest.mark.slow
def test_twelve_hippocampi_are_planned_trained_predicted_and_compared(tmp_path: Path) -> None:
    """The real ones where they are at hand, else those that the notebook draws."""
    import nbformat
    from nbclient import NotebookClient

    variables = {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0"}
    if HIPPOCAMPI.is_dir():
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "imagesTr").symlink_to(HIPPOCAMPI.resolve() / "images")
        (tmp_path / "source" / "labelsTr").symlink_to(HIPPOCAMPI.resolve() / "labels")
        variables["HIPPOCAMPUS"] = str(tmp_path / "source")
    notebook = nbformat.read(REPOSITORY / "examples" / "hippocampus.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "kept without outputs"
    with environment(**variables):
        NotebookClient(notebook, timeout=300).execute(cwd=str(tmp_path))
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
    means = notebook.cells[-2].outputs[0]["data"]["text/plain"]
    assert {"nnunet", "umamba_bot", "anterior", "posterior"} <= set(means.split())
