"""One training at a time writes to a folder."""

import fcntl
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from umamba.errors import UMambaError
from umamba.system.run_lock import only_process, refuse_if_at_work


def hold(folder: Path, ready: Any) -> None:
    """Hold the lock, with a forked worker that outlives this process for a while."""
    with only_process(folder):
        worker = os.fork()
        if worker == 0:
            time.sleep(3)
            os._exit(0)
        ready.set()
        time.sleep(60)


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    folder = tmp_path / "model" / "fold_0"
    holder = context.Process(target=hold, args=(folder, ready))
    holder.start()
    assert ready.wait(10)
    who = f"process {holder.pid} on {socket.gethostname()}"
    wanted = rf"another process is at work in .*fold_0: {who}; wait"
    with pytest.raises(UMambaError, match=wanted), only_process(folder):
        pass
    with pytest.raises(UMambaError, match=wanted):
        refuse_if_at_work(folder)
    refuse_if_at_work(folder.with_name("fold_1"))
    with only_process(folder.with_name("fold_1")):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    refuse_if_at_work(folder)  # its worker still lives
    with only_process(folder):
        refuse_if_at_work(folder)
    assert list(folder.parent.iterdir()) == []


def test_a_process_may_take_its_own_lock_again(tmp_path: Path) -> None:
    folder = tmp_path / "fold_0"
    with only_process(folder):
        with only_process(folder):
            pass
        descriptor = os.open(tmp_path / ".fold_0.lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):  # leaving the inner one has not released it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
    with only_process(folder):
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_files_cannot_be_locked_a_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with only_process(tmp_path / "fold_0"):
        message = capsys.readouterr().err
    assert f"{tmp_path} cannot lock files (Operation not supported)" in message
