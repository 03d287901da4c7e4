"""The report has the numbers of `results.json`, its pictures are whole and always the same."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from report_results import read_content, write_comparison, write_content
from umamba.comparison.report.figures import comparison_charts
from umamba.comparison.report.writing import write_report
from umamba.comparison.results import Results, from_plain, read_results, save_results
from umamba.comparison.statistics.analysis import analyse
from umamba.errors import UMambaError
from umamba.nnunet.paths import Paths

pytestmark = pytest.mark.usefixtures("unchecked")  # other files test the statistics

# What results without a margin, subgroups or empty masks always have.
DRAWN = (
    "verdicts",
    "paired_differences",
    "significance_map",
    "rank_stability",
    "volume_agreement_1",
    "dice_against_cost",
    "learning_curves",
    "size_strata",
)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Paths]:
    output, paths = write_comparison(tmp_path_factory.mktemp("flat"))
    write_report(output, paths)
    return output, paths


@pytest.fixture
def output(reported: tuple[Path, Paths], tmp_path: Path) -> Path:
    """A folder that has only the results."""
    write_content(tmp_path, read_content(reported[0]))
    return tmp_path


def test_verdicts_come_first_and_tables_have_their_numbers(reported: tuple[Path, Paths]) -> None:
    results, text = read_content(reported[0]), (reported[0] / "summary.md").read_text()
    head = text[: text.index("## Models")]
    listed = [line[2:] for line in head.splitlines() if line.startswith("- ")]
    assert " ".join(listed) == " ".join(results["verdicts"].values()) != ""
    comparison = results["statistics"]["dice"]["comparisons"][0]
    difference = comparison["difference"]
    row = next(line for line in text.splitlines() if line.startswith("| umamba_bot  "))
    low, high = difference["interval"]["low"], difference["interval"]["high"]
    shown = f"+{difference['mean'] * 100:.2f} [{low * 100:.2f}, {high * 100:.2f}]"
    assert shown.replace("-", "\N{MINUS SIGN}") in row
    assert f"{comparison['p_difference_holm']:.3f}" in row
    assert f"{comparison['cohen_d_z']:+.2f}" in row
    assert "**nnunet** (baseline)" in text
    assert "NSD tolerance: 1 px" in text
    assert "big 4, 9; small 3 (equivalent diameter in px)" in text


def test_everything_linked_is_there_and_whole(reported: tuple[Path, Paths]) -> None:
    output = reported[0]
    links = re.findall(r"\]\(((?:figures|gallery)/[^)]*)\)", (output / "summary.md").read_text())
    names = comparison_charts(read_results(output))
    assert {*DRAWN} <= names.keys()
    drawn = {f"figures/{name}.{kind}" for name in names for kind in ("svg", "png")}
    assert set(links) == drawn | {"gallery/cases.png"}
    for link in links:
        if link.endswith(".svg"):
            assert ET.parse(output / link).getroot().tag.endswith("svg")
        else:
            with Image.open(output / link) as picture:
                picture.load()
                assert min(picture.size) > 300


def test_the_same_results_make_the_same_files(reported: tuple[Path, Paths], output: Path) -> None:
    write_report(output, reported[1])
    names = [path.relative_to(output) for path in output.rglob("*") if path.is_file()]
    assert len(names) == 1 + 2 + 2 * len(comparison_charts(read_results(output))) + 1
    for name in names:
        if name.name != "results.json":
            assert (output / name).read_bytes() == (reported[0] / name).read_bytes(), name


def test_what_is_missing_is_a_dash_or_a_note(output: Path) -> None:
    results = read_content(output)
    results["cost"]["umamba_bot"] |= {"peak_memory_bytes": None, "seconds_per_iteration": None}
    results["cost"]["umamba_bot"]["problem"] = "not measured: its step would not fit"
    results["trainings"][0] |= {
        "status": "failed",
        "compared": False,
        "reason": "out of\nluck | memory",
        "train_hours": None,
    }
    write_content(output, results)
    write_report(output, Paths())
    text = (output / "summary.md").read_text()
    cost = text[text.index("## Cost") : text.index("## Training")]
    row = next(line for line in cost.splitlines() if line.startswith("| umamba_bot "))
    assert [cell.strip() for cell in row.split("|")[5:7]] == ["\N{EN DASH}"] * 2
    assert "11 done, 1 failed." in text
    assert re.search(r"nnunet +\| +0 \| +0 \| failed +\| out of luck \\\| memory +\|", text)
    assert "Cost of umamba_bot: not measured: its step would not fit." in text
    assert "Left out: the images are missing: the folder nnUNet_raw is not known" in text
    assert "memory of a training step, estimated" in text


def test_a_comparison_without_results_yet_has_a_report(output: Path) -> None:
    results = read_content(output)
    for training in results["trainings"]:
        training |= {"status": "pending", "compared": False, "train_hours": None}
    results |= {"cases": [], "instances": [], "curves": [], "cost": {}}
    results |= {"statistics": {}, "dynamics": {}, "verdicts": {}}
    (output / "figures").mkdir()
    (output / "figures" / "learning_curves.png").touch()
    write_content(output, results)
    write_report(output, Paths())
    text = (output / "summary.md").read_text()
    assert "No verdict:" in text
    assert "12 pending." in text
    assert "figures/" not in text
    assert not list((output / "figures").iterdir())


def test_what_was_asked_of_the_statistics_is_in_the_summary(output: Path) -> None:
    results = read_content(output)
    cases = sorted({row["case"] for row in results["cases"]})
    results["settings"]["analysis"] = {
        "margin": 2.5,
        "empty": "one",
        "clusters": {case: case[-1] for case in cases},
        "groups": {case: "GE" if i % 2 else "Siemens" for i, case in enumerate(cases)},
    }
    save_results(output / "results.json", analyse(from_plain(results, Results)))
    write_report(output, Paths())
    text = (output / "summary.md").read_text()
    assert "by a margin of 2.5 Dice points: " in text[: text.index("## Models")]
    groups = text[text.index("### Subgroups") : text.index("### Under other")]
    assert re.search(r"\| umamba_bot +\| nnunet +\| Siemens +\| +4 \|", groups)
    assert "- umamba_bot against nnunet: the difference " in groups
    assert "Margin: 2.5 Dice points" in text
    assert "Cases that belong together: 8 cases of 8 clusters" in text
    assert "Subgroups: 8 cases of 2 groups" in text
    assert "Two empty masks: Dice, IoU and NSD are one" in text


def test_a_folder_that_cannot_be_written(output: Path) -> None:
    (output / "figures").touch()
    with pytest.raises(UMambaError, match=r"cannot draw into .*figures.* make room"):
        write_report(output, Paths())
