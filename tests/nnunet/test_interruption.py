"""Signals, a stop file and a limit of hours ask to stop."""

import os
import signal
import time
from pathlib import Path

import pytest

from umamba.errors import ResumableInterruptError
from umamba.nnunet.interruption import StopRequest, resumable

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]


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
def test_a_deferred_signal_is_noted_and_a_ctrl_c_after_it_interrupts(
    number: signal.Signals,
) -> None:
    stop = StopRequest()
    with stop.listening(), stop.deferred():
        assert stop.reason() is None
        stop.honour()
        os.kill(os.getpid(), number)
        assert stop.reason() == number.name
        if number != signal.SIGINT:
            os.kill(os.getpid(), number)  # schedulers repeat themselves
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match="SIG"):
            stop.honour()


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


def test_an_interrupt_names_how_to_go_on_if_there_is_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), resumable(tmp_path):
        raise KeyboardInterrupt
    (tmp_path / "checkpoint_best.pth").touch()
    reason = "SIGTERM"
    with (
        pytest.raises(ResumableInterruptError, match="by SIGTERM; --resume") as caught,
        resumable(tmp_path),
    ):
        raise KeyboardInterrupt(reason)
    assert caught.value.code == 75
