"""HTML of a page's parts; every name in them stays text."""

import html
from collections.abc import Iterable, Sequence

from umamba.reporting.charts import Chart
from umamba.reporting.page.content import Block, CaseBrowser, ChosenCases, ModelTable, Section
from umamba.reporting.tables import BoldCell, Note, Table
from umamba.system.terminal import one_line

__all__ = ["escaped", "section_html", "table_html"]


def escaped(text: object) -> str:
    """Return text for HTML, with everything invisible escaped."""
    return html.escape(one_line(" ".join(str(text).split())))


def section_html(section: Section) -> str:
    """Return a section with its heading and blocks.

    Args:
        section: The section; blocks that are empty are left out.
    """
    name, level = escaped(section.name), section.level
    head = f'<h{level} id="{name}-heading">{escaped(section.heading)}</h{level}>'
    body = "\n".join(filter(None, map(_block, section.blocks)))
    return f'<section id="{name}" aria-labelledby="{name}-heading">\n{head}\n{body}\n</section>'


def _block(block: Block) -> str:
    if isinstance(block, Note):
        return _note(block)
    if isinstance(block, Table):
        return table_html(block)
    if isinstance(block, ModelTable):
        shown = block.tables[block.baseline]
        return f'<div class="model-table">\n{table_html(shown)}\n</div>'
    if isinstance(block, ChosenCases):
        names = escaped(" ".join(block.metrics))
        return f'<div class="chosen-cases" data-metrics="{names}" aria-live="polite"></div>'
    if isinstance(block, CaseBrowser):
        needs = '<p class="needs-script">The cases need JavaScript.</p>'
        return f'<section id="case-browser" aria-label="Case browser">{needs}</section>'
    return _chart(block)


def _note(note: Note) -> str:
    paragraph = f"<p>{escaped(note.text)}</p>" if note.text else ""
    items = "".join(f"<li>{escaped(item)}</li>" for item in note.items)
    return paragraph + (f"<ul>{items}</ul>" if items else "")


def table_html(table: Table) -> str:
    """Return a table with its title and notes; nothing if it has no rows."""
    if not table.rows:
        return ""
    title = f"<caption>{escaped(table.title)}</caption>" if table.title else ""
    head = _row(table.header, table.texts, head=True)
    body = "\n".join(_row(row, table.texts) for row in table.rows)
    notes = "".join(_note(note) for note in table.notes)
    return (
        '<div class="table" role="region" tabindex="0" aria-label="'
        f'{escaped(table.title or ", ".join(table.header[:2]))}">\n<table>{title}\n'
        f"<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table></div>\n"
        + (f'<div class="notes">{notes}</div>' if notes else "")
    )


def _row(cells: Sequence[str], texts: Iterable[int], *, head: bool = False) -> str:
    made = []
    for column, cell in enumerate(cells):
        kind = "text" if column in texts else "number"
        tag, scope = ("th", ' scope="col"') if head else ("td", "")
        if not head and column == 0:
            tag, scope = "th", ' scope="row"'
        made.append(f'<{tag}{scope} class="{kind}">{_cell(cell)}</{tag}>')
    return f"<tr>{''.join(made)}</tr>"


def _cell(text: str) -> str:
    if isinstance(text, BoldCell):
        return f"<strong>{escaped(text.bold)}</strong> {escaped(text.rest)}"
    return escaped(text)


def _chart(chart: Chart) -> str:
    name, alt = escaped(chart.name), escaped(chart.alt)
    return (
        f'<figure class="chart" data-chart="{name}">\n<div class="figure-head">'
        f'<strong>{escaped(chart.title)}</strong> <span class="figure-case"></span></div>\n'
        f'<div class="plot" id="chart-{name}" role="img" aria-label="{alt}">'
        '<div class="drawing" aria-hidden="true"></div><div class="rings"></div></div>\n'
        f'<p class="needs-script">{alt}</p>\n'
        f"<figcaption>{escaped(chart.caption)}</figcaption>\n"
        '<details class="as-table"><summary>Data as a table</summary></details>\n</figure>'
    )
