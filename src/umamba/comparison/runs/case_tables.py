"""The user's tables of clusters or groups of cases."""

import csv
from collections.abc import Collection, Mapping
from pathlib import Path

from umamba.errors import ComparisonError

__all__ = ["check_cases", "read_case_table"]


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
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.reader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"{file} cannot be read: {reason}; give {wanted}"
        raise ComparisonError(msg) from None
    header = [name.strip() for name in rows[0]] if rows else []
    if sorted(header) != sorted(["case", column]):
        found = ",".join(header) or "nothing"
        msg = f"{file}: the first line is {found}; give {wanted}"
        raise ComparisonError(msg)
    found_in: dict[str, str] = {}
    for line, row in enumerate(rows[1:], start=2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != len(header) or not all(cells):
            msg = f"{file}, line {line}: {','.join(row)} is not a case and its {column}"
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


def _listed(cases: list[str]) -> str:
    if len(cases) == 1:
        return f"case {cases[0]} is"
    more = f" and {len(cases) - 3} more" if len(cases) > 3 else ""
    return f"cases {', '.join(cases[:3])}{more} are"
