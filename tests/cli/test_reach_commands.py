"""`umamba benchmark receptive-field` and `long-range`: files, output, exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from umamba.cli.main import main

FIELD = ["benchmark", "receptive-field", "nnunet", "--patch-size", "16", "16", "--features", "2"]
RANGE = ["benchmark", "long-range", "nnunet:2", "--dims", "2", "--steps", "1", "--seeds", "1"]


def test_receptive_field_writes_table_data_maps_and_plots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "field"
    assert main([*FIELD, "--number", "1", "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert shown == (output / "receptive-field.md").read_text()
    content = json.loads((output / "receptive-field.json").read_text())
    assert [field["name"] for field in content["fields"]] == ["nnunet"]
    with np.load(output / "receptive-field.npz") as maps:
        assert maps["nnunet"].shape == (16, 16)
        assert maps["nnunet"].sum() == pytest.approx(1, abs=1e-5)
    for name in ("receptive-field.png", "receptive-field-maps.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (output / "receptive-field.svg").read_text()
    assert str(tmp_path) not in json.dumps(content) + shown


def test_long_range_writes_table_data_and_plots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*RANGE, "--distances", "8", "--output", str(tmp_path), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((tmp_path / "long-range.json").read_text())
    assert [trial["model"] for trial in content["trials"]] == ["nnunet"]
    for name in ("long-range.png", "long-range-maps.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert main([*RANGE, "--distances", "8", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == (tmp_path / "long-range.md").read_text()


def test_an_interrupted_study_exits_with_75(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.Adam, "zero_grad", interrupt)
    assert main([*RANGE, "--output", str(tmp_path)]) == 75
    assert "run the same command again to train what is left" in capsys.readouterr().err
    assert list((tmp_path / "trainings").iterdir()) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([*FIELD, "--all"], "--all includes nnunet"),
        ([*FIELD, "--images", "images"], "--images need a trained model"),
        ([*FIELD, "--output", "FILE"], "give another folder as --output"),
        ([*RANGE, "--output", "FILE"], "give another folder as --output"),
        ([*RANGE, "--distances", "99"], "distance 99 does not fit"),
    ],
)
def test_users_mistakes_exit_with_2_and_one_message(
    command: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("")
    assert main(command) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("umamba benchmark: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
