"""Commands that publish are killed, or meet a full disk, and leave nothing behind for good."""

import contextlib
import io
import os
import resource
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dataset_files import NAME as RAW_NAME
from dataset_files import make_folders, save_pair
from killed_steps import forked, kill, meeting
from toy import NAME
from toy_model import MODEL, write_toy_model
from umamba.cli.main import main

pytestmark = pytest.mark.nnunet


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def is_there(path: Path) -> bool:
    """Return whether something is published; an empty folder only keeps the name."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def some_steps(run: Callable[[], object], place: Path, n_last: int) -> list[int]:
    """Return a few of the steps that a run makes on what is in a folder: one amid, and the last."""

    def count() -> None:
        with meeting({}, os.fspath(place)) as steps:
            assert run() == 0
        (place.parent / "count").write_text(str(steps.count))

    assert forked(count) == 0
    total = int((place.parent / "count").read_text())
    assert total > 10
    return [total // 2, *range(total - n_last, total)]


def run_killed(run: Callable[[], object], place: Path, step: int) -> None:
    def killed() -> None:
        with meeting({step: kill}, os.fspath(place)):
            run()

    assert forked(killed) == -9


def dataset(folders: Path, *more: str) -> int:
    command = ["dataset", RAW_NAME, "--images", str(folders / "images"), *more]
    return main([*command, "--masks", str(folders / "masks"), "--raw", str(folders / "raw")])


def test_dataset(tmp_path: Path) -> None:
    folders = make_folders(tmp_path)
    save_pair(folders, "old")
    assert dataset(folders) == 0
    original = contents(folders / "raw")
    for path in folders.glob("*/old.nii.gz"):
        path.unlink()
    save_pair(folders, "new")
    spare = tmp_path / "spare"
    shutil.copytree(folders / "raw", spare, copy_function=shutil.copy2)
    steps = some_steps(lambda: dataset(folders, "--overwrite"), folders / "raw", 9)
    wanted = contents(folders / "raw")
    assert wanted.keys() != original.keys()
    for step in steps:
        shutil.rmtree(folders / "raw")
        shutil.copytree(spare, folders / "raw", copy_function=shutil.copy2)
        run_killed(lambda: dataset(folders, "--overwrite"), folders / "raw", step)
        assert dataset(folders) == 2
        assert contents(folders / "raw") in (original, wanted), step
        assert dataset(folders, "--overwrite") == 0
        assert contents(folders / "raw") == wanted, step
        assert [path.name for path in (folders / "raw").iterdir()] == [RAW_NAME]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("killed") / "results"
    torch.manual_seed(1)
    write_toy_model(results, ("0",))
    spare = results.parent / "spare"  # what is imported here no child has to import again
    assert export(results, spare) == 0
    assert main(["install", str(spare), "--results", str(results.parent / "elsewhere")]) == 0
    return results


def export(results: Path, output: Path) -> int:
    command = ["export", "901", "3d_fullres", "--model", "umamba_bot", "-o", str(output)]
    return main([*command, "--results", str(results)])


@pytest.mark.parametrize("name", ["model", "model.zip"])
def test_export(results: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / "place"
    steps = some_steps(lambda: export(results, place / name), place, 4)
    wanted = contents(place)
    for step in steps:
        shutil.rmtree(place)
        run_killed(lambda: export(results, place / name), place, step)
        code = 2 if is_there(place / name) else 0
        assert export(results, place / name) == code
        assert contents(place) == wanted, step
        assert [path.name for path in place.iterdir()] == [name]


def test_install(results: Path, tmp_path: Path) -> None:
    place, source = tmp_path / "place", tmp_path / "model.zip"
    assert export(results, source) == 0

    def install() -> int:
        return main(["install", str(source), "--results", str(place)])

    steps = some_steps(install, place, 1)
    wanted = contents(place)
    for step in steps:
        shutil.rmtree(place)
        run_killed(install, place, step)
        code = 2 if is_there(place / NAME / MODEL) else 0
        assert install() == code
        assert contents(place) == wanted, step
        assert [path.name for path in place.iterdir()] == [NAME]
        assert [path.name for path in (place / NAME).iterdir()] == [MODEL]


def said_on_full_disk(run: Callable[[], int], said: Path) -> str:
    """Return what a run says that can write no more than 16 KiB into a file."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, 2**14))
        with contextlib.redirect_stderr(io.StringIO()) as talk:
            code = run()
        said.write_text(talk.getvalue())
        assert code == 2

    assert forked(limited) == 0
    return said.read_text().splitlines()[-1]


@pytest.mark.parametrize("name", ["model", "model.zip"])
def test_export_to_a_full_disk(results: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / "place"
    message = said_on_full_disk(lambda: export(results, place / name), tmp_path / "said")
    assert message.startswith(f"umamba export: cannot make {place / name}: ")
    assert "File too large" in message
    assert "nothing was changed there. Make room" in message
    assert not place.exists()


def test_prediction_and_installation_on_a_full_disk(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, temporary, place = (tmp_path / name for name in ("m.zip", "temporary", "place"))
    assert export(results, source) == 0
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    command = ["predict", "-m", str(source), "-i", str(tmp_path), "-o", str(tmp_path / "out")]
    message = said_on_full_disk(lambda: main(command), tmp_path / "said")
    assert message == (
        f"umamba predict: cannot write to {temporary}: File too large; make room or give write "
        "access, or set TMPDIR to another folder"
    )
    install = ["install", str(source), "--results", str(place)]
    message = said_on_full_disk(lambda: main(install), tmp_path / "said")
    assert message.startswith(f"umamba install: {source} cannot be installed in {place} (File too")
    assert not list(temporary.iterdir())
    assert not list(place.iterdir())
