"""`umamba evaluate`: what is printed and written, and the exit codes."""

import base64
import csv
import json
import re

import numpy as np
import pytest

from dataset_files import save
from umamba.cli.main import main
from umamba.errors import UMambaError
from umamba.evaluation.metrics import METRICS
from umamba.reporting.page.case_data import read_header
from umamba.reporting.page.writing import DATA_BEGIN


def square(size, start=2):
    mask = np.zeros((24, 24), np.uint8)
    mask[start : start + size, 2 : 2 + size] = 1
    return mask


@pytest.fixture
def folders(tmp_path):
    for case, (prediction, reference) in {
        "a": (square(10), square(10)),
        "b": (square(10, 7), square(10)),
        "c": (square(4), square(0)),
    }.items():
        save(tmp_path / "p" / f"{case}.png", prediction)
        save(tmp_path / "r" / f"{case}.png", reference)
    return tmp_path


def evaluate(folders, *options):
    return main(["evaluate", f"{folders}/p", f"{folders}/r", "--workers", "1", *options])


def test_the_table_shows_cases_averages_and_empty_masks(folders, capsys):
    assert evaluate(folders, "--labels", "cell=1", "--size-cuts", "6") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = [line.split() for line in shown.out.splitlines()]
    assert next(x for x in lines if "mean" in x)[:3] == ["cell", "mean", "0.5000"]
    assert ["cell", "n", *"3332222233233"] == next(x for x in lines if "n" in x[1:2])
    assert "empty masks of cell: 1 reference (of 3 cases)" in shown.out
    assert ["cell", "all", "2", "3", "1", "0.4000", "1.0000"] in lines
    assert ["cell", "small", "below", "6", "0", "1", "0", "0.0000", "-"] in lines
    assert "NSD tolerance: 1 px" in shown.out


def test_what_rounds_to_zero_has_no_sign(tmp_path, capsys):
    reference = np.ones((200, 200), np.uint8)
    prediction = reference.copy()
    prediction[0, 0] = 0  # the volume is too small by a 40,000th
    save(tmp_path / "p" / "a.png", prediction)
    save(tmp_path / "r" / "a.png", reference)
    assert evaluate(tmp_path) == 0
    assert "-0.0000" not in capsys.readouterr().out


def test_json(folders, capsys):
    assert evaluate(folders, "--json", "--tolerance", "2", "1=6") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["unit"] == "px"
    assert content["labels"] == {"1": 1}
    assert content["settings"]["nsd_tolerances"] == {"1": 6.0}
    (summary,) = content["summary"]["labels"]
    assert summary["empty"] == {"reference": 1, "prediction": 0, "both": 0}
    assert summary["metrics"]["dice"] == {"mean": 0.5, "median": 0.5, "n": 3}
    assert summary["metrics"]["hd95"]["n"] == 2
    assert content["cases"][2]["metrics"]["hd95"] is None
    assert content["instances"][0]["stratum"] == "all"


@pytest.mark.parametrize("table", ["scores.csv", "scores_objects.csv", "ref/a.nii.gz"])
def test_tables_replace_only_tables(table, folders, capsys):
    file = folders / table
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"patient;age\n")
    output = table if "/" in table else "scores.csv"
    assert evaluate(folders, "--csv", f"{folders}/{output}") == 2
    assert f"{file} is not a table of an evaluation" in capsys.readouterr().err
    assert file.read_bytes() == b"patient;age\n"
    file.unlink()
    for _ in range(2):
        assert evaluate(folders, "--csv", f"{folders}/scores.csv") == 0


def test_csv(folders, capsys):
    assert evaluate(folders, "--csv", f"{folders}/new/scores.csv") == 0
    with (folders / "new" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["case"], r["dice"], r["empty"]) for r in rows] == [
        ("a", "1.0", ""),
        ("b", "0.5", ""),
        ("c", "0.0", "reference"),
    ]
    with (folders / "new" / "scores_objects.csv").open() as file:
        assert next(csv.DictReader(file))["f1"] == "1.0"
    assert len(list((folders / "new").iterdir())) == 2


def test_what_is_missing_or_fails_exits_with_1(folders, capsys):
    (folders / "p" / "a.png").unlink()
    save(folders / "p" / "b.png", square(4)[:20])
    save(folders / "p" / "z.png", square(4) * 7)
    assert evaluate(folders, "--labels", "cell=1") == 1
    errors = capsys.readouterr().err
    assert "case b was left out: the prediction has the shape (20, 24), not (24, 24)" in errors
    assert "references without prediction: 1 (a)" in errors
    assert "predictions without reference, left out: 1 (z)" in errors


def test_values_without_label_are_remarked(folders, capsys):
    save(folders / "p" / "a.png", square(10) * 255)
    assert evaluate(folders) == 0
    assert "hold values that belong to no label: 255" in capsys.readouterr().err


def test_a_label_that_no_reference_holds_is_remarked(folders, capsys):
    assert evaluate(folders, "--labels", "cell=1", "liver=7") == 0
    errors = capsys.readouterr().err
    assert "no reference contains liver: check the labels" in errors
    save(folders / "r" / "a.png", square(4) * 9)
    assert evaluate(folders, "--labels", "cell=1") == 0
    assert "masks hold values that belong to no label: 9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "cell"], "--labels cell: give each label once"),
        (["--labels", "cell=1", "cell=2"], "--labels cell=2: give each label once"),
        (["--tolerance", "1=much"], "--tolerance 1=much: give each once"),
        (["--tolerance", "1", "2"], "--tolerance 2: give each once"),
        (["--size-cuts", "5", "3"], "must be positive and ascending"),
        (["--matching-iou", "2"], "IoU 2.0"),
    ],
)
def test_wrong_options_exit_with_2(folders, capsys, options, message):
    assert evaluate(folders, *options) == 2
    assert message in capsys.readouterr().err


def test_an_error_is_json_too(folders, capsys):
    assert main(["evaluate", f"{folders}/p", f"{folders}/none", "--json"]) == 2
    assert "no such folder" in json.loads(capsys.readouterr().out)["error"]


def test_names_of_labels_and_cases_forge_no_lines(folders, capsys):
    for folder in ("p", "r"):
        (folders / folder / "a.png").rename(folders / folder / "a\n3 cases, Dice 1.png")
    assert evaluate(folders, "--labels", "cell\n\x1b[2Jmean 1=1", "lost\nmean 1=7") == 0
    shown = capsys.readouterr()
    assert "cell\\n\\x1b[2Jmean 1" in shown.out
    assert "a\\n3 cases, Dice 1" in shown.out
    lines = (shown.out + shown.err).splitlines()
    assert not [line for line in lines if line.startswith(("3 cases", "mean 1", "\x1b"))]
    assert "no reference contains lost\\nmean 1: check the labels" in shown.err


def test_only_strangers_among_the_files_are_noted(folders, capsys):
    for name in ("dataset.json", "plans.json", "umamba_prediction.json", "notes.txt"):
        (folders / "p" / name).write_text("{}")
    assert evaluate(folders, "--labels", "cell=1") == 0
    noted = [line for line in capsys.readouterr().err.splitlines() if "not masks" in line]
    assert [line.rpartition("/")[2] for line in noted] == ["notes.txt"]


def test_the_definition_of_surfaces_stands_where_distances_do(folders, capsys):
    assert evaluate(folders, "--surface", "voxels", "--csv", f"{folders}/scores.csv") == 0
    assert "Surfaces (NSD, HD95, ASSD): voxels." in capsys.readouterr().out
    with (folders / "scores.csv").open() as file:
        assert {row["surface"] for row in csv.DictReader(file)} == {"voxels"}
    assert evaluate(folders, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["settings"]["surface"] == "surface-distance"


def test_the_help_names_all_metrics_that_are_not_standard(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    extra = [name for name, metric in METRICS.items() if not metric.is_standard]
    assert extra == ["cldice", "boundary_iou", "lesion_dice", "lesion_hd95", "ece"]
    assert f"which takes longer: {', '.join(extra)}, or all of them" in shown


def test_metrics_that_were_asked_for(folders, capsys):
    options = ("--metrics", "lesion_dice", "cldice", "--lesion-volume", "50")
    assert evaluate(folders, *options, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["settings"]["metrics"] == ["lesion_dice", "cldice"]
    metrics = [row["metrics"] for row in content["cases"]]
    assert [m["lesion_dice"] for m in metrics] == [1, pytest.approx(0.5), 0]
    assert all("cldice" in m and "boundary_iou" not in m for m in metrics)


def test_unknown_metrics_are_refused(folders, capsys):
    assert evaluate(folders, "--metrics", "kappa") == 2
    assert (
        "there is no metric kappa; in addition to the standard ones there are"
        in capsys.readouterr().err
    )


def test_a_report_has_the_scores_and_replaces_nothing_else(folders, capsys):
    file = folders / "new" / "scores.html"
    assert evaluate(folders, "--labels", "cell=1", "--report", str(file)) == 0
    page = file.read_text()
    assert "<h1>p against r</h1>" in page
    assert '<td class="text">mean</td><td class="number">0.500</td>' in page
    assert '<section id="case-browser"' in page
    n_cases = len([*(folders / "r").iterdir()])
    assert page.count('<script type="application/octet-stream" id="case-') == n_cases
    assert evaluate(folders, "--report", str(file)) == 0  # a page may be replaced
    (file.parent / "scores_files").mkdir()
    (file.parent / "scores_files" / "mine.txt").touch()
    capsys.readouterr()
    assert evaluate(folders, "--report", str(file)) == 2
    out, err = capsys.readouterr()
    assert not out  # refused before the evaluation
    assert "holds mine.txt, which no report wrote" in err
    for text in ("my notes", "<!DOCTYPE html>\n<p>my notes"):
        file.write_text(text)
        assert evaluate(folders, "--report", str(file)) == 2
        assert "is not a report, and would be overwritten; give another" in capsys.readouterr().err
        assert file.read_text() == text


def test_a_report_measures_by_the_spacing_that_is_given(folders):
    file = folders / "p.html"
    assert evaluate(folders, "--spacing", "5", "0.5", "--report", str(file)) == 0
    page = file.read_text()
    shown = re.search(r'type="application/octet-stream" id="case-0">(.*?)</script>', page)
    assert read_header(base64.b64decode(shown[1]))["spacing"] == [1.0, 5.0, 0.5]
    data = json.loads(page.partition(DATA_BEGIN)[2].partition("</script>")[0])
    assert data["scores"]["facts"] == {"reference area (mm^2)": [250.0, 250.0, 0.0]}
    titles = {metric["name"]: metric["title"] for metric in data["scores"]["metrics"]}
    assert titles["lesion_false_positive_volume"].endswith(", mm^2")


def test_a_report_shows_images_and_credits_the_data(folders, capsys):
    file, images = folders / "p.html", folders / "images"
    save(images / "a_0000.png", np.arange(24 * 24, dtype=np.uint8).reshape(24, 24))
    options = ["--labels", "cell=1", "--images", str(images), "--credit", "Us <b>&</b>, CC0"]
    assert evaluate(folders, *options, "--report", str(file)) == 0
    page = file.read_text()
    assert "<footer><p>Us &lt;b&gt;&amp;&lt;/b&gt;, CC0</p>" in page
    shown = re.findall(r'type="application/octet-stream" id="case-\d+">(.*?)</script>', page)
    channels = [read_header(base64.b64decode(data))["channels"] for data in shown]
    assert [[channel["name"] for channel in its] for its in channels] == [["channel 0"], [], []]
    assert capsys.readouterr().err == ""
    (images / "a_0000.png").rename(images / "z.png")
    assert evaluate(folders, *options, "--report", str(file)) == 0
    assert "is named like a case, such as a or a_0000; the page shows" in capsys.readouterr().err
    for wrong, message in (
        (["--images", str(images)], "--images is for the page; add --report FILE.html"),
        (["--credit", "Us"], "--credit is for the page; add --report FILE.html"),
        (["--report", str(file), "--images", "gone"], "--images gone is not a folder; give the"),
    ):
        assert evaluate(folders, *wrong) == 2
        assert message in capsys.readouterr().err


def test_the_result_is_printed_even_if_its_page_cannot_be_written(folders, capsys, monkeypatch):
    def fail(*_):
        msg = "the disk is full"
        raise UMambaError(msg)

    monkeypatch.setattr("umamba.reporting.page.writing.write_page", fail)
    assert evaluate(folders, "--labels", "cell=1", "--report", str(folders / "p.html")) == 2
    out, err = capsys.readouterr()
    assert "cell" in out
    assert "the disk is full" in err
