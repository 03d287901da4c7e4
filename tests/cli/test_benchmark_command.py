"""`umamba benchmark`: what is written and printed where, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from umamba.cli.main import main

QUICK = ["benchmark", "scaling", "--lengths", "16", "32", "64", "--d-model", "8", "--device", "cpu"]


def test_table_data_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "scaling"
    assert main([*QUICK, "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert shown == (output / "scaling.md").read_text()
    assert shown.startswith("|   length |")
    content = json.loads((output / "scaling.json").read_text())
    assert [len(layer["points"]) for layer in content["layers"]] == [3, 3, 3]
    assert content["d_model"] == 8
    assert (output / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (output / "scaling.svg").read_text()
    assert str(tmp_path) not in json.dumps(content) + shown


def test_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--output", str(tmp_path), "--threads", "1", "--budget", "30", "--json"]
    assert main([*QUICK, *options]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((tmp_path / "scaling.json").read_text())
    assert content["budget_s"] == 30
    assert content["machine"]["threads"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lengths", "64"], "--lengths 64: give two or more different lengths"),
        (["--d-model", "6"], "--d-model 6: attention has 4 heads"),
        (["--device", "cuda"], "--device cuda: torch finds no CUDA device here"),
        (["--output", "FILE"], "give another folder as --output"),
    ],
)
def test_users_mistakes_exit_with_2_and_one_message(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("")
    assert main([*QUICK, *options]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("umamba benchmark: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


@pytest.mark.parametrize("options", [[], ["speed"], ["scaling", "--budget", "0"]])
def test_bad_values_are_refused_by_the_parser(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["benchmark", *options])
    assert stopped.value.code == 2
    assert "see umamba benchmark" in capsys.readouterr().err
