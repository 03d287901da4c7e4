"""A folder is copied once to a disk of this machine, whole or not at all."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from killed_steps import forked, kill, meeting
from umamba.errors import UMambaError
from umamba.system.staging import staged

MIB = 2**20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    for number in range(3):
        (folder / f"case_{number}.b2nd").write_bytes(bytes([number]) * 5 * MIB)
    (folder / "case_0.npy").touch()
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "local"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def left_in(place: Path) -> list[str]:
    """What is below the place, apart from folders of one's own."""
    return [path.name for folder in place.glob("umamba-staged*") for path in folder.iterdir()]


def test_a_copy_is_the_same_and_is_made_once(source: Path, place: Path) -> None:
    copy = staged(source, place, "toy", wanted=lambda name: not name.endswith(".npy"))
    original = contents(source)
    del original["case_0.npy"]
    assert contents(copy) == original
    assert copy.stat().st_mode & 0o077 == copy.parent.stat().st_mode & 0o077 == 0
    (copy / "case_0.npy").touch()  # as nnU-Net unpacks
    assert staged(source, place, "toy", wanted=lambda name: not name.endswith(".npy")) == copy
    assert (copy / "case_0.npy").exists()
    assert left_in(place) == [copy.name]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 7)])
def test_a_copy_that_was_partly_cleaned_away_is_made_again(
    source: Path, place: Path, damage: Callable[[Path], None]
) -> None:
    damage(staged(source, place, "toy") / "case_1.b2nd")
    assert contents(staged(source, place, "toy")) == contents(source)


@pytest.mark.parametrize("change", ["content", "time", "file"])
def test_a_changed_source_is_copied_anew(source: Path, place: Path, change: str) -> None:
    first = staged(source, place, "toy")
    if change == "content":
        (source / "case_1.b2nd").write_bytes(b"other")
    elif change == "time":
        os.utime(source / "case_1.b2nd", ns=(0, 1))
    else:
        (source / "case_3.b2nd").touch()
    second = staged(source, place, "toy")
    assert second != first
    assert contents(second) == contents(source)


def test_a_variable_is_the_machines_own(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_DISK", str(place))
    assert place in staged(source, Path("$NODE_DISK/x"), "toy").parents
    monkeypatch.delenv("NODE_DISK")
    with pytest.raises(UMambaError, match="names a variable that is not set on this machine"):
        staged(source, Path("$NODE_DISK/x"), "toy")


@pytest.mark.parametrize(("free", "enough"), [(64, False), (65, True)])
def test_room_is_looked_for_first(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch, free: int, *, enough: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free * MIB))
    if enough:
        staged(source, place, "toy")
        return
    wanted = r"needs 65 MiB, and .*local.* has 64 MiB left; make room, give another --stage"
    with pytest.raises(UMambaError, match=wanted):
        staged(source, place, "toy")
    assert left_in(place) == []


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here ({error})")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_meanwhile_keeps_nothing(
    source: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100 * MIB))
    with pytest.raises(UMambaError, match="No space left on device; nothing is left of it"):
        staged(source, small_disk, "toy")
    assert left_in(small_disk) == []


def test_a_copy_that_differs_is_refused(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def lose_a_bit(handle: int) -> None:
        fsync(handle)
        os.pwrite(handle, b"x", 7)

    monkeypatch.setattr(os, "fsync", lose_a_bit)
    with pytest.raises(UMambaError, match=r"the copy of .*case_0.b2nd differs from it; check both"):
        staged(source, place, "toy")
    assert left_in(place) == []


def test_a_source_that_changes_meanwhile_is_refused(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def interfere(handle: int) -> None:
        fsync(handle)
        (source / "case_3.b2nd").touch()

    monkeypatch.setattr(os, "fsync", interfere)
    with pytest.raises(UMambaError, match="was changed while it was copied; run the command again"):
        staged(source, place, "toy")
    assert left_in(place) == []


def test_a_folder_of_somebody_else_is_not_trusted(source: Path, place: Path) -> None:
    staged(source, place, "toy")
    (own,) = place.iterdir()
    moved = own.rename(place / "moved")
    own.symlink_to(moved)
    with pytest.raises(UMambaError, match="is a link or belongs to somebody else"):
        staged(source, place, "toy")


def test_killed_copies_leave_nothing_that_counts(source: Path, place: Path) -> None:
    with meeting({}, str(place)) as steps:
        staged(source, place, "counted")
    for step in range(0, steps.count, 3):

        def die(at: int = step) -> None:
            with meeting({at: kill}, str(place)):
                staged(source, place, "toy")

        assert forked(die) == -9
        copy = staged(source, place, "toy")
        assert contents(copy) == contents(source)
        names = [name for name in left_in(place) if not name.startswith(".")]
        assert sorted(names) == sorted([copy.name, copy.name.replace("toy", "counted")])
        assert not list(place.rglob("*.partial"))
        shutil.rmtree(copy)


def test_a_second_process_waits_for_the_copy_of_the_first(
    source: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = """
import os, sys, time
from pathlib import Path
from umamba.system import staging
fsync = os.fsync
def slowly(handle):
    fsync(handle)
    Path(sys.argv[3]).touch()
    time.sleep(0.3)
os.fsync = slowly
print(staging.staged(Path(sys.argv[1]), Path(sys.argv[2]), "toy"))
"""
    begun = place.with_name("begun")
    command = [sys.executable, "-c", script, str(source), str(place), str(begun)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not begun.exists():
        time.sleep(0.01)
        assert first.poll() is None
    copy = staged(source, place, "toy", seconds_between_looks=0.01)
    assert first.communicate()[0].strip() == str(copy)
    said = capsys.readouterr().err
    assert f"waiting for process {first.pid}" in said
    assert "copying" not in said
    assert contents(copy) == contents(source)
    assert left_in(place) == [copy.name]


def test_many_at_once_make_one_copy(source: Path, place: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(staged(source, place, "toy")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
