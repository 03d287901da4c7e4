"""`umamba check`: what is printed, and the exit codes."""

import json
import subprocess
import sys

import pytest

from dataset_files import make_folders, save_raw
from umamba.cli.main import main


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, "")
    return make_folders(tmp_path)


def check(folders, *options):
    return main(["check", "7", "--raw", f"{folders}/raw", *options])


def test_a_good_data_set(folders, capsys):
    save_raw(folders)
    assert check(folders) == 0
    shown = capsys.readouterr()
    assert shown.out == "Dataset007_Test: 5 cases, 0 errors, 0 warnings\n"
    assert shown.err == ""


def test_errors_exit_with_2_and_are_the_result(folders, capsys):
    raw = save_raw(folders)
    (raw / "imagesTr" / "b_0000.nii.gz").write_bytes(b"")
    assert check(folders) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert first == "Dataset007_Test: 5 cases, 1 error, 0 warnings"
    assert second == ("error: case b: imagesTr/b_0000.nii.gz: the file is empty; replace the file")
    assert check(folders, "--json") == 2
    content = json.loads(capsys.readouterr().out)
    assert content["problems"] == [
        {
            "severity": "error",
            "case": "b",
            "file": str(raw / "imagesTr" / "b_0000.nii.gz"),
            "problem": "the file is empty",
            "fix": "replace the file",
        }
    ]


def test_warnings_alone_exit_with_0(folders, capsys):
    save_raw(folders, labels={"background": 0, "a": 1, "b": 2})
    assert check(folders, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["errors"], content["warnings"]) == (0, 1)


def test_what_cannot_be_checked(folders, capsys):
    assert check(folders, "--json") == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"].startswith("data set '7' was not found")
    assert shown.err.startswith("umamba check: data set '7' was not found")


def test_no_torch_is_needed(folders):
    save_raw(folders)
    code = (
        "import sys; from umamba.cli.main import main\n"
        f"main(['check', '7', '--raw', '{folders}/raw', '--json'])\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
