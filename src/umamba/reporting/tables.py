"""Tables in Markdown that are readable as they stand."""

from collections.abc import Collection, Sequence

from umamba.system.terminal import one_line

__all__ = ["markdown_table"]


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


def _cell(text: str) -> str:
    return one_line(" ".join(text.split())).replace("|", "\\|")
