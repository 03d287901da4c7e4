"""Signals, a stop file and a limit of hours ask to stop."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from toy_process import processes_of
from umamba.errors import ResumableInterruptError
from umamba.system.interruption import StopRequest, resumable

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


@pytest.fixture(autouse=True)
def hang_ups() -> Iterator[None]:
    """Hear of hang-ups, also where the tests themselves run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_at_once_and_is_put_back(number: signal.Signals) -> None:
    def wait() -> None:
        with StopRequest().listening():
            os.kill(os.getpid(), number)
            time.sleep(5)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=number.name):
        wait()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_deferred_signal_is_noted_and_a_later_ctrl_c_interrupts(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = StopRequest()
    with stop.listening(), stop.deferred():
        assert stop.reason() is None
        stop.honour()
        os.kill(os.getpid(), number)
        assert stop.reason() == number.name
        for repeated in (number, signal.SIGINT):  # as `timeout` and schedulers do
            os.kill(os.getpid(), repeated)
        monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 1.0)
        if number != signal.SIGINT:
            os.kill(os.getpid(), number)  # schedulers do so later, too
        with pytest.raises(KeyboardInterrupt, match="SIGINT"):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match="SIG"):
            stop.honour()


@pytest.mark.parametrize("number", SIGNALS)
def test_what_an_interrupt_cleans_up_is_not_interrupted(number: signal.Signals) -> None:
    cleaned = []

    def work() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            for other in SIGNALS:
                os.kill(os.getpid(), other)
            cleaned.append(number)

    def inside() -> None:
        with StopRequest().listening():
            work()

    for wait in (work, inside):
        with pytest.raises(KeyboardInterrupt, match=number.name), StopRequest().listening():
            wait()
    assert cleaned == [number, number]


def test_an_interrupt_that_no_caller_would_hear_of_comes_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Deaf:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    def work() -> None:
        with StopRequest().listening():
            Deaf()
            for _ in range(100):
                time.sleep(0.05)

    before = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        work()
    assert sys.unraisablehook is before
    assert capsys.readouterr().err == ""


def test_an_interrupt_that_was_lost_kills_nobody_who_has_ended() -> None:
    code = """
import os, signal, time
from umamba.system.interruption import StopRequest

class Heard:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

stop = StopRequest()
with stop.listening():
    Heard()
time.sleep(0.3)  # by then it would be repeated
print(stop.reason())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "SIGTERM\n"), run.stderr


def test_a_signal_inside_is_known_outside() -> None:
    outer, inner = StopRequest(), StopRequest()
    with outer.listening():
        with inner.listening(), inner.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
        assert outer.reason() == inner.reason() == "SIGTERM"


def test_a_hang_up_that_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequest().listening(), StopRequest().listening():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def run_child(code: str, *, ended_by: Callable[["subprocess.Popen[str]"], None]) -> tuple[int, str]:
    """Run code that prints a line once it is ready, and return its exit code and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    ended_by(process)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


STUCK = """
import multiprocessing, threading, time
from umamba.system.interruption import StopRequest, resumable
lock = multiprocessing.get_context("fork").Lock()
lock.acquire()
child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
child.start()
with StopRequest(ends_process=True, seconds_to_unwind=0.5).listening(), resumable(lambda: ADVICE):
    try:
        print(child.pid, flush=True)
        time.sleep(60)
    finally:
        lock.acquire()
"""


@pytest.mark.parametrize(("advice", "code"), [("do it again", 75), (None, 130)])
def test_who_waits_for_a_dead_worker_ends_all_the_same(advice: str | None, code: int) -> None:
    sessions = []

    def interrupt(process: "subprocess.Popen[str]") -> None:
        sessions.append(process.pid)
        process.send_signal(signal.SIGTERM)

    ended, said = run_child(STUCK.replace("ADVICE", repr(advice)), ended_by=interrupt)
    assert ended == code
    assert said.strip() == "umamba: interrupted by SIGTERM" + (f"; {advice}" if advice else "")
    assert processes_of(sessions[0]) == []


def test_a_terminal_that_hangs_up_is_no_error() -> None:
    """Messages on the way out would fail with EIO."""
    code = """
import sys, time
from umamba.system.interruption import StopRequest
try:
    with StopRequest().listening():
        sys.stdout.write("ready\\n")
        sys.stdout.flush()
        time.sleep(60)
except KeyboardInterrupt as interrupt:
    sys.stderr.write(f"interrupted by {interrupt}\\n")
    sys.stderr.flush()
    sys.exit(75)
"""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", code])
    os.read(terminal, 100)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 75


def test_a_stop_file_asks_until_it_is_honoured(tmp_path: Path) -> None:
    stop = StopRequest(tmp_path / "stop")
    assert stop.reason() is None
    (tmp_path / "stop").touch()
    assert stop.reason() == f"the file {tmp_path / 'stop'}"
    with pytest.raises(KeyboardInterrupt, match="the file"):
        stop.honour()
    assert not (tmp_path / "stop").exists()
    stop.honour()


def test_hours_count_from_the_beginning() -> None:
    stop = StopRequest(hours=0.1 / 3600)
    with stop.listening(), stop.deferred():
        assert stop.reason() is None
        with stop.listening():  # as in a trainer inside a command
            pass
        time.sleep(0.3)
        assert stop.reason() == "the limit of --hours"

    def late() -> None:
        with stop.listening():
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt, match="--hours"):
        late()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_workers_outlive_ctrl_c_but_not_their_parents_word(
    number: signal.Signals, *, ends: bool
) -> None:
    read_end, write_end = os.pipe()
    with StopRequest().listening():
        child = os.fork()
        if child == 0:
            os.write(write_end, b"!")
            time.sleep(0.5)
            os._exit(7)
        os.read(read_end, 1)  # Python drops what arrives while it forks
        os.kill(child, number)
        _, status = os.waitpid(child, 0)
    os.close(read_end)
    os.close(write_end)
    if ends:
        assert os.WTERMSIG(status) == number
    else:
        assert os.WEXITSTATUS(status) == 7


def test_outer_advice_holds_where_there_is_no_inner_one_or_for_the_whole() -> None:
    def interrupt(inner: str | None, *, as_a_whole: bool) -> None:
        with resumable(lambda: "outer", as_a_whole=as_a_whole), resumable(lambda: inner):
            raise KeyboardInterrupt

    for inner, as_a_whole, said in (
        (None, False, "outer"),
        ("inner", False, "inner"),
        ("inner", True, "outer"),
    ):
        with pytest.raises(ResumableInterruptError, match=f"interrupted; {said}"):
            interrupt(inner, as_a_whole=as_a_whole)


def test_a_pool_that_was_forked_meanwhile_can_end_its_workers() -> None:
    """A handler of Python's is not heard by a worker that waits for a lock."""
    with StopRequest().listening():
        child = os.fork()
        if child == 0:
            os._exit(0 if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL


def test_forked_workers_end_with_a_parent_that_is_killed() -> None:
    code = """
import os, time
from umamba.system.interruption import StopRequest
with StopRequest().listening():
    if os.fork() == 0:
        print("forked", flush=True)
    time.sleep(60)
"""
    sessions = []

    def kill(process: "subprocess.Popen[str]") -> None:
        sessions.append(process.pid)
        process.kill()

    assert run_child(code, ended_by=kill) == (-signal.SIGKILL, "")
    deadline = time.monotonic() + 20
    while processes_of(sessions[0]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(sessions[0]) == []
