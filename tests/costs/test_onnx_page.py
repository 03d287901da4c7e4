"""The reference page of ONNX files: rows of models are measured, and others stay."""

import re
from pathlib import Path

import pytest

from reference_cases import REPOSITORY
from umamba import registry
from umamba.costs.onnx_page import update_page
from umamba.onnx_export import TOLERANCE

PAGE = REPOSITORY / "docs" / "reference" / "onnx.md"


def rows(page: Path) -> dict[tuple[str, str], list[str]]:
    lines = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(row[0].strip("`"), row[1]): row for row in cells}


def test_networks_agree_with_torch_in_every_engine() -> None:
    found = rows(PAGE)
    wanted = {(a.name, f"{n}D") for a in registry.architectures() for n in a.dims}
    assert set(found) == wanted
    assert not any(row[-1] for row in found.values())
    assert max(float(cell) for row in found.values() for cell in row[4:6]) < TOLERANCE


@pytest.mark.slow  # measures
def test_the_rows_of_a_model_are_replaced_and_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "onnx.md"
    page.write_text(re.sub(r"(\| `nnunet` +\| +.D \| +)\S+", r"\1old", PAGE.read_text()))
    before = rows(page)
    assert before["nnunet", "2D"][2] == before["nnunet", "3D"][2] == "old"
    update_page(page, ["nnunet"])
    after = rows(page)
    assert set(after) == set(before)
    assert {key for key in after if after[key] != before[key]} == {
        ("nnunet", "2D"),
        ("nnunet", "3D"),
    }
    assert after["nnunet", "2D"][2] == "128x256"
