"""Several processes that train one fold together: they begin, agree, stop and end together."""

import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from umamba.errors import ResumableInterruptError, SupersededError, TrainingError, UMambaError
from umamba.executors.jobs import JOB_PROGRAM
from umamba.nnunet.training.state import how_to_go_on
from umamba.system.environment import child_environment, loopback
from umamba.system.fencing import adopt_claims, held_claims
from umamba.system.interruption import INTERRUPTED, StopRequest, resumable
from umamba.system.publishing import scratch_folder

__all__ = ["ALONE", "EXIT_LOST", "Rank", "Ranks", "is_loss", "leave_work", "read_work"]

EXIT_LOST = 71  # of a process that lost the others
_WORK, _MEETING = "work", "meeting"

# Of processes that predict validation cases, one may wait for another's largest case.
_LONGEST_WAIT = timedelta(hours=1)

_ASKING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # a process dies of them while it starts


@dataclass(frozen=True)
class Rank:
    """The place of a process among those of a training.

    Args:
        number: Its number, from 0.
        size: How many there are.
        folder: A folder of their own; `None` if there is only one.
    """

    number: int
    size: int
    folder: Path | None

    @property
    def is_first(self) -> bool:
        """Return whether this is the process that writes."""
        return self.number == 0

    @property
    def told(self) -> Path:
        """Return the file in which the process leaves its last message."""
        return _told(self.folder or Path(), self.number)

    @contextmanager
    def joined(self, device: str) -> Iterator[None]:
        """Meet the other processes, which all come here once they are ready.

        Args:
            device: Type of the device: of CUDA's, each process has the one of its number.
        """
        if self.folder is None:
            yield
            return
        import torch

        if device == "cuda":
            torch.cuda.set_device(self.number)
        torch.distributed.init_process_group(
            "nccl" if device == "cuda" else "gloo",
            store=torch.distributed.FileStore(  # type: ignore[attr-defined]
                str(self.folder / _MEETING), self.size
            ),
            rank=self.number,
            world_size=self.size,
            timeout=_LONGEST_WAIT,
        )
        claims = [held_claims()]
        torch.distributed.broadcast_object_list(claims)  # the first process makes them
        if not self.is_first:
            adopt_claims(claims[0])
        yield
        torch.distributed.destroy_process_group()  # after an error it might wait for the others


ALONE = Rank(0, 1, None)


def leave_work(work: object, folder: Path) -> None:
    """Write something that can be pickled to where the processes of that folder find it."""
    (folder / _WORK).write_bytes(pickle.dumps(work))


def read_work(rank: Rank) -> Any:
    """Return what `leave_work` has written."""
    return pickle.loads(((rank.folder or Path()) / _WORK).read_bytes())


def is_loss(error: BaseException) -> bool:
    """Return whether an error says that another process of the training has gone."""
    import torch

    lost = isinstance(error, torch.distributed.DistError)
    return lost or (isinstance(error, RuntimeError) and "gloo" in str(error))


@dataclass(frozen=True)
class Ranks:
    """Processes of one training on this machine; a GPU each, or a part of the cores.

    Each has a session of its own, so that a Ctrl-C in the terminal reaches it through this process
    only. If this process is killed, they save and end.

    Args:
        size: How many there are.
        program: The arguments of Python that run them; number, size and folder follow.
        seconds_to_stop: How long the others may take to save once one has stopped.
        seconds_to_fail: How long the others may take to say what is wrong once one has failed.
    """

    size: int
    program: tuple[str, ...] = (*JOB_PROGRAM, "train-rank")
    seconds_to_stop: float = 60.0
    seconds_to_fail: float = 3.0

    def run(self, work: object, fold: Path) -> None:
        """Run the processes until all have ended.

        Args:
            work: Something for `read_work` to return, which can be pickled.
            fold: The folder of the fold, for messages.

        Raises:
            UMambaError: If a process has failed, with its message.
            SupersededError: If another attempt at the same job has taken over.
            ResumableInterruptError: If they were stopped, or one was killed, and the training can
                be continued.
        """
        stop = StopRequest()
        with resumable(lambda: how_to_go_on(fold)), scratch_folder() as folder, stop.listening():
            leave_work(work, folder)
            processes: list[subprocess.Popen[bytes]] = []
            try:
                # One that cannot start leaves those before it in the list, and they are killed.
                processes.extend(self._start(number, folder) for number in range(self.size))
                with stop.deferred():
                    codes = self._wait(processes, stop)
            finally:
                _kill(processes)
            self._conclude(codes, folder, fold, stop)

    def _start(self, number: int, folder: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, *self.program, str(number), str(self.size), str(folder)]
        with (folder / f"said_{number}").open("wb") as said:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said if number else None,
                stderr=said if number else None,  # the first one shows how far the training is
                env=child_environment(**loopback()),
                start_new_session=True,
            )

    def _wait(
        self, processes: Sequence["subprocess.Popen[bytes]"], stop: StopRequest
    ) -> dict[int, int]:
        """Return the codes of those that ended by themselves, in time after the first of them."""
        asked, deadline = False, float("inf")
        while True:
            ended = {n: p.poll() for n, p in enumerate(processes)}
            codes = {n: code for n, code in ended.items() if code is not None}
            if len(codes) == len(processes) or time.monotonic() > deadline:
                return codes
            bad = [code for code in codes.values() if code]
            if bad and deadline == float("inf"):
                stopped = all(code in INTERRUPTED for code in bad)
                wait = self.seconds_to_stop if stopped else self.seconds_to_fail
                deadline = time.monotonic() + wait
            if not asked and (reason := stop.reason() or (bad and "SIGTERM")):
                asked = True
                number = getattr(signal, reason, signal.SIGTERM)
                for process in processes:
                    process.send_signal(number)
            time.sleep(0.05)

    def _conclude(
        self, codes: Mapping[int, int], folder: Path, fold: Path, stop: StopRequest
    ) -> None:
        """Raise the first cause of an end before the training's."""
        superseded = [n for n, c in codes.items() if c == SupersededError.EXIT_CODE]
        if superseded:
            raise SupersededError(_said(folder, superseded[0]))
        failed = [n for n, c in codes.items() if c > 0 and c not in (*INTERRUPTED, EXIT_LOST)]
        killed = {n: signal.Signals(-c).name for n, c in codes.items() if c < 0}
        dead = {n: name for n, name in killed.items() if name not in _ASKING}
        if failed:
            raise UMambaError(_said(folder, failed[0]))
        if dead:
            number, name = next(iter(dead.items()))
            why = ", as by a system that is out of memory" if name == "SIGKILL" else ""
            what = f"process {number + 1} of {self.size} was ended by {name}{why}"
            raise self._lost(what, fold)
        if EXIT_LOST in codes.values():
            what = f"the {self.size} processes of this training lost each other"
            raise self._lost(what, fold)
        if killed or any(codes.values()):
            told = [_told(folder, n) for n, c in codes.items() if c == INTERRUPTED[0]]
            # One that was asked says by what; the others know that one was.
            messages = [file.read_text("utf-8") for file in told if file.is_file()]
            if messages:
                raise ResumableInterruptError(max(messages, key=len))
            raise KeyboardInterrupt(stop.reason() or "")

    def _lost(self, what: str, fold: Path) -> BaseException:
        how = how_to_go_on(fold)
        if how is None:
            return TrainingError(f"{what} before the first checkpoint; run the command again")
        return ResumableInterruptError(f"{what}, and this ended the training; {how}")


def _told(folder: Path, number: int) -> Path:
    return folder / f"told_{number}"


def _said(folder: Path, number: int) -> str:
    """Return the last message of a process, or else the last line of its output."""
    told = _told(folder, number)
    if told.is_file():
        return told.read_text(encoding="utf-8")
    lines = (folder / f"said_{number}").read_text("utf-8", "replace").splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    return f"process {number + 1} of the training failed: {last.strip()}"


def _kill(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.kill()  # its workers end with it
    for process in processes:
        process.wait()
