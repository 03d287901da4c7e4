"""Write a page: one file or, if its cases are too large for that, a file and a folder beside it."""

import base64
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from umamba.errors import UMambaError
from umamba.reporting.charts import THEMES, BaselineChart, Chart
from umamba.reporting.page import assets
from umamba.reporting.page.content import CaseBrowser, ModelTable, Page, ScoreCube
from umamba.reporting.page.markup import escaped, section_html
from umamba.reporting.tables import BoldCell
from umamba.system.atomic_files import whole_file
from umamba.system.publishing import publication, scratch_folder

__all__ = [
    "DATA_BEGIN",
    "FILES_FOLDER",
    "LARGEST_FILE",
    "check_files",
    "files_folder",
    "is_page",
    "write_page",
]

LARGEST_FILE = 12_000_000  # bytes; what mail takes
FILES_FOLDER = "_files"  # end of the name of the folder beside the page
_PAGE_BEGIN = "<!DOCTYPE html>"
_GENERATOR = '<meta name="generator" content="umamba">'
DATA_BEGIN = '<script type="application/json" id="page-data">'
_HEAD_BYTES = 4096  # in which a page names its generator
_OWN = re.compile(r"case_\d+\.js")


def write_page(page: Page, path: Path) -> None:
    """Write a page for the browser.

    Data of cases become a part of it as long as it stays below 12 MB. Otherwise each case has a
    file in the folder `report_files` beside `report.html`, and is loaded when it is opened.

    Args:
        page: The page; the data of its cases are made one at a time.
        path: The file, which is replaced.

    Raises:
        UMambaError: If a file cannot be written, or the folder holds files of others.
    """
    check_files(path)
    folder = files_folder(path)
    with scratch_folder(parent=_existing(path.parent)) as scratch:
        files = _write_cases(page, scratch)
        parts = _head(page), _body(page), _after_cases()
        n_bytes = sum(len(part.encode()) for part in parts)
        n_bytes += sum(file.stat().st_size + len(_opening(n)) for n, file in enumerate(files))
        if files and n_bytes > LARGEST_FILE:
            digest = _digest(files)
            _publish_cases(files, digest, folder)
            _write_parts(path, (_head(page, folder.name, digest), *parts[1:]))
            return
        _write_parts(path, parts, files)
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)


def _write_parts(path: Path, parts: tuple[str, str, str], files: Sequence[Path] = ()) -> None:
    head, body, end = parts
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as out:
        out.write(head + body)
        for number, file in enumerate(files):
            out.write(f"{_opening(number)}{file.read_text(encoding='ascii')}</script>\n")
        out.write(end)


def is_page(file: Path) -> bool:
    """Return whether a file is a page that `write_page` wrote."""
    if not file.is_file():
        return False
    with file.open("rb") as there:
        begin = there.read(_HEAD_BYTES)
    return begin.startswith(_PAGE_BEGIN.encode()) and _GENERATOR.encode() in begin


def files_folder(path: Path) -> Path:
    """Return the folder beside a page that holds its cases if they are large."""
    return path.with_name(path.stem + FILES_FOLDER)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        msg = f"{folder} is not a folder; make it, or write the report elsewhere"
        raise UMambaError(msg)
    return folder


def check_files(path: Path) -> None:
    """Check that the folder beside a page holds nothing but what an earlier page left.

    Args:
        path: The page.

    Raises:
        UMambaError: If it holds anything else.
    """
    folder = files_folder(path)
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    foreign = next((name for name in sorted(names) if not _OWN.fullmatch(name)), None)
    if foreign is not None:
        msg = f"{folder} holds {foreign}, which no report wrote; move it away"
        raise UMambaError(msg)


def _write_cases(page: Page, scratch: Path) -> list[Path]:
    """Write the data of each case as base64."""
    files: list[Path] = []
    for browser in _browsers(page):
        for _, content in browser.cases:
            file = scratch / f"{len(files)}"
            file.write_bytes(base64.b64encode(content))
            files.append(file)
    return files


def _digest(files: list[Path]) -> str:
    """Return what tells the cases of this page from those of another."""
    found = hashlib.sha256()
    for file in files:
        found.update(file.read_bytes() + b"\n")
    return found.hexdigest()[:16]


def _publish_cases(files: list[Path], digest: str, folder: Path) -> None:
    with publication(folder, "move it away", overwrite=True) as work:
        work.new.mkdir()
        for number, file in enumerate(files):
            with (work.new / f"case_{number}.js").open("w", encoding="ascii") as out:
                data = file.read_text(encoding="ascii")
                out.write(f'umambaCase({number}, "{digest}", "{data}");\n')
        work.publish()


def _opening(number: int) -> str:
    return f'<script type="application/octet-stream" id="case-{number}">'


def _head(page: Page, folder: str = "", digest: str = "") -> str:
    """Return the beginning of the page, which says where its cases are."""
    address = quote(os.fsencode(folder))  # as HTML would change some characters of a name
    return f"""{_PAGE_BEGIN}
<html lang="en" data-files="{address}" data-folder="{escaped(folder)}" data-digest="{digest}">
<head>
<meta charset="utf-8">
{_GENERATOR}
<meta http-equiv="Content-Security-Policy" content="{assets.policy(with_files=bool(folder))}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaped(page.title)}</title>
<style>{assets.styles()}</style>
</head>
"""


def _body(page: Page) -> str:
    """Return the page between its head and the data of its cases."""
    sections = "\n".join(map(section_html, page.sections))
    links = "".join(
        f'<li class="level-{s.level}"><a href="#{escaped(s.name)}">{escaped(s.heading)}</a></li>'
        for s in page.sections
    )
    credit = f"<p>{escaped(page.credit)}</p>" if page.credit else ""
    return f"""<body>
<a class="skip" href="#main">Skip to the results</a>
<header><h1>{escaped(page.title)}</h1><p>{escaped(page.subtitle)}</p></header>
<div id="toolbar" role="region" aria-label="Cases and display"></div>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main id="main" tabindex="-1">
{sections}
</main>
<footer>{credit}<p>Written by umamba. Works without a network: nothing is loaded from elsewhere.</p>
</footer>
{DATA_BEGIN}{_as_json(_data(page))}
</script>
"""


def _after_cases() -> str:
    return (
        f"<script>{assets.libraries()}</script>\n<script>{assets.scripts()}</script>\n"
        "</body>\n</html>\n"
    )


def _data(page: Page) -> dict[str, Any]:
    blocks = [block for section in page.sections for block in section.blocks]
    charts = {b.name: _chart(b) for b in blocks if isinstance(b, Chart)}
    tables = [block for block in blocks if isinstance(block, ModelTable)]
    return {
        "charts": charts,
        "themes": THEMES,
        "baselines": [_baselines(table) for table in tables],
        "scores": _scores(page.scores) if page.scores else None,
        "browser": next((browser.index for browser in _browsers(page)), None),
    }


def _chart(chart: Chart) -> dict[str, Any]:
    """Return a chart for `charts.js`: what HTML does not hold, and other baselines' as a whole."""
    found: dict[str, Any] = {"title": chart.title, "spec": chart.spec}
    if isinstance(chart, BaselineChart):
        found["others"] = {
            name: {"title": c.title, "alt": c.alt, "caption": c.caption, "spec": c.spec}
            for name, c in chart.others.items()
        }
    return found


def _baselines(table: ModelTable) -> dict[str, Any]:
    tables = {
        name: {
            "header": its.header,
            "rows": [[_cell(cell) for cell in row] for row in its.rows],
            "texts": its.texts,
        }
        for name, its in table.tables.items()
    }
    return {"shown": table.baseline, "tables": tables}


def _cell(text: str) -> str | tuple[str, str]:
    """Return a cell, or its bold part and the rest, for `tables.js`."""
    return (text.bold, text.rest) if isinstance(text, BoldCell) else text


def _browsers(page: Page) -> Iterator[CaseBrowser]:
    for section in page.sections:
        yield from (block for block in section.blocks if isinstance(block, CaseBrowser))


def _scores(cube: ScoreCube) -> dict[str, Any]:
    return {
        "cases": cube.cases,
        "models": cube.models,
        "metrics": [asdict(metric) for metric in cube.metrics],
        "labels": cube.labels,
        "values": cube.values,
        "facts": cube.facts,
    }


def _as_json(value: object) -> str:
    """Return JSON that may stand in HTML: no `<`, and nothing but ASCII."""
    text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    """Replace numbers that JSON lacks by `None`, and round the others to what a screen shows."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
