"""The command line as a whole: instant, honest about errors, documented."""

import re
import subprocess
import sys

import pytest

import umamba
from umamba.cli.main import COMMANDS, build_parser, main


def run_python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_import_and_help_load_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, umamba, umamba.cli.main as m\n"
        "m.build_parser().format_help()\n"
        "print([n for n in ('torch', 'numpy', 'nnunetv2', 'SimpleITK') if n in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_public_names_are_there_and_others_are_not() -> None:
    assert umamba.selective_scan is umamba.ops.dispatch.selective_scan  # type: ignore[attr-defined]
    assert set(umamba.__all__) <= {*dir(umamba)}
    with pytest.raises(AttributeError, match="no attribute 'scan'"):
        _ = umamba.scan


@pytest.mark.parametrize("name", [name.removeprefix("_") for name in COMMANDS])
def test_every_command_explains_itself_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert re.search(rf"examples?: umamba {name}", shown)


def test_no_command_and_unknown_models_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["fly"], ["plan", "4", "--model", "vnet"], ["plan", "4"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
    assert (
        "umamba_enc_official"
        in build_parser().parse_args(["plan", "4", "--model", "umamba_enc_official"]).model
    )
    capsys.readouterr()


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "4", "--model", "umamba_bot", "--features", "8,x"],
        ["train", "4", "2d", "0", "-p", "P", "--epochs", "0"],
        ["train", "4", "2d", "0"],
        ["train", "4", "2d", "0", "-p", "P", "--model", "umamba_bot"],
    ],
)
def test_bad_values_are_refused_by_the_parser(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "see umamba" in capsys.readouterr().err


def test_predict_needs_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "-i", "in", "-o", "out"]) == 2
    assert "name the model by its folder (-m), or by -d, -c" in capsys.readouterr().err
    assert main(["predict", "-i", "in", "-o", "out", "-m", "/no/such/model"]) == 2
    assert "model folder /no/such/model does not exist" in capsys.readouterr().err


def test_the_command_itself_is_no_worker() -> None:
    code = (
        "import multiprocessing, signal, threading; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
        "import umamba.cli.main; assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL; "
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
