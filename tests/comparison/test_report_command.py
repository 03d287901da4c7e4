"""`umamba report` writes reports again from results alone, and says what it cannot use."""

import json
import os
from pathlib import Path

import pytest

import umamba
from report_results import MODELS, read_content, write_content
from umamba.cli.main import main
from umamba.comparison.report.gallery import choose_cases
from umamba.comparison.results import read_results

pytestmark = pytest.mark.usefixtures("unchecked")  # other files test the statistics

CREDIT = "Us 2019, CC BY-SA 4.0"
RESULTS = Path("tests/golden/comparison_v1.json")
SCORES = "case,plain,new\n" + "".join(
    f"c{i},{0.5 + i / 99:.3f},{0.6 + i / 88:.3f}\n" for i in range(9)
)


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    """A folder of an earlier version, without images but with the picture of a case."""
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "cases.png").write_bytes(b"drawn")
    (tmp_path / "results.json").write_text(RESULTS.read_text())
    roles = choose_cases(read_results(tmp_path))
    caption = "; ".join(f"{role}: {case}" for case, role in roles.items())
    (tmp_path / "summary.md").write_text(f"# Earlier\n\n![{caption}](gallery/cases.png)\n")
    return tmp_path


@pytest.fixture
def ranked(tmp_path: Path) -> Path:
    (tmp_path / "scores.csv").write_text(SCORES)
    assert main(["rank", str(tmp_path / "scores.csv"), "-o", str(tmp_path / "ranked")]) == 0
    return tmp_path / "ranked"


def test_a_comparison_is_reported_with_another_margin_and_groups(compared, capsys):
    groups = compared / "groups.csv"
    groups.write_text("case,group\n" + "".join(f"case_{i},{'ab'[i % 2]}\n" for i in range(8)))
    options = ["--margin", "3", "--groups", str(groups), "--credit", CREDIT]
    assert main(["report", str(compared / "results.json"), *options]) == 0
    files = [f"{compared}/{name}" for name in ("summary.md", "report.html")]
    assert capsys.readouterr().out.splitlines() == files
    content, summary = read_content(compared), (compared / "summary.md").read_text()
    assert content["settings"]["analysis"]["margin"] == 3
    assert content["statistics"]["dice"]["margins"][0]["margin"] == pytest.approx(0.03)
    assert "Margin: 3 Dice points" in summary
    for sentence in content["verdicts"].values():
        assert sentence.split(" against ")[1].split(": ", 1)[1][:60] in summary
    assert (compared / "gallery" / "cases.png").read_bytes() == b"drawn"
    assert "](gallery/cases.png)" in summary
    assert content["dataset"]["credit"] == CREDIT
    assert main(["report", str(compared)]) == 0  # keeps what is not given
    assert f"<footer><p>{CREDIT}</p>" in (compared / "report.html").read_text()
    assert f"Credit: {CREDIT}" in (compared / "summary.md").read_text()


def test_statistics_of_earlier_rules_are_computed_again(compared):
    assert main(["report", str(compared)]) == 0  # of version 1
    content = read_content(compared)
    del content["statistics_version"]  # of version 2
    content["statistics"]["dice"]["pairs"] = []
    rank = content["statistics"]["dice"]["rank_stability"]["models"][0]
    wanted, rank["rank_low"] = rank["rank_low"], 9
    write_content(compared, content)
    assert main(["report", str(compared)]) == 0
    dice = read_content(compared)["statistics"]["dice"]
    assert len(dice["pairs"]) == len(MODELS) * (len(MODELS) - 1) // 2
    assert dice["rank_stability"]["models"][0]["rank_low"] == wanted


def test_a_ranking_is_reported_again(ranked, capsys):
    (ranked / "report.html").unlink()
    assert main(["report", str(ranked), "--margin", "1", "--credit", CREDIT, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdicts"][""].keys() == {"new"}
    assert read_content(ranked)["settings"]["margin"] == 1
    assert f"<footer><p>{CREDIT}</p>" in (ranked / "report.html").read_text()
    assert f"Credit: {CREDIT}" in (ranked / "summary.md").read_text()
    (ranked / "report_files").mkdir()  # of an earlier version
    assert umamba.report(results=ranked).ranking.settings.margin == 1  # what is not given stays
    (ranked / "notes.txt").touch()
    assert main(["report", str(ranked)]) == 2
    assert "with notes.txt, which no ranking wrote" in (said := capsys.readouterr().err)
    assert said.endswith("would be lost; move it away\n")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _: None, "does not exist; give a folder of `umamba compare` or `umamba rank`"),
        (lambda p: p.mkdir(), "has no results.json; give a folder"),
        (lambda p: p.write_text("x"), "is not named results.json; give a folder"),
    ],
    ids=["missing", "empty", "another file"],
)
def test_what_is_no_report_is_named(make, says, tmp_path, capsys):
    make(tmp_path / "there")
    assert main(["report", str(tmp_path / "there")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"schema": "umamba-comparison", "schema_version": 2}', "is damaged"),
        ('{"schema": "umamba-ranking", "schema_version": 1}', "is damaged"),
        ('{"schema": "else"}', "is of schema 'else'"),
        ("{", "cannot be read"),
    ],
)
def test_damaged_results_are_named(content, says, tmp_path, capsys):
    (tmp_path / "results.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path / "results.json") in error
    assert says in error


def test_cases_of_a_table_must_be_those_of_the_results(ranked, tmp_path, capsys):
    (tmp_path / "groups.csv").write_text("case,group\nc0,a\n")
    assert main(["report", str(ranked), "--groups", str(tmp_path / "groups.csv")]) == 2
    assert "--groups: cases c1, c2, c3 and 5 more are missing" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_is_named(ranked, capsys):
    ranked.chmod(0o500)
    try:
        assert main(["report", str(ranked)]) == 2
    finally:
        ranked.chmod(0o700)
    assert str(ranked) in capsys.readouterr().err
