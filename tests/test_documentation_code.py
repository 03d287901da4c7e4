"""The Python on the pages of `docs/` runs as a reader would run it, and formulas can be drawn.

The blocks of a page run in order, in one namespace and an empty folder; a block of CSV with a
`title` is a file there. `<!-- not run: reason -->` before a block leaves it out.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from reference_cases import REPOSITORY
from umamba.u_mamba_forms import U_MAMBA_FORMS

# Pages whose blocks need data, by the test that runs them on such data.
RUN_BY = {"docs/reference/python-api.md": "nnunet/test_api.py"}
SLOW = {"docs/how-to/rank.md"}  # draws charts and writes a report
# How many blocks of a page are left out.
NOT_RUN = {"docs/how-to/report.md": 1, "docs/reference/python-api.md": 2}

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)(?P<options>[^\n]*)\n"
    r"(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_TITLE = re.compile(r'title="([\w.-]+)"')


class Block(NamedTuple):
    language: str
    title: str | None
    code: str
    line: int
    reason: str | None


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page, each with the number of the line before its code."""
    found = []
    for match in _BLOCK.finditer(page):
        title = _TITLE.search(match["options"])
        line = page.count("\n", 0, match.start("code"))
        name = title[1] if title else None
        found.append(Block(match["language"], name, match["code"], line, match["reason"]))
    return found


def run(page: str, name: str, folder: Path) -> dict[str, object]:
    """Run the blocks of a page; errors name its lines."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.title is not None and block.language != "python":
            (folder / block.title).write_text(block.code, encoding="utf-8")
        if block.language == "python" and block.reason is None:
            exec(compile("\n" * block.line + block.code, name, "exec"), names)
    return names


PAGES = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8")
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
}
WITH_PYTHON = [name for name, page in PAGES.items() if "```python" in page and name not in RUN_BY]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in WITH_PYTHON],
)
def test_the_python_of_a_page_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(PAGES[name], name, tmp_path)


def test_pages_that_are_run_elsewhere_are() -> None:
    for name, test in RUN_BY.items():
        assert Path(name).name in (REPOSITORY / "tests" / test).read_text(encoding="utf-8")


def test_no_block_is_passed_over_in_silence() -> None:
    left_out = Counter(
        name for name, page in PAGES.items() for block in blocks_of(page) if block.reason
    )
    assert left_out == NOT_RUN
    for name, page in PAGES.items():
        unmarked = [b.code for b in blocks_of(page) if b.language in {"", "text"}]
        assert not [code for code in unmarked if re.search(r"\bumamba\.\w+\(", code)], name
        fences = re.findall(r"^\s*```(?:py|Py)", page, re.MULTILINE)
        assert len(fences) == sum(block.language == "python" for block in blocks_of(page)), name


def test_blocks_share_names_and_files_and_errors_name_the_line(tmp_path: Path) -> None:
    page = (
        '# Page\n\n```csv title="a.csv"\nx,y\n```\n\n'
        "```python\nfrom pathlib import Path\n\nread = Path(PLACE).read_text()\n```\n\n"
        "<!-- not run: it needs a GPU -->\n```python\nmissing()\n```\n\n```bash\nexit 1\n```\n\n"
        '```python\nassert read == "x,y\\n"\n```\n'
    ).replace("PLACE", repr(str(tmp_path / "a.csv")))
    assert run(page, "page.md", tmp_path)["read"] == "x,y\n"
    with pytest.raises(ZeroDivisionError) as raised:
        run(page + "\n```python\nfine = 1\n1 / 0\n```\n", "page.md", tmp_path)
    assert raised.traceback[-1].lineno + 1 == (page + "\n```python\nfine = 1\n").count("\n") + 1
    assert str(raised.traceback[-1].path).endswith("page.md")


def test_formulas_become_mathml() -> None:
    pytest.importorskip("latex2mathml", reason="needs the extra `docs`")
    from umamba.reporting.formulas import to_mathml

    formulas = [b.code for page in PAGES.values() for b in blocks_of(page) if b.language == "math"]
    assert len(formulas) > 10
    for formula in formulas:
        drawn = to_mathml(formula, "math", "formula")
        assert drawn.count("<math") == drawn.count("</math>") == 1
        assert "\\" not in drawn, formula  # as of a command that is not known
    assert "<msub><mi>h</mi><mi>t</mi></msub>" in to_mathml("h_t\n")


def test_the_page_of_u_mamba_names_every_form_of_it() -> None:
    page = PAGES["docs/explanation/u-mamba.md"]
    assert [suffix for suffix in U_MAMBA_FORMS if suffix and f"`...{suffix}`" not in page] == []
