"""Temporary folders are gone after their run, or after the next one where it was killed."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from killed_steps import forked, kill, meeting
from umamba.errors import UMambaError
from umamba.system.publishing import full_temporary_folder_explained, scratch_folder


def test_it_is_removed_in_the_end(tmp_path: Path) -> None:
    with scratch_folder(parent=tmp_path) as folder:
        (folder / "a").write_text("")
        assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(KeyboardInterrupt), scratch_folder(parent=tmp_path) as folder:
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_what_killed_runs_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    others = [tmp_path / "umamba-mine", tmp_path / "umamba-notes.txt", tmp_path / "other-1"]
    for other in others:
        other.mkdir()

    def killed() -> None:
        with scratch_folder(parent=tmp_path) as folder:
            (folder / "model").mkdir()
            kill()

    assert forked(killed) == -9
    assert len(list(tmp_path.iterdir())) == len(others) + 2
    with scratch_folder(parent=tmp_path) as living:
        with scratch_folder(parent=tmp_path) as other:
            assert living.is_dir()
            assert other != living
        assert living.is_dir()
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_a_kill_at_any_step_leaves_nothing_for_good(tmp_path: Path) -> None:
    for step in range(40):

        def killed(step: int = step) -> None:
            with meeting({step: kill}), scratch_folder(parent=tmp_path) as folder:
                (folder / "a").mkdir()

        if forked(killed) == 0:
            break
        with scratch_folder(parent=tmp_path):
            pass
        assert not list(tmp_path.iterdir()), step
    assert 5 < step < 39


def test_the_owner_is_found_by_another_process(tmp_path: Path) -> None:
    """A forked worker does not keep the lock of its dead parent."""
    program = (
        "import os, sys, time\n"
        "from umamba.system.publishing import scratch_folder\n"
        "reading, writing = os.pipe()\n"
        "with scratch_folder() as folder:\n"
        "    if os.fork() == 0:\n"
        "        os.write(writing, b'x')\n"  # it has given up what it inherited
        "        time.sleep(60)\n"
        "    os.read(reading, 1)\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert owner.stdout is not None
    owner.stdout.readline()
    try:
        with scratch_folder(parent=tmp_path):
            assert len(list(tmp_path.iterdir())) == 4
        owner.kill()
        owner.wait()
        with scratch_folder(parent=tmp_path):  # its child still lives
            assert len(list(tmp_path.iterdir())) == 2
    finally:
        os.killpg(owner.pid, 9)
        owner.stdout.close()


def test_where_no_folder_can_be_made_tmpdir_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "gone")])
    wanted = r"no temporary .*No usable temp.*set TMPDIR to another"
    with pytest.raises(UMambaError, match=wanted), scratch_folder():
        pass
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a" / "weights"))
    with pytest.raises(UMambaError) as refused, full_temporary_folder_explained(tmp_path):
        raise full
    assert str(refused.value) == (
        f"cannot write to {tmp_path}: No space left on device; make room or give write access, or "
        "set TMPDIR to another folder"
    )
