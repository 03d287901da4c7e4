"""Tables of clusters and groups, and what is wrong with them."""

from pathlib import Path

import pytest

from umamba.comparison.runs.case_tables import check_cases, read_case_table
from umamba.errors import ComparisonError


def test_columns_in_any_order_and_spaces_and_a_mark_of_utf8(tmp_path: Path) -> None:
    file = tmp_path / "clusters.csv"
    file.write_text('\ufeffcluster, case\nAnna,"a, 1"\n\n Bo ,b\n', encoding="utf-8")
    assert read_case_table(file, "cluster") == {"a, 1": "Anna", "b": "Bo"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line is nothing; give a CSV file with the header case,cluster"),
        ("case,group\na,1\n", "the first line is case,group; give"),
        ("a,1\nb,2\n", "the first line is a,1; give"),
        ("case,cluster\n", "names no case"),
        ("case,cluster\na,1\nb,\n", "line 3: b, is not a case and its cluster"),
        ("case,cluster\na,1,2\n", "line 2: a,1,2 is not a case and its cluster"),
        ("case,cluster\na,1\nb,1\na,2\n", "line 4: case a occurs a second time"),
        ('case,cluster\n"a,1\n', "cannot be read: unexpected end of data"),
    ],
)
def test_tables_that_say_something_else(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "clusters.csv"
    file.write_text(text)
    with pytest.raises(ComparisonError) as caught:
        read_case_table(file, "cluster")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value).replace("line", "")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match=r"no\.csv cannot be read: No such file"):
        read_case_table(tmp_path / "no.csv", "cluster")
    (tmp_path / "binary.csv").write_bytes(b"case,cluster\n\xff\xfe,1\n")
    with pytest.raises(ComparisonError, match=r"binary\.csv cannot be read: 'utf-8' codec"):
        read_case_table(tmp_path / "binary.csv", "cluster")


def test_all_cases_are_named_and_no_other() -> None:
    known = {"a", "b", "c", "d", "e", "f"}
    check_cases("--groups", {}, {"a"}, known)
    check_cases("--groups", dict.fromkeys(known, "x"), {"a", "b"}, known)  # of other folds
    with pytest.raises(ComparisonError, match=r"^--groups: case z is not in the data set"):
        check_cases("--groups", {"a": "x", "z": "x"}, {"a"}, known)
    with pytest.raises(ComparisonError, match=r"cases b, c, d and 2 more are missing; name every"):
        check_cases("--groups", {"a": "x"}, known, known)
