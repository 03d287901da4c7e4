"""A toy training in a process of its own, which can be killed; imported in that process."""

import itertools
import json
import multiprocessing
import os
import pkgutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toy import NAME, PLANS, folder_options
from umamba.nnunet.training.ranks import leave_work

RESULTS = Path("results") / NAME
MODEL = RESULTS / f"nnUNetTrainerUMamba__{PLANS}__3d_fullres"
CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Fault:
    """A signal, or a stop file, that comes during the n-th call of one of the trainer's methods."""

    method: str
    call: int
    signal: int | None  # `None` is a stop file

    def inject(self, trainer_class: Any) -> None:
        original, calls = getattr(trainer_class, self.method), itertools.count(1)

        def faulty(trainer: Any, *args: Any) -> Any:
            if next(calls) == self.call:
                if self.signal is None:
                    (Path(trainer.output_folder) / "stop").touch()
                else:
                    os.kill(os.getpid(), self.signal)
            return original(trainer, *args)

        setattr(trainer_class, self.method, faulty)


def fold_of(root: Path) -> Path:
    return root / MODEL / "fold_all"


def start(root: Path, *options: str, fault: Fault | None = None) -> Any:
    """Begin to train in a session of its own; what it says goes to `root / "said"`."""
    command = ["train", "901", "3d_fullres", "all", "-p", PLANS, "-device", "cpu", *options]
    process = CONTEXT.Process(target=_train, args=(root, [*command, *folder_options(root)], fault))
    process.start()
    return process


def run(root: Path, *options: str, fault: Fault | None = None) -> int:
    process = start(root, *options, fault=fault)
    process.join(120)
    return process.exitcode


def processes_of(session: int) -> list[int]:
    """The processes of a session that are alive."""
    alive = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z" and int(fields[3]) == session:
                alive.append(int(entry.name))
    return alive


def start_ranks(
    root: Path, size: int, training: Any, faults: dict[int, Fault] | None = None
) -> list[Any]:
    """Begin the processes of one training, each in a session of its own, as `Ranks` does."""
    folder = Path(tempfile.mkdtemp(dir=root))
    leave_work(training, folder)
    commands = [["train-rank", str(number), str(size), str(folder)] for number in range(size)]
    faults = faults or {}
    processes = [
        CONTEXT.Process(target=_train, args=(root, command, faults.get(number), ("_train_rank",)))
        for number, command in enumerate(commands)
    ]
    for process in processes:
        process.start()
    return processes


def _train(
    root: Path,
    command: list[str],
    fault: Fault | None = None,
    commands: tuple[str, ...] | None = None,
) -> None:
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # as in a process of a user
    said = os.open(root / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(said, stream)
    import torch
    from nnunetv2.training.logging.nnunet_logger import LocalLogger

    from umamba.cli.main import COMMANDS, main
    from umamba.nnunet.training.trainers import nnUNetTrainerUMamba

    torch.set_num_threads(1)
    LocalLogger.plot_progress_png = lambda *_: None  # takes longer than all the rest
    nnUNetTrainerUMamba.perform_actual_validation = _without_validation
    if fault is not None:
        fault.inject(nnUNetTrainerUMamba)
    sys.exit(main(command, commands=commands or COMMANDS))


def _without_validation(trainer: Any, *_: Any) -> None:
    folder = Path(trainer.output_folder) / "validation"
    folder.mkdir(exist_ok=True)
    scores = {"mean": {"1": {"Dice": 1.0}}, "foreground_mean": {"Dice": 1.0}}
    (folder / "summary.json").write_text(json.dumps(scores))


def die_at(moment: str, call: int) -> None:
    """Let this process be killed at the n-th call of a function."""
    owner_name, _, name = moment.rpartition(".")
    owner = pkgutil.resolve_name(owner_name)
    original, calls = getattr(owner, name), itertools.count(1)

    def dying(*args: Any, **options: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **options)

    setattr(owner, name, dying)
