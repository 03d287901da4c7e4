"""Names in tables are never formulas to a spreadsheet, and are read as they were."""

import csv
import io
from pathlib import Path

from umamba.comparison.runs.case_tables import read_csv
from umamba.evaluation.summary import as_csv

NAMES = ["=HYPERLINK(1)", "+a", "-1+2", "@x", "'quoted", "a=b", "-3", "="]


def test_names_are_no_formulas_and_numbers_stay_numbers(tmp_path: Path) -> None:
    rows = [{"case": name, "dice": -0.5} for name in NAMES]
    text = as_csv(["case", "dice"], rows)
    cells = [row["case"] for row in csv.DictReader(io.StringIO(text))]
    assert cells == ["'=HYPERLINK(1)", "'+a", "'-1+2", "'@x", "'quoted", "a=b", "-3", "'="]
    assert text.count(",-0.5\n") == len(NAMES)
    (tmp_path / "cases.csv").write_text(text)
    read = read_csv(tmp_path / "cases.csv", "a table")[1:]
    assert [cells for _, cells in read] == [[name, "-0.5"] for name in NAMES]
