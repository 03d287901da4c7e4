"""Tables and figures that all reports share."""

from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from umamba.reporting.figures import TEXT, house_style, save_figure
from umamba.reporting.tables import Note, Table, markdown_table


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
    rows = (("**net** (baseline)", "0.5"),)
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
