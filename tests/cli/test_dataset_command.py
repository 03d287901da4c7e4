import json
import subprocess
import sys

import numpy as np
import pytest
from skimage.io import imread, imsave

from umamba.cli import main as main_module

NAME = "Dataset007_Test"


@pytest.fixture(autouse=True)
def only_this_command(monkeypatch):
    monkeypatch.setattr(main_module, "COMMANDS", ("_dataset",))
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, "")


@pytest.fixture
def files(tmp_path):
    mask = np.zeros((8, 10), np.uint8)
    mask[2:5, 2:5] = 255
    image = np.arange(80, dtype=np.uint8).reshape(8, 10)
    for folder, arrays in (("images", (image, image[::-1])), ("masks", (mask, mask))):
        (tmp_path / folder).mkdir()
        for case, array in zip("ab", arrays, strict=True):
            imsave(tmp_path / folder / f"{case}.png", array, check_contrast=False)
    return tmp_path


def umamba(files, *options, raw=True):
    folders = ["--images", f"{files}/images", "--masks", f"{files}/masks"]
    where = ["--raw", f"{files}/raw"] if raw else []
    return main_module.main(["dataset", NAME, *folders, *where, *options])


def test_makes_a_data_set(files, capsys):
    assert umamba(files, "--map", "255=1", "--labels", "nucleus=1", "--channels", "EM") == 0
    assert capsys.readouterr().out == (
        f"{NAME}: 2 cases, channels EM, labels background=0 nucleus=1, files .png\n"
        f"{files}/raw/{NAME}\n"
    )
    assert set(np.unique(imread(files / "raw" / NAME / "labelsTr" / "a.png"))) == {0, 1}


def test_json_result(files, capsys):
    assert umamba(files, "--instances", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "dataset": NAME,
        "cases": 2,
        "file_ending": ".png",
        "labels": {"background": 0, "object": 1},
        "channels": ["channel_0"],
        "path": f"{files}/raw/{NAME}",
        "warnings": [],
    }


def test_problems_go_to_stderr_with_exit_code_2(files, capsys):
    (files / "masks" / "b.png").unlink()
    assert umamba(files, "--instances") == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("umamba dataset: 1 problem; nothing was written\n")
    assert "  case b: images/b.png: the image has no mask; add a mask named b" in output.err
    assert not (files / "raw").exists()


def test_problems_as_json(files, capsys):
    assert umamba(files, "--labels", "nucleus=1", "--json") == 2
    output = capsys.readouterr()
    assert "case a: masks/a.png: the mask holds the value 255" in output.err
    content = json.loads(output.out)
    assert content["error"] == "2 problems; nothing was written"
    assert [problem["case"] for problem in content["problems"]] == ["a", "b"]
    assert content["problems"][0]["file"] == f"{files}/masks/a.png"
    assert content["problems"][0]["fix"].endswith("--map 255=LABEL")


def test_an_error_without_cases_as_json(files, capsys):
    assert umamba(files, "--json", raw=False) == 2
    content = json.loads(capsys.readouterr().out)
    assert content["problems"] == []
    assert "give --raw DIR, or set the environment variable nnUNet_raw" in content["error"]


def test_raw_folder_from_the_environment(files, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", f"{files}/elsewhere")
    assert umamba(files, "--instances", raw=False) == 0
    assert (files / "elsewhere" / NAME / "dataset.json").is_file()


def test_warnings_are_logged(files, caplog):
    caplog.set_level("INFO")
    assert umamba(files, "--instances", "--ignore", "7") == 0
    assert "warning: all cases: --ignore 7: no mask holds a voxel of it" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "nucleus"), "--labels nucleus: give each once, as NAME=VALUE"),
        (("--labels", "a=1", "a=2"), "--labels a=2: give each once"),
        (("--labels", "=1"), "--labels =1: give each once"),
        (("--map", "x=1"), "--map x=1: give each once, as OLD=NEW"),
        (("--channels", "T1=_t1", "T2"), "--channels: give every channel a suffix"),
    ],
)
def test_mistakes_in_options(files, capsys, options, message):
    assert umamba(files, *options) == 2
    assert message in capsys.readouterr().err


def test_overwrite(files, capsys):
    assert umamba(files, "--instances") == 0
    assert umamba(files, "--instances") == 2
    assert "exists already; add --overwrite" in capsys.readouterr().err
    assert umamba(files, "--instances", "--overwrite") == 0


def test_suffixes_spacing_and_channels_reach_the_library(files, capsys):
    for case in ("a", "b"):
        for folder, suffix in (("images", "_t1"), ("masks", "_seg")):
            file = files / folder / f"{case}.png"
            file.rename(file.with_name(f"{case}{suffix}.png"))
    options = ("--channels", "T1=_t1", "--mask-suffix", "_seg", "--instances")
    assert umamba(files, *options, "--spacing", "1", "1", "1") == 2
    assert "--spacing is for 3D TIFF stacks" in capsys.readouterr().err
    assert umamba(files, *options) == 0
    assert (files / "raw" / NAME / "imagesTr" / "b_0000.png").is_file()


def test_the_module_imports_nothing_heavy():
    code = "import sys, umamba.cli._dataset; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "SimpleITK", "tqdm", "nnunetv2"} & set(run.stdout.split())
