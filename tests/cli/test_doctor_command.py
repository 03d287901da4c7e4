"""`umamba doctor`: what is printed, and the exit codes."""

import json
from collections import namedtuple
from pathlib import Path

import pytest

from scan_cases import replace_backend
from umamba.cli.main import main
from umamba.doctor import folders

VARIABLE = "UMAMBA_SCAN_BACKEND"
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def sound_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders with space, and limits that are not those of the machine that tests."""
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: Usage(2**40, 0, 2**40))
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    monkeypatch.setenv("nnUNet_compile", "f")


def test_report_for_people_and_for_machines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr()
    headings = [line for line in shown.out.splitlines() if line and line[0] != " "]
    assert headings == [
        "Versions",
        "Devices and selective scan",
        "Compilation",
        "nnU-Net",
        "nnU-Net's folders",
        "Plans",
        "Workers",
    ]
    assert "cpu: reference" in shown.out
    assert shown.err == ""
    assert main(["doctor", "--json"]) == 0
    sections = {s["name"]: s for s in json.loads(capsys.readouterr().out)["sections"]}
    assert list(sections) == headings
    assert sections["Devices and selective scan"]["lines"]["cpu: torch"].startswith("runs")
    assert all(section["problems"] == [] for section in sections.values())


def test_folders_by_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--results", str(tmp_path / "other")]) == 0
    assert f"warning: {tmp_path}/other does not exist; `mkdir -p" in capsys.readouterr().out


def test_exit_code_1_if_a_folder_is_not_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("nnUNet_results")
    assert main(["doctor"]) == 1
    assert "problem: nnUNet_results is not set; `export nnUNet_results=" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_exit_code_1_if_what_is_asked_for_cannot_run(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_backend(monkeypatch, "triton", why_not=lambda _: "no kernel")
    monkeypatch.setenv(VARIABLE, "triton")
    assert main(["doctor", *options]) == 1
    assert "asks for triton, which runs on no device here" in capsys.readouterr().out
    monkeypatch.setenv(VARIABLE, "torch")
    assert main(["doctor", *options]) == 0


def test_exit_code_2_for_a_backend_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "fast")
    assert main(["doctor"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(
        "umamba doctor: UMAMBA_SCAN_BACKEND 'fast' does not exist; choose one of auto"
    )
    assert shown.err.count("\n") == 1
