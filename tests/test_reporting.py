"""Tables and figures that all reports share."""

import re
from html import unescape
from pathlib import Path

import matplotlib as mpl
import pytest
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from umamba.reporting.figures import TEXT, house_style, save_figure
from umamba.reporting.tables import BoldCell, Note, Table, markdown_table


def test_numbers_are_to_the_right_and_nothing_breaks_a_table() -> None:
    rows = [["model", "Dice", "why"], ["net", "0.5", "out of\nluck | memory"], ["a", "10.25", ""]]
    assert markdown_table(rows, (0, 2)) == [
        "| model |  Dice | why                   |",
        "| ----- | ----: | --------------------- |",
        "| net   |   0.5 | out of luck \\| memory |",
        "| a     | 10.25 |                       |",
    ]


def test_a_table_stands_between_its_title_and_its_notes() -> None:
    notes = (Note("Empty masks:", ("prediction: net 1.",)), Note("Means over cases."))
    rows = ((BoldCell("net", "(baseline)"), "0.5"),)
    table = Table(("model", "Dice"), rows, title="Scores", notes=notes)
    assert table.to_markdown().splitlines() == [
        "Scores:",
        "",
        "| model              | Dice |",
        "| ------------------ | ---: |",
        "| **net** (baseline) |  0.5 |",
        "",
        "Empty masks:",
        "- prediction: net 1.",
        "",
        "Means over cases.",
    ]
    assert Table(("model", "Dice"), (), title="Scores", notes=notes).to_markdown() == ""


def test_the_style_is_for_one_figure_and_its_files_are_always_the_same(tmp_path: Path) -> None:
    mpl.rcParams["font.size"] = 7.0

    @house_style(12.0)
    def draw(*paths: Path) -> None:
        assert mpl.rcParams["font.size"] == 12.0
        figure = Figure()
        figure.subplots().set_title("a title").set_color(TEXT)
        save_figure(figure, *paths, dpi=50)

    for name in ("one", "two"):
        draw(tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
    assert mpl.rcParams["font.size"] == 7.0
    for kind in ("svg", "png"):
        first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "two"))
        assert first == second
    assert b"<!-- a title -->" in (tmp_path / "one.svg").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {
        "one.svg",
        "one.png",
        "two.svg",
        "two.png",
    }


def test_a_figure_that_cannot_be_drawn_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def fail(*_: object, **__: object) -> None:
        raise ValueError

    figure = Figure()
    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(ValueError, match=r"^$"):
        save_figure(figure, path, dpi=50)
    assert path.read_bytes() == b"before"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    "name",
    [
        "**a**",
        "*a* or _b_ and __c__, umamba_bot, _",
        "[x](y) ![x](y) [x][y] [95 % interval]",
        "[x]: y",
        "`a` ~~b~~ a|b",
        r"\*a\* C:\nets\_a",
        "# a",
        "- a",
        "+2 [1, 3]",
        "12. a",
        "> a < b <b>c</b> <!-- d",
        "&lt;b&gt; & &amp c",
    ],
)
def test_names_show_as_they_are_wherever_they_stand(name: str) -> None:
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])

    def shown(text: str) -> str:
        return unescape(re.sub(r"<(?!/?b>|!--)[^>]+>", "", markdown.render(text))).strip()

    note = Note(f"{name} against net", (f"{name}: better", f"net is worse than {name}"))
    table = Table(("model", name), ((name, "1"), (BoldCell(name, "(x)"), "2")), notes=(note,))
    text = markdown.render(table.to_markdown())
    assert not re.search(r"<(em|a|img|code|s|b|h1)\b|<strong>(?!.*</strong> \(x\)</td>)", text)
    lines = [line for line in shown(table.to_markdown()).splitlines() if line]
    assert lines[:2] == ["model", name]
    assert lines[2:] == [
        *(name, "1", f"{name} (x)", "2"),
        *(f"{name} against net", f"{name}: better", f"net is worse than {name}"),
    ]
