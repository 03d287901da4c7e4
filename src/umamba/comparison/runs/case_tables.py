"""The user's tables of clusters or groups of cases."""

import csv
from collections.abc import Collection, Mapping
from pathlib import Path

from umamba.errors import ComparisonError
from umamba.system.path_names import no_plain_file
from umamba.system.spreadsheets import unguarded

__all__ = ["check_cases", "check_test_names", "read_case_table", "read_csv"]

_LONGEST_HEADER = 2**20


def read_case_table(file: Path, column: str) -> dict[str, str]:
    """Read the cluster or group of each case from a CSV file with `case` and another column.

    Args:
        file: The file.
        column: Name of the other column.

    Raises:
        ComparisonError: If the file cannot be read, or has other columns, an empty cell, or a case
            twice.
    """
    wanted = f"a CSV file with the header case,{column} and a line per case"
    rows = read_csv(file, wanted)
    header = rows[0][1] if rows else []
    if sorted(header) != sorted(["case", column]):
        found = ",".join(header) or "nothing"
        msg = f"{file}: the first line is {found}; give {wanted}"
        raise ComparisonError(msg)
    found_in: dict[str, str] = {}
    for line, cells in rows[1:]:
        if len(cells) != len(header) or not all(cells):
            msg = f"{file}, line {line}: {','.join(cells)} is not a case and its {column}"
            raise ComparisonError(msg)
        named = dict(zip(header, cells, strict=True))
        if named["case"] in found_in:
            msg = (
                f"{file}, line {line}: case {named['case']} occurs a second time; name it only once"
            )
            raise ComparisonError(msg)
        found_in[named["case"]] = named[column]
    if not found_in:
        msg = f"{file} names no case; give {wanted}"
        raise ComparisonError(msg)
    return found_in


def read_csv(file: Path, wanted: str, delimiters: str = ",") -> list[tuple[int, list[str]]]:
    """Read a CSV file of unknown origin.

    Args:
        file: The file.
        wanted: What to give instead, for the message.
        delimiters: Characters that may separate cells; the most frequent in the first line does.

    Returns:
        The number of each line, and its cells; those without any text are left out.

    Raises:
        ComparisonError: If the file cannot be read.
    """
    try:
        reason: object = no_plain_file(file)
        if not reason:
            with file.open(newline="", encoding="utf-8-sig") as stream:
                begin = stream.readline(_LONGEST_HEADER)
                stream.seek(0)
                reader = csv.reader(stream, strict=True, delimiter=max(delimiters, key=begin.count))
                rows = (
                    (reader.line_num, [unguarded(cell.strip()) for cell in cells])
                    for cells in reader
                )
                return [(number, cells) for number, cells in rows if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
    msg = f"{file} cannot be read: {reason}; give {wanted}"
    raise ComparisonError(msg)


def check_cases(
    option: str,
    table: Mapping[str, str],
    compared: Collection[str],
    known: Collection[str],
) -> None:
    """Check that a table names all compared cases, and only cases that exist.

    Args:
        option: The option with which the table was given.
        table: A result of `read_case_table`, or an empty table.
        compared: The cases that are compared.
        known: All cases of the data set.

    Raises:
        ComparisonError: If that is not so.
    """
    if not table:
        return
    if unknown := sorted(table.keys() - set(known)):
        msg = f"{option}: {_listed(unknown)} not in the data set; use the names of its masks"
        raise ComparisonError(msg)
    if missing := sorted(set(compared) - table.keys()):
        msg = f"{option}: {_listed(missing)} missing; name every compared case"
        raise ComparisonError(msg)


def check_test_names(
    option: str,
    table: Mapping[str, str],
    trained: Collection[str],
    tested: Collection[str],
    same_image: Mapping[str, str] | None,
) -> None:
    """Check that a table by name can tell the cases of a test set from those of training.

    Args:
        option: The option with which the table was given.
        table: A result of `read_case_table`, or an empty table.
        trained: The cases of the data set that models are trained on.
        tested: The cases of the test set.
        same_image: By test case, the training case with the same image; `None` if nobody knows.

    Raises:
        ComparisonError: If a test case has the name of a training case with another image.
    """
    if not table:
        return
    known = same_image or {}
    if twice := sorted(case for case in {*trained} & {*tested} if known.get(case) != case):
        others = "other images" if same_image is not None else "images that were not compared"
        msg = (
            f"{option}: {_listed(twice)} in the test set and, with {others}, in the data set: a "
            "table of names cannot tell them apart; give the test cases other names, and another "
            "--output"
        )
        raise ComparisonError(msg)


def _listed(cases: list[str]) -> str:
    if len(cases) == 1:
        return f"case {cases[0]} is"
    more = f" and {len(cases) - 3} more" if len(cases) > 3 else ""
    return f"cases {', '.join(cases[:3])}{more} are"
