"""Tables of reports, and their layout in Markdown that is readable as it stands."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from umamba.system.terminal import one_line

__all__ = ["BoldCell", "Note", "Table", "markdown_list", "markdown_table", "plain"]

# Marks of Markdown. Underscores within words and brackets without a link are none.
_ESCAPED = re.compile(r"\\(?=[!-/:-@\[-`{-~])|[*`~]|(?<![^\W_])_+|_+(?![^\W_])|\](?=[(\[:])")
_TAG, _ENTITY = re.compile(r"<(?=[A-Za-z/!?])"), re.compile(r"&(?=#?\w+;)")
_FIRST = re.compile(r"^(?=[#>+=-])|(?<=^\d)(?=[.)]\s)|(?<=^\d\d)(?=[.)]\s)")


def plain(text: str) -> str:
    """Return Markdown that shows a text as it is, whatever marks the names in it have."""
    return _FIRST.sub(r"\\", _marks_escaped(text), count=1)


def _marks_escaped(text: str) -> str:
    """Return Markdown that shows a text which does not begin a line."""
    text = _ESCAPED.sub(lambda found: "".join(f"\\{mark}" for mark in found[0]), text)
    return _TAG.sub("&lt;", _ENTITY.sub("&amp;", text))


class BoldCell(str):
    """The text of a cell whose first part is bold; all other cells are plain text.

    Args:
        bold: The bold part.
        rest: What follows, after a space.
    """

    bold: str
    rest: str
    __slots__ = ("bold", "rest")

    def __new__(cls, bold: str, rest: str = "") -> "BoldCell":
        """Make the cell."""
        cell = super().__new__(cls, f"{bold} {rest}".rstrip())
        cell.bold, cell.rest = bold, rest
        return cell


@dataclass(frozen=True)
class Note:
    """A paragraph of plain text, and a list that belongs to it; either may be empty."""

    text: str = ""
    items: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """Return paragraph and list."""
        return "\n".join(filter(None, [plain(self.text), markdown_list(self.items)]))


@dataclass(frozen=True)
class Table:
    """A table of formatted cells, which reports lay out in their own way.

    Args:
        header: Titles of the columns.
        rows: The cells of the body: text, or a `BoldCell`.
        texts: Columns that hold text; the others hold numbers.
        title: A line above; "" for none.
        notes: Explanations below.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: tuple[int, ...] = (0,)
    title: str = ""
    notes: tuple[Note, ...] = ()

    def to_markdown(self) -> str:
        """Return title, table and notes; nothing if the table has no rows."""
        if not self.rows:
            return ""
        title = f"{plain(self.title)}:" if self.title else ""
        cells = [[_in_markdown(cell) for cell in row] for row in (self.header, *self.rows)]
        body = "\n".join(markdown_table(cells, self.texts))
        return "\n\n".join(filter(None, [title, body, *(n.to_markdown() for n in self.notes)]))


def markdown_list(items: Sequence[str]) -> str:
    """Return a list with a line for each item, which is plain text."""
    return "\n".join(f"- {plain(item)}" for item in items)


def markdown_table(rows: Sequence[Sequence[str]], texts: Collection[int] = ()) -> list[str]:
    """Lay out rows as the lines of a table; special characters in cells do not break it.

    Args:
        rows: The header, followed by the body.
        texts: Columns to align to the left; the others hold numbers and are aligned to the right.
    """
    columns = list(zip(*(map(_cell, row) for row in rows), strict=True))
    widths = [max(map(len, column)) for column in columns]
    laid_out = [
        [cell.ljust(width) if i in texts else cell.rjust(width) for cell in column]
        for i, (column, width) in enumerate(zip(columns, widths, strict=True))
    ]
    rule = ["-" * (w - 1) + ("-" if i in texts else ":") for i, w in enumerate(widths)]
    head, *body = zip(*laid_out, strict=True)
    return [f"| {' | '.join(line)} |" for line in (head, rule, *body)]


def _in_markdown(cell: str) -> str:
    if isinstance(cell, BoldCell):
        return f"**{_marks_escaped(cell.bold)}** {_marks_escaped(cell.rest)}".rstrip()
    return _marks_escaped(cell)


def _cell(text: str) -> str:
    return one_line(" ".join(text.split())).replace("|", "\\|")
