"""`umamba rank`: what it prints and writes, and what it says of tables that it cannot use."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

import umamba
from reference_cases import REPOSITORY
from umamba.cli.main import main
from umamba.comparison.ranking.charts import FIGURES
from umamba.comparison.ranking.writing import read_ranking
from umamba.errors import UMambaError
from umamba.evaluation.metrics import METRICS

TASKS = """\
task,case,model,score,seed,cluster
{rows}
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two tasks, three models with names that would break pages and figures, two seeds."""
    names = ["<b>net</b>|1", "$cost$", "plain"]
    rows = [
        f"{task},c{case},{name},{60 + 5 * m * (1 - 2 * t) + case % 5 + seed},{seed},p{case}"
        for t, task in enumerate(("liver", "spleen"))
        for m, name in enumerate(names)
        for case in range(8)
        for seed in (0, 1)
    ]
    file = tmp_path / "tasks.csv"
    file.write_text(TASKS.format(rows="\n".join(rows)))
    return file


def test_a_folder_with_everything(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "ranked"
    arguments = ["rank", str(table), "--baseline", "plain", "--lower-is-better", "-o", str(output)]
    (tmp_path / "ranked").mkdir()  # an empty folder is nobody's
    assert main([*arguments, "--margin", "0.5"]) == 0
    out, err = capsys.readouterr()
    described = "long: a row per case and model; scores are score, of which lower is better"
    assert err.splitlines()[0] == f"taken for {described}"
    liver, _, spleen = out.partition("task spleen")
    assert "$cost$ against plain: better by 5.0 units of score" in liver
    assert "$cost$ against plain: worse by 5.0 units of score" in spleen
    assert "by a margin of 0.5 units of score: inferior by the margin" in out
    assert out.splitlines()[-2:] == [str(output / n) for n in ("summary.md", "report.html")]
    kinds = FIGURES[:-1]  # there are no subgroups
    figures = {f"{n}_{kind}.{e}" for n in (1, 2) for kind in kinds for e in ("svg", "png")}
    assert {path.name for path in (output / "figures").iterdir()} == figures
    text = (output / "summary.md").read_text()
    for said in (
        described,
        "## All tasks",
        "## Task liver",
        "### All pairs",
        "figures/2_significance_map.png",
        "&lt;b>net&lt;/b>\\|1",
        "Baseline: plain",
        "says nothing about other tasks",
    ):
        assert said in text
    assert "trained network" not in text  # there are two seeds
    assert "<b>" not in text
    rows = [*csv.DictReader((output / "models.csv").read_text().splitlines())]
    assert [(r["task"], r["model"], r["rank"]) for r in rows[:3:2]] == [
        ("liver", "<b>net</b>|1", "1"),
        ("liver", "plain", "3"),
    ]
    assert len((output / "pairs.csv").read_text().splitlines()) == 1 + 6
    read = read_ranking(output)
    assert read.consensus is not None
    assert {rank.mean_rank for rank in read.consensus.models} == {2.0}
    assert [rank.rank for rank in read.consensus.models] == [1, 1, 1]


def test_json_holds_everything_but_the_scores(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rank", str(table), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    result = umamba.rank(scores=str(table))
    assert shown == result.to_dict()
    assert "scores" not in shown
    assert {task["task"] for task in shown["tasks"]} == {"liver", "spleen"}
    assert len(result.rows()) == len(result.to_pandas()) == 6
    assert result.output is None


WIDE = "case,a,b\nx,0.1,0.2\ny,0.3,0.5\nz,0.4,0.4\n"
LONG = "case,model,score\nx,a,0.1\ny,a,0.3\nx,b,0.2\ny,b,0.2\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", [], "t.csv is empty; give a table with the header case,MODEL,MODEL,... or"),
        ("case,a,b\n", [], "t.csv holds no row of scores; give"),
        ("x,0.1,0.2\ny,0.3,0.5\n", [], "has no column case: its columns are 'x,0.1,0.2'; give"),
        (WIDE + "x,0.3,0.3\n", [], "line 5: case x of a has a score in"),
        (LONG + "x,a,0.3\n", [], "or tell trainings apart by a column seed"),
        (WIDE.replace("0.5", "good"), [], "line 3: b is 'good', which is not a number; leave"),
        (WIDE.replace("0.5", '"0,5"'), [], "which is not a number; write decimals with a point"),
        (WIDE.replace("0.5", "1_0"), [], "line 3: b is '1_0', which is not a number"),
        (WIDE.replace("0.5", "NaN"), [], "1 score is missing: b in y; complete them, or give"),
        (WIDE.replace("0.5", ""), [], "1 score is missing: b in y"),
        (WIDE.replace("0.5", "inf"), [], "1 score is missing: b in y"),
        (LONG + "z,a,1\nw,a,1\n", [], "2 scores are missing: b in z; b in w; complete them"),
        ("case,a,b\nx,0.1,0.2\n", [], "a has a score of 1 case only; give two cases or more"),
        (
            WIDE.replace("0.5", "").replace("0.4,0.4", "0.4,"),
            ["--missing", "omit"],
            "b has a score of 1 case only; give two cases or more, or leave it out",
        ),
        ("case,a,b\nx,1,1\ny,1,1\n", [], "all scores are 1; nothing can be ranked"),
        ("case,a\nx,1\ny,2\n", [], "t.csv has one model only, a; give scores of two or more"),
        ("case,group\nx,1\ny,2\n", [], "has no column of scores besides case, group"),
        ("case,a,a\nx,1,1\n", [], "has two columns 'a'"),
        ("case,a,b\nx,1\n", [], "line 2 has 2 cells, the header 3"),
        ("case,case_id,a,b\nx,x,1,1\n", [], "has the columns case and case_id; leave one"),
        ("case,a,b\n,1,2\n", [], "line 2: case is '', which is not a name"),
        ("case,a,b\nx,,\ny,,\n", [], "there is no score at all; check the column"),
        (
            "case,model,metric,value\nx,a,dice,1\nx,a,hd95,2\n",
            [],
            "by a column seed (not used: metric), or keep the rows of one metric only",
        ),
        (
            "case,model,label,dice\nx,a,1,0.5\nx,b,liver,0.5\n",
            ["--missing", "omit"],
            "a has scores of label 1, b of label liver; give both the same labels",
        ),
        (
            "case,model,label,dice\nx,a,1,0.5\nx,b,1,0.5\n",
            ["y=d.csv", "--metric", "dice"],
            "a has scores of label 1, y of whole cases; give both the same labels",
        ),
        ("case,a,b\nx,1,\ny,2,\n", ["--missing", "omit"], "has scores of one model per task only"),
        (WIDE, [" =c.csv"], "is not NAME=FILE, as one of the two is empty"),
        (WIDE, ["a="], "is not NAME=FILE, as one of the two is empty"),
        ("case,seed,a,b\nx,0.5,1,2\n", [], "seed is '0.5', which is not a whole number"),
        ("case,seed,a,b\nx,one,1,2\n", [], "seed is 'one', which is not a whole number"),
        ("case,label,dice,hd95\nx,1,1,2\n", [], "of a model that it does not name; give it as"),
        ("case,model,p,q\nx,a,1,2\n", [], "which column holds the scores (p, q); give --metric"),
        ("case,model,p,q\nx,a,1,2\n", ["--metric", "r"], "column 'r' does not exist; choose one"),
        ("case,group,a,b\nx,g,1,2\nx,h,1,2\n", [], "case x is of group g elsewhere, and of h"),
        (
            "case,task,group,a,b\nx,p,g,1,2\nx,q,h,1,2\n",
            [],
            "and of h here; give it one, or, as a case is the same in every task, give cases of",
        ),
        (
            "case,model,hd95,empty\nx,a,1,\nx,b,,prediction\ny,a,,reference\ny,b,,both\n",
            [],
            "1 score is missing (1 of an empty prediction): b in x; complete them, or give",
        ),
        ("case,fold,a,b\nx,0,1,2\nx,1,1,2\n", [], "case x of a has a score in"),
        (WIDE, ["--baseline", "c"], "baseline 'c' does not exist; choose one of a, b"),
        (
            WIDE,
            ["--metric", "volume_bias"],
            "neither higher nor lower is better; give another --metric",
        ),
        (WIDE.replace("0.4", "40"), ["--metric", "dice"], "that of a in z is 40; give fractions"),
        (WIDE.replace("0.1", "-1"), ["--metric", "IoU"], "iou lies between 0 and 1, but that of a"),
        (
            WIDE,
            ["--metric", "dice", "--lower-is-better"],
            "--lower-is-better: higher dice is better; leave it",
        ),
        (WIDE, ["--missing", "ignore"], "treatment 'ignore' does not exist; choose one of error"),
        (WIDE, ["--margin", "0"], "'0' is not a positive number"),
        (WIDE, ["--groups", "no.csv"], "no.csv cannot be read: No such file"),
        (WIDE, ["--clusters", "c.csv"], "--clusters: case z is missing; name every compared case"),
        (
            "case,cluster,a,b\nx,p,1,2\ny,p,3,1\n",
            ["--clusters", "c.csv"],
            "--clusters: t.csv has a column cluster already; leave one of them out",
        ),
        (WIDE, ["d=d.csv", "e=e.csv"], "hold different scores (dice, hd95); give --metric"),
        (WIDE, ["-o", "c.csv"], "c.csv exists already; it is not the folder of a ranking"),
    ],
)
def test_a_table_that_cannot_be_ranked_is_told_in_one_line_and_nothing_is_left(
    text: str,
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(text)
    Path("c.csv").write_text("case,cluster\nx,1\ny,1\n")
    Path("d.csv").write_text("case,dice\nx,0.5\n")
    Path("e.csv").write_text("case,hd95\nx,0.5\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    output = [] if "-o" in options else ["-o", "ranked"]
    try:
        code = main(["rank", "t.csv", *options, *output])
    except SystemExit as stopped:
        code = stopped.code  # type: ignore[assignment]
    assert code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    told = [line for line in err.splitlines() if not line.startswith("see umamba")]
    assert len(told) == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "row 1: 1 is not an object with a key per column"),
        ("{}", "is neither a list of rows nor nnU-Net's summary.json"),
        ("[", "cannot be read"),
        ('{"metric_per_case": [{"metrics": {}}]}', "is not a whole summary of nnU-Net"),
        (
            '{"metric_per_case": [{"prediction_file": "a.png", "metrics": {"1": {"IoU": 1}}}]}',
            "metric 'Dice' does not exist; choose one of IoU",
        ),
        ('[{"case": true, "a": 1, "b": 2}]', "case is True, which is not a name"),
    ],
)
def test_json_that_is_something_else(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text(content)
    with pytest.raises(UMambaError) as caught:
        umamba.rank(scores=file)
    assert message in str(caught.value)
    (tmp_path / "long.csv").write_text(LONG)
    with pytest.raises(UMambaError, match="names its models in column model; leave out x="):
        umamba.rank(scores={"x": tmp_path / "long.csv"})
    for missing in (tmp_path / "no.csv", tmp_path):
        with pytest.raises(UMambaError, match=r"does not exist; give|has no summary\.json"):
            umamba.rank(scores=missing)


@pytest.mark.parametrize(
    ("missing", "mean", "n"), [("omit", 0.35, 2), ("worst", 0.3, 3), (0.0, 0.7 / 3, 3)]
)
def test_missing_scores_are_treated_as_said(
    missing: str | float, mean: float, n: int, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("case,a,b\nx,0.2,0.3\ny,0.4,\nz,0.6,0.4\n")
    (task,) = umamba.rank(scores=tmp_path / "t.csv", missing=missing).ranking.tasks
    (comparison,) = task.statistics.comparisons
    assert comparison.baseline_mean == pytest.approx(0.4)
    assert comparison.n_cases == n
    assert task.n_filled == {"b": 1}
    assert comparison.model_mean == pytest.approx(mean)


@pytest.mark.parametrize(("missing", "mean"), [("omit", 2.5), ("worst", 4.0)])
def test_nothing_is_gained_by_predicting_nothing(missing: str, mean: float, tmp_path: Path) -> None:
    rows = "w,a,1,\nx,a,2,\ny,a,7,\nz,a,,reference\nw,b,2,\nx,b,3,\ny,b,,prediction\nz,b,,both\n"
    (tmp_path / "t.csv").write_text(f"case,model,hd95,empty\n{rows}")
    result = umamba.rank(scores=tmp_path / "t.csv", missing=missing, output=tmp_path / "ranked")
    (task,) = result.ranking.tasks
    assert task.n_filled == {"b": 1}
    means = {summary.model: summary.estimate.mean for summary in task.statistics.summaries}
    assert means == {"a": pytest.approx(10 / 3), "b": pytest.approx(mean)}
    done = "left out" if missing == "omit" else "replaced"
    said = f"Missing scores that were {done}: b 1."
    assert said in (tmp_path / "ranked" / "summary.md").read_text()
    if missing == "omit":  # as a ranking of an earlier version, which refused nothing of the kind
        file = tmp_path / "ranked" / "results.json"
        content = json.loads(file.read_text())
        content["settings"]["missing"], content["tasks"][0]["n_filled"] = "error", {}
        file.write_text(json.dumps(content))
        assert umamba.report(results=tmp_path / "ranked").to_dict() == result.to_dict()


def test_a_case_counts_as_the_mean_of_its_labels_unless_one_is_missing(tmp_path: Path) -> None:
    header = "case,label,a,b\n"
    labels = "x,l,0.2,0.4\nx,r,0.4,0.8\ny,l,0.5,0.5\ny,r,0.7,\nz,l,0.1,0.2\n"
    (tmp_path / "t.csv").write_text(header + labels)
    (task,) = umamba.rank(scores=tmp_path / "t.csv", missing="omit").ranking.tasks
    (comparison,) = task.statistics.comparisons
    assert comparison.n_cases == 2  # x and z, which has one label for both
    assert comparison.baseline_mean == pytest.approx((0.3 + 0.1) / 2)
    assert comparison.model_mean == pytest.approx((0.6 + 0.2) / 2)


def test_ranks_say_over_which_cases_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{n},0.{5 + n % 2},0.{4 + n % 3},{'0.7' if n < 3 else ''}" for n in range(9)]
    (tmp_path / "t.csv").write_text("\n".join(["case,a,b,c", *rows]))
    arguments = ["rank", str(tmp_path / "t.csv"), "-o", str(tmp_path / "ranked"), "--missing"]
    for treatment, is_said in (("omit", True), ("worst", False)):
        assert main([*arguments, treatment]) == 0
        out, err = capsys.readouterr()
        for text in (out, (tmp_path / "ranked" / "summary.md").read_text()):
            said = "Ranks are over the 3 cases that have a score of every model (6 left out)"
            assert (said in text) == is_said
        assert "scores are score, of which higher is better (--lower-is-better if not)" in err


def test_models_without_a_score_in_a_task_are_left_out_of_it_and_named(tmp_path: Path) -> None:
    rows = [f"{t},{n},{'' if t else n},{n % 3},{n % 2}" for t in (0, 1) for n in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["task,case,a,b,c", *rows]))
    result = umamba.rank(scores=tmp_path / "t.csv", missing="omit", baseline="a")
    models = [{s.model for s in t.statistics.summaries} for t in result.ranking.tasks]
    assert models == [{"a", "b", "c"}, {"b", "c"}]
    first, second = str(result).split("task 1")
    assert "left out" not in first
    assert "Without any score here, and left out: a." in second
    assert "As the baseline a has none, no model is compared with it." in second


def test_numbers_that_pandas_wrote_and_folds_that_only_one_file_tells(tmp_path: Path) -> None:
    rows = [f"c{n},{n % 2}.0,1.0,0.{n + 1}" for n in range(4)]
    (tmp_path / "a.csv").write_text("\n".join(["case,fold,seed,dice", *rows]))
    (tmp_path / "b.csv").write_text(
        "\n".join(["case,dice", *(f"c{n},0.{5 - n}" for n in range(4))])
    )
    found = umamba.rank(scores={"b": tmp_path / "b.csv", "a": tmp_path / "a.csv"}).ranking.scores
    assert {(row.model, row.seed) for row in found} == {("a", 1), ("b", None)}
    assert {(row.case, row.fold) for row in found} == {(f"c{n}", n % 2) for n in range(4)}
    summaries = []
    for number in (0, 1):
        file = tmp_path / str(number) / "validation" / "summary.json"
        file.parent.mkdir(parents=True)
        case = {"prediction_file": "c0.nii.gz", "metrics": {"1": {"Dice": 0.5}}}
        file.write_text(json.dumps({"metric_per_case": [case]}))
        summaries.append(file)
    with pytest.raises(UMambaError, match=r"name the models or trainings, as in a=run_1/summary"):
        umamba.rank(scores=summaries)


def test_decimals_are_not_those_of_rounding_errors(tmp_path: Path) -> None:
    rows = [f"{n},{n / 7},{n / 7 + 0.3}" for n in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["case,a,b", *rows]))
    result = umamba.rank(scores=tmp_path / "t.csv")
    (pair,) = result.ranking.tasks[0].pairs
    assert 0 < pair.difference.standard_error < 1e-15
    assert "+0.30 [0.30, 0.30]" in str(result)


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        (("1,2,", ",1,2"), "fewer than two models have scores in every task"),
        (
            ("1,2,", "1,,"),
            "in at least one of them fewer than two cases, or clusters, have a score",
        ),
    ],
)
def test_tasks_without_a_common_ranking_are_told_why(
    scores: tuple[str, str], why: str, tmp_path: Path
) -> None:
    first, second = scores
    rows = [f"one,{n},{first.replace('2', str(n))}" for n in range(4)]
    rows += [f"two,{n},{second.replace('2', str(n)) if n < 2 else ',1,3'}" for n in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["task,case,a,b,c", *rows]))
    result = umamba.rank(scores=tmp_path / "t.csv", missing="omit", output=tmp_path / "ranked")
    assert result.ranking.consensus is None
    said = f"There is no ranking over all tasks, as {why}"
    assert said in str(result)
    for name in ("summary.md", "report.html"):
        assert said in (tmp_path / "ranked" / name).read_text()


def summary_of(folder: Path, score: float) -> Path:
    """Write nnU-Net's summary of four cases."""
    folder.mkdir(parents=True)
    cases = [
        {"prediction_file": f"c{n}.nii.gz", "metrics": {"1": {"Dice": score + n / 100}}}
        for n in range(4)
    ]
    (folder / "summary.json").write_text(json.dumps({"metric_per_case": cases}))
    return folder / "summary.json"


def test_a_training_on_all_cases_is_not_ranked_on_them(tmp_path: Path) -> None:
    other = summary_of(tmp_path / "other", 0.6)
    alone = summary_of(tmp_path / "net" / "fold_all" / "validation", 0.9)
    for scores in (alone, tmp_path / "net"):
        with pytest.raises(UMambaError, match="scores the cases that its model was trained on"):
            umamba.rank(scores=[other, scores])
    summary_of(tmp_path / "net" / "fold_0" / "validation", 0.5)
    found = umamba.rank(scores=[other, tmp_path / "net"]).ranking.scores
    assert {row.value for row in found if row.model == "net"} == {0.5, 0.51, 0.52, 0.53}


def test_names_of_metrics_may_be_spelled_in_capitals(tmp_path: Path) -> None:
    file = summary_of(tmp_path / "b", 0.5)
    rows = [f"c{n},1,0.{n + 1}" for n in range(4)]
    (tmp_path / "a.csv").write_text("\n".join(["case,label,Dice", *rows]))
    for metric in (None, "DICE"):
        result = umamba.rank(scores={"a": tmp_path / "a.csv", "b": file}, metric=metric)
        assert result.ranking.settings.metric == "Dice"
        assert result.ranking.settings.unit == "Dice points"


def test_without_cases_in_common_there_are_no_ranks(tmp_path: Path) -> None:
    table = "case,a,b\nu,0.1,\nv,0.3,\nw,,0.2\nx,,0.4\n"
    (tmp_path / "t.csv").write_text(table)
    assert "Without ranks: fewer" in str(umamba.rank(scores=tmp_path / "t.csv", missing="omit"))


def test_files_of_one_name_are_repeated_trainings(tmp_path: Path) -> None:
    for number in range(3):
        rows = [f"c{case},{case % 3 + number * case % 2}" for case in range(9)]
        (tmp_path / f"{number}.csv").write_text("\n".join(["case,score", *rows]))
    files = [f"{name}={tmp_path / f'{n}.csv'}" for name, n in (("a", 0), ("a", 1), ("b", 2))]
    ranking = umamba.rank(scores=files).ranking
    seeds = {summary.model: summary.seeds for summary in ranking.tasks[0].statistics.summaries}
    assert seeds == {"a": (0, 1), "b": (None,)}
    assert not ranking.repeated
    assert "b was trained once per fold" in ranking.tasks[0].verdicts["b"]


def test_an_earlier_ranking_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(WIDE)
    output = tmp_path / "ranked"
    for metric in ("first", "second"):
        umamba.rank(scores=tmp_path / "t.csv", metric=metric, output=output)
        assert f"scores are {metric}" in (output / "summary.md").read_text()
    for name in ("table.csv", "figures/mine.png"):
        foreign = output / name
        foreign.write_text(WIDE)
        before = set(output.rglob("*"))
        with pytest.raises(UMambaError, match=f"with {re.escape(name)}, which no ranking wrote"):
            umamba.rank(scores=foreign, output=output)
        assert set(output.rglob("*")) == before
        foreign.unlink()
    (output / "results.json").write_text("{}")
    with pytest.raises(UMambaError, match="exists already; it is not the folder of a ranking"):
        umamba.rank(scores=tmp_path / "t.csv", output=output)


def test_results_of_another_kind_are_refused(tmp_path: Path) -> None:
    for content, message in (
        ('{"schema": "x"}', "is of schema 'x'"),
        ('{"schema": "umamba-ranking", "schema_version": 1}', "is damaged"),
    ):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(UMambaError, match=message):
            read_ranking(tmp_path)


def test_the_page_does_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (REPOSITORY / "docs" / "how-to" / "rank.md").read_text()
    table, command, example = (
        re.findall(rf"```{kind}[^\n]*\n(.*?)```", page, re.DOTALL)[0]
        for kind in ("csv", "bash", "python")
    )
    assert all(f"{m.name}`" in page for m in METRICS.values() if m.is_overlap)
    monkeypatch.chdir(tmp_path)
    Path("scores.csv").write_text(table)
    assert main(shlex.split(command)[1:]) == 0
    exec(example, {})
    printed = capsys.readouterr().out
    assert "net (baseline)" in printed
    assert "wide_net against net: no verdict on the models" in printed
    assert "these trained networks: better by " in printed
    assert Path("ranked", "summary.md").is_file()
