"""torch.compile: nnU-Net uses it on a GPU unless told otherwise, and needs a compiler."""

import shutil
from pathlib import Path

import pytest

from umamba.doctor import compilation
from umamba.doctor.compilation import examine_compilation


@pytest.fixture(autouse=True)
def headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take what this machine has out of it; return where Python.h is."""
    for name in ("CC", "CXX", "nnUNet_compile"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(compilation.sysconfig, "get_path", lambda _: str(tmp_path))
    return tmp_path / "Python.h"


def install(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a PATH with this program only."""
    (folder / name).write_text("#!/bin/sh")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_compiler_is_there(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, {"cpu": "g++", "cuda": "gcc"}[device], monkeypatch)
    section = examine_compilation(device)
    assert section.lines["torch.compile"] == "available"
    assert section.problems == ()
    uses = {"cpu": "does not compile on cpu", "cuda": "compiles the network"}
    assert section.lines["nnU-Net"] == uses[device]


def test_launchers_need_headers_of_python(
    headers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "gcc", monkeypatch)
    headers.unlink()
    (problem,) = examine_compilation("cuda").problems
    assert f"cannot: no Python.h in {tmp_path}" in problem
    assert "`sudo apt install python3-dev`, or `export nnUNet_compile=f`" in problem


def test_none_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(compilation.sys, "platform", "linux")
    section = examine_compilation("cpu")
    assert section.lines["torch.compile"].startswith("no C++ compiler on the PATH; `sudo apt inst")
    assert section.problems == ()  # nnU-Net does not compile there
    (problem,) = examine_compilation("cuda").problems
    assert problem.startswith(
        "nnU-Net will try to compile, but cannot: no C compiler on the PATH; `sudo"
    )
    assert problem.endswith("or `export nnUNet_compile=f`")
    monkeypatch.setattr(compilation.sys, "platform", "darwin")
    assert "`xcode-select --install`" in examine_compilation("cpu").lines["torch.compile"]


@pytest.mark.parametrize(("value", "compiles"), [("f", False), ("no", False), ("True", True)])
def test_the_variable_decides(value: str, compiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setenv("nnUNet_compile", value)
    section = examine_compilation("cuda")
    assert bool(section.problems) == compiles
    assert section.lines["nnUNet_compile"] == value


def test_a_compiler_by_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "my-c++", monkeypatch)
    monkeypatch.setenv("CXX", "my-c++")
    assert examine_compilation("cpu").lines["torch.compile"] == "available"
    monkeypatch.setenv("CXX", "gone")
    line = examine_compilation("cpu").lines["torch.compile"]
    assert line == "CXX=gone is not a program on the PATH; `unset CXX`"
