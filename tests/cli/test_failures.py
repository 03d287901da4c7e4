"""Whatever goes wrong becomes one line, and never a traceback."""

import errno
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from umamba.cli.failures import explain, log_to_stderr
from umamba.cli.main import main
from umamba.errors import DatasetError, ResumableInterruptError, SupersededError

RUN = "from umamba.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"
ERRORS = {
    "full": (
        OSError(errno.ENOSPC, "No space left", "/data/x"),
        "/data/x: No space left; make room",
    ),
    "read only": (OSError(errno.EROFS, "Read-only file system", b"/d\xff"), "can be written to"),
    "circle": (OSError(errno.ELOOP, "Too many links", "a"), "links form a loop"),
    "memory": (MemoryError(), "not enough memory"),
    "torch": (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        "not enough memory",
    ),
    "worker": (
        RuntimeError("Some background worker is 6 feet under. Yuck. "),
        "a worker process was killed",
    ),
    "workers": (
        RuntimeError("One or more background workers are no longer alive. Exiting."),
        "nnUNet_n_proc_DA to fewer",
    ),
    "nested": (RecursionError("maximum recursion depth exceeded"), "nested too deep"),
    "text": (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), "cannot be encoded"),
    "defect": (AttributeError("'int' object has no attribute\nx"), "unexpected AttributeError"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_any_error_of_a_command_is_one_line(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    error, words = ERRORS[name]

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("umamba.api.run_prediction", fail)
    assert main(["predict", "-i", "in", "-o", "out"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("umamba predict: ")
    assert words in lines[0]
    kept = list(tmp_path.glob("umamba-traceback-*.txt"))
    assert len(kept) == (name == "defect")
    if kept:  # for those who can mend it
        assert str(kept[0]) in lines[0]
        assert "test_failures.py" in kept[0].read_text()


class _NoSuchDatasetError(DatasetError):
    EXIT_CODE = 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (_NoSuchDatasetError("x"), 3),
        (DatasetError("x"), 2),
        (ResumableInterruptError("x"), 75),
        (SupersededError("x"), 76),
        (KeyboardInterrupt("x"), 130),
    ],
    ids=str,
)
def test_an_error_knows_its_exit_code(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("umamba.api.run_evaluation", fail)
    assert main(["evaluate", "in", "out"]) == code
    assert "x" in capsys.readouterr().err


def test_a_thread_does_not_tell_what_the_command_fails_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("threading.excepthook", threading.excepthook)
    log_to_stderr()

    def fail(error: Exception) -> None:
        raise error

    for error in (ERRORS["workers"][0], ERRORS["defect"][0]):
        thread = threading.Thread(target=fail, args=(error,))
        thread.start()
        thread.join()
    said = capsys.readouterr().err
    assert "no longer alive" not in said
    assert "'int' object has no attribute" in said


def test_a_traceback_that_cannot_be_kept_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/does/not/exist")
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    assert "report it with its place" in explain(caught.value)


def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, *arguments]
    kept = {"text": True, "stderr": subprocess.PIPE, "timeout": 120}
    return subprocess.run(command, check=False, **kept, **options)


@pytest.mark.skipif(os.name != "posix", reason="descriptors as POSIX has them")
def test_output_that_nobody_reads_ends_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (["models", "--help"], ["doctor", "--json"]):
        done = run(arguments, stdout=writing)
        assert (done.returncode, done.stderr) in [(141, ""), (0, "")]
    assert done.returncode == 141
    os.close(writing)


@pytest.mark.skipif(os.name != "posix", reason="descriptors as POSIX has them")
def test_descriptors_that_were_closed_lead_nowhere(tmp_path: Path) -> None:
    program = (
        "import os, sys; from umamba.cli.main import main; os.close(0); os.close(2); "
        "sys.stderr = None; code = main(sys.argv[1:]); print(code, os.readlink('/dev/fd/2'))"
    )
    (tmp_path / "masks").mkdir()
    mask = SimpleITK.GetImageFromArray(np.ones((3, 4, 5), np.uint8))
    SimpleITK.WriteImage(mask, str(tmp_path / "masks" / "a.nii.gz"))
    masks = str(tmp_path / "masks")
    command = [sys.executable, "-c", program, "evaluate", masks, masks, "--labels", "a=1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == f"0 {os.devnull}"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_finds_no_room_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = run(["doctor", "--json"], stdout=full)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "umamba doctor: No space left on device; make room, or give another folder; TMPDIR sets "
        "that of temporary files"
    ]


def test_names_in_logged_messages_stay_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr()
    logging.getLogger("umamba.test").info("%s: predicted", "a\n3 predicted")
    assert capsys.readouterr().err == "a\\n3 predicted: predicted\n"
