"""`umamba doctor`: what is printed, and the exit codes."""

import json

import pytest

from umamba.cli.main import main
from umamba.doctor import scan

VARIABLE = "UMAMBA_SCAN_BACKEND"


def test_report_for_people_and_for_machines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("Selective scan\n")
    assert "cpu: reference" in shown.out
    assert shown.err == ""
    assert main(["doctor", "--json"]) == 0
    (section,) = json.loads(capsys.readouterr().out)["sections"]
    assert section["name"] == "Selective scan"
    assert section["lines"]["cpu: torch"].startswith("runs")
    assert section["problems"] == []


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_exit_code_1_if_what_is_asked_for_cannot_run(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scan, "why_not", lambda name, _: None if name == "torch" else "no kernel")
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
