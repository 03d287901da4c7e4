"""Tables of scores: CSV, or JSON as a list of rows, with every cell still as it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umamba.comparison.runs.case_tables import read_csv
from umamba.errors import ComparisonError, quoted
from umamba.system.json_files import load_json_list

__all__ = ["WANTED", "ScoreTable", "read_table"]

WANTED = "a table with the header case,MODEL,MODEL,... or case,model,score"


@dataclass(frozen=True)
class ScoreTable:
    """A table as it is written.

    Attributes:
        file: The file.
        columns: Names of the columns.
        rows: Place in the file, for messages, and cells by column; cells may be missing.
    """

    file: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, Mapping[str, Any]], ...]


def read_table(file: Path) -> ScoreTable:
    """Read a table from a CSV or JSON file.

    Raises:
        UMambaError: If it cannot be read, or its rows do not have the columns of a header.
    """
    table = _from_json(file) if file.suffix.lower() == ".json" else _from_csv(file)
    if not table.rows:
        msg = f"{file} holds no row of scores; give {WANTED}"
        raise ComparisonError(msg)
    return table


def _from_csv(file: Path) -> ScoreTable:
    lines = read_csv(file, WANTED, ",;\t")
    if not lines:
        msg = f"{file} is empty; give {WANTED}"
        raise ComparisonError(msg)
    header = lines[0][1]
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            msg = (
                f"{file}, line {number} has {len(cells)} cells, the header {len(header)}; give "
                "every line as many"
            )
            raise ComparisonError(msg)
        named = zip(header, cells, strict=True)
        rows.append((f"line {number}", {name: cell for name, cell in named if name}))
    # A column without a name holds the numbers of rows, as pandas writes them.
    return ScoreTable(file, _unique(file, [name for name in header if name]), tuple(rows))


def _from_json(file: Path) -> ScoreTable:
    rows = []
    columns: dict[str, None] = {}
    for number, row in enumerate(load_json_list(file), start=1):
        if not isinstance(row, dict):
            msg = f"{file}, row {number}: {quoted(row)} is not an object with a key per column"
            raise ComparisonError(msg)
        columns |= dict.fromkeys(row)
        rows.append((f"row {number}", row))
    return ScoreTable(file, tuple(columns), tuple(rows))


def _unique(file: Path, names: Sequence[str]) -> tuple[str, ...]:
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        msg = f"{file} has two columns {quoted(repeated)}; give each column a name of its own"
        raise ComparisonError(msg)
    return tuple(names)
