"""Everything is logged, whoever writes it; chosen lines are shown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from umamba.demo.quiet import quiet


def test_all_is_logged_and_chosen_lines_are_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.txt"
    with quiet(log, shown="epoch "):
        sys.stdout.write("chatter\n")
        sys.stderr.write("epo")
        sys.stderr.write("ch 1/2\nmore chatter\n")
        os.write(1, b"from C\n")
        subprocess.run([sys.executable, "-c", "print('from a worker')"], check=True)
    sys.stdout.write("afterwards\n")
    sys.stderr.write("too\n")
    shown = capfd.readouterr()
    assert shown.out == "afterwards\n"
    assert shown.err.split() == ["epoch", "1/2", "too"]
    logged = log.read_text()
    for text in ("chatter\n", "epoch 1/2\n", "from C\n", "from a worker\n"):
        assert text in logged


def test_streams_come_back_after_an_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ZeroDivisionError), quiet(tmp_path / "log.txt", shown="epoch "):
        _ = 1 / 0
    sys.stdout.write("here\n")
    os.write(2, b"there\n")
    assert capfd.readouterr() == ("here\n", "there\n")


def test_streams_without_a_descriptor_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with quiet(tmp_path / "log.txt", shown="epoch "):
        sys.stderr.write("epoch 1\n")
    assert capsys.readouterr().err.strip() == "epoch 1"
