"""The cases of a page that was written earlier, for a new page where their files are gone."""

import base64
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

from umamba.reporting.page.case_data import read_header
from umamba.reporting.page.writing import DATA_BEGIN, files_folder, is_page

__all__ = ["EarlierCases"]

_EMBEDDED = re.compile(r'<script type="application/octet-stream" id="case-(\d+)">([^<]*)</script>')
_IN_FILE = re.compile(r'umambaCase\(\d+, "(\w*)", "([^"]*)"\);\s*')
_DIGEST = re.compile(r' data-digest="(\w*)"')
_DAMAGED = (OSError, ValueError, EOFError, KeyError, struct.error, zlib.error)


class EarlierCases:
    """The cases of a page; there are none if it is missing, damaged, or not a page of ours.

    Args:
        path: The page.
    """

    def __init__(self, path: Path) -> None:
        self._numbers: dict[str, int] = {}
        self._embedded: dict[int, str] = {}
        self._folder = files_folder(path)
        self._digest = ""
        try:
            if is_page(path):
                self._read(path.read_text(encoding="utf-8"))
        except _DAMAGED:
            self._numbers.clear()

    def _read(self, text: str) -> None:
        _, _, rest = text.partition(DATA_BEGIN)
        browser = json.loads(rest.partition("</script>")[0])["browser"] or {"cases": []}
        found = _DIGEST.search(text)
        self._digest = found[1] if found else ""
        self._embedded = {int(number): data for number, data in _EMBEDDED.findall(rest)}
        self._numbers = {name: number for number, name in enumerate(browser["cases"])}

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def get(self, name: str) -> tuple[dict[str, Any], bytes] | None:
        """Return what describes a case, and its data; `None` if the page does not have it.

        Args:
            name: Name of the case.
        """
        number = self._numbers.get(name)
        if number is None:
            return None
        try:
            data = base64.b64decode(self._text(number), validate=True)
            return read_header(data), data
        except _DAMAGED:
            return None

    def _text(self, number: int) -> str:
        if number in self._embedded:
            return self._embedded[number]
        text = (self._folder / f"case_{number}.js").read_text(encoding="ascii")
        found = _IN_FILE.fullmatch(text)
        if found is None or found[1] != self._digest:
            msg = f"case {number} is not of this page"
            raise ValueError(msg)
        return found[2]
