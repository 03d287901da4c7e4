"""nnU-Net's folders: set, there, writable, space."""

import os
from collections import namedtuple
from pathlib import Path

import pytest

from umamba.doctor import folders
from umamba.doctor.folders import examine_folders
from umamba.errors import UMambaError
from umamba.nnunet.paths import Paths

Usage = namedtuple("Usage", "total used free")
GIB = 2**30


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: Usage(0, 0, 100 * GIB))
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
    return Paths(tmp_path / "raw", tmp_path / "preprocessed", tmp_path / "results")


def test_good_folders(paths: Paths) -> None:
    section = examine_folders(paths)
    assert section.lines["nnUNet_raw"] == f"{paths.raw}: readable"
    assert section.lines["nnUNet_results"] == f"{paths.results}: writable, 100.0 GiB free"
    assert section.problems == section.warnings == ()
    assert not any(
        path.iterdir() for path in (paths.raw, paths.results) if path and any(path.iterdir())
    )


def test_not_set() -> None:
    section = examine_folders(Paths())
    assert section.problems[0] == ("nnUNet_raw is not set; `export nnUNet_raw=/path/to/nnUNet_raw`")
    assert len(section.problems) == 3


def test_not_there_yet(paths: Paths, tmp_path: Path) -> None:
    section = examine_folders(Paths(tmp_path / "a" / "b", paths.preprocessed, paths.results))
    assert section.problems == ()
    assert section.warnings == (f"{tmp_path}/a/b does not exist; `mkdir -p {tmp_path}/a/b`",)
    assert not (tmp_path / "a").exists()


def test_a_file_in_its_place(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    section = examine_folders(Paths(paths.raw, tmp_path / "file", paths.results))
    assert section.problems == (
        f"{tmp_path}/file is a file; `export nnUNet_preprocessed=/another/folder`",
    )


def test_not_writable(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere, so the check itself says no here."""

    def refuse(folder: Path, option: str) -> None:
        raise UMambaError(option)

    monkeypatch.setattr(folders, "check_writable", refuse)
    first, second = examine_folders(paths).problems
    assert first.startswith(f"nothing can be written to {paths.preprocessed}; `sudo chown $USER")
    assert second.endswith("`export nnUNet_results=/another/folder`")


def test_a_raw_folder_needs_only_to_be_read(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.R_OK)
    (problem,) = examine_folders(paths).problems
    assert problem == f"{paths.raw} cannot be read; `chmod u+rx {paths.raw}`"


@pytest.mark.parametrize(("free", "kind"), [(1, "problems"), (5, "warnings")])
def test_little_space(paths: Paths, monkeypatch: pytest.MonkeyPatch, free: int, kind: str) -> None:
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: Usage(0, 0, free * GIB))
    section = examine_folders(paths)
    assert getattr(section, kind)[1] == (
        f"{paths.results} has only {free}.0 GiB left; "
        "`export nnUNet_results=/folder/on/another/disk`"
    )
    assert len(section.problems) + len(section.warnings) == 2
