"""Commands in processes of their own, which are sent signals; and what each has to show for it."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toy import NAME, PLANS, folder_options

MODEL = f"nnUNetTrainerUMamba__{PLANS}__3d_fullres"
MARK = "UMAMBA_TEST_COMMAND"
SECONDS_TO_END = 30
_TERM_IS_CAUGHT = 1 << (signal.SIGTERM - 1)

# What an interrupted command may leave for the next one: that it has not finished; and, where it
# had to be ended by force, the files of a lock and of a claim that nobody holds.
_MARKS = re.compile(r"\..*\.(umamba-unfinished|lock|claim)")
_CACHE = "torchinductor"  # torch's own, for all that run
_TIMES = re.compile(r'"(seconds|train_hours|time|date|created)": [^,}]*')


class Run:
    """A command that runs in a place, and what it says.

    Args:
        place: The folder that it works in.
        arguments: Those of `umamba`.
    """

    def __init__(self, place: Path, *arguments: str) -> None:
        self.place = place
        self.mark = f"{os.getpid()}-{random.random()}"
        self.began = time.monotonic()
        self._ended: float | None = None
        (place / "tmp").mkdir(exist_ok=True)
        environment = {
            **os.environ,
            MARK: self.mark,
            "TMPDIR": str(place / "tmp"),
            "nnUNet_def_n_proc": "2",
            "nnUNet_n_proc_DA": "1",
            "OMP_NUM_THREADS": "1",
        }
        with (place / "said").open("wb") as said, (place / "result").open("wb") as result:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "umamba.cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=result,
                stderr=said,
                env=environment,
                cwd=place,
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return (self._ended or time.monotonic()) - self.began

    @property
    def said(self) -> str:
        return (self.place / "said").read_text(errors="replace")

    def wait(self, seconds: float = 300) -> int:
        """Wait for its end, and for that of all processes that it has begun."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._abandon("has not ended")
        self._ended = time.monotonic()
        deadline = self._ended + SECONDS_TO_END
        while self.alive():
            if time.monotonic() > deadline:
                self._abandon("has left processes")
            time.sleep(0.1)
        return code

    def until(self, reached: Callable[["Run"], bool]) -> bool:
        """Wait until a moment is reached; return whether it came before the end."""
        deadline = time.monotonic() + 300
        while self.process.poll() is None:
            if self._listens() and reached(self):
                return True
            assert time.monotonic() < deadline, self.said
            time.sleep(0.01)
        return False

    def send(self, number: signal.Signals, *, to_all: bool) -> None:
        if to_all:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def _listens(self) -> bool:
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return False
        caught = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
        return caught is not None and bool(int(caught[1], 16) & _TERM_IS_CAUGHT)

    def alive(self) -> dict[int, str]:
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    if f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes():
                        state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                        if state != "Z":
                            words = (entry / "cmdline").read_bytes().split(b"\0")
                            found[int(entry.name)] = b" ".join(words).decode()
                except OSError:
                    continue
        return found

    def _abandon(self, what: str) -> None:
        left = self.alive()
        for process in left:
            os.kill(process, signal.SIGKILL)
        self.process.wait()
        msg = f"{self.process.args} {what}: {left}; it said: {self.said}"
        raise AssertionError(msg)


@dataclass(frozen=True)
class Command:
    """A command to interrupt.

    Args:
        arguments: What to run in a place, now; a rerun may need other words.
        outcome: What a finished run has made, of which nothing changes from run to run.
        codes: What it may end with when it is interrupted.
        prepare: Puts into an empty place what the command needs.
    """

    arguments: Callable[[Path], list[str]]
    outcome: Callable[[Path], Any]
    codes: frozenset[int]
    prepare: Callable[[Path, Path], None]


def leftovers(place: Path, *, marks: bool = False, killed: bool = False) -> list[str]:
    """What is there only for a while: hidden files and folders, and temporary ones.

    Args:
        place: Where a command has run.
        marks: Whether it may have left word for the next one.
        killed: Whether the system, or Python itself, may have left something.
    """
    others = (_CACHE, "pymp-") if killed else (_CACHE,)
    found = [path for path in place.rglob(".*") if not (marks and _MARKS.fullmatch(path.name))]
    found += [path for path in place.rglob("*partial*") if path not in found]
    found += [path for path in (place / "tmp").iterdir() if not path.name.startswith(others)]
    return sorted(str(path.relative_to(place)) for path in found)


def files_in(folder: Path, pattern: str = "*") -> dict[str, str]:
    """The files of a folder and a digest of each."""
    return {
        str(path.relative_to(folder)): digest(path)
        for path in sorted(folder.rglob(pattern))
        if path.is_file()
    }


def digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".json":
        content = _TIMES.sub("", content.decode()).encode()
    return hashlib.sha256(content).hexdigest()


def link(world: Path, place: Path, *names: str) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(world / name)


def copy(world: Path, place: Path, *names: str) -> None:
    for name in names:
        shutil.copytree(world / name, place / name, symlinks=True)


def _many(world: Path, place: Path) -> None:
    """Copy every image and mask ten times, so that writing them takes its time."""
    for path in sorted((world / "source").rglob("*.nii.gz")):
        folder = place / path.parent.relative_to(world)
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(10):
            shutil.copy(path, folder / path.name.replace("case", f"case_{i}"))


def _dataset(place: Path) -> list[str]:
    images, masks = str(place / "source/images"), str(place / "source/masks")
    words = ["dataset", NAME, "--images", images, "--masks", masks, "--raw", str(place / "raw")]
    return [*words, "--labels", "background=0", "big=1", "small=2"]


def _plan(place: Path) -> list[str]:
    words = ["plan", "901", "--model", "umamba_bot", "--features", "4,8"]
    words += ["--patch-size", "8", "16", "16", "--batch-size", "2"]
    again = (place / "preprocessed" / NAME / f"{PLANS}.json").is_file()
    return [*words, *folder_options(place), *(["--overwrite"] if again else [])]


def fold_of(place: Path) -> Path:
    return place / "results" / NAME / MODEL / "fold_0"


def _train(place: Path) -> list[str]:
    words = ["train", "901", "3d_fullres", "0", "-p", PLANS, "-device", "cpu"]
    if (fold_of(place) / "checkpoint_final.pth").is_file():
        how = ["--val"]
    elif any(fold_of(place).glob("checkpoint_*.pth")):
        how = ["--resume"]
    else:
        how = ["--epochs", "2", "--iterations", "6", "--seed", "3"]
    return [*words, *folder_options(place), *how]


def _trained(place: Path) -> dict[str, Any]:
    from umamba.nnunet.checkpoints.files import read_checkpoint

    fold = fold_of(place)
    weights = read_checkpoint(fold / "checkpoint_final.pth")["network_weights"]
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    return {
        "weights": {key: value.numpy().tobytes() for key, value in weights.items()},
        "scores": [summary["mean"], summary["foreground_mean"]],
        "cases": [case["metrics"] for case in summary["metric_per_case"]],
        "masks": files_in(fold / "validation", "*.nii.gz"),
    }


def _predict(model: str) -> Callable[[Path], list[str]]:
    def arguments(place: Path) -> list[str]:
        images, output = str(place / "source/images"), str(place / "predicted")
        return ["predict", "-m", str(place / model), "-i", images, "-o", output, "-device", "cpu"]

    return arguments


def _evaluate(place: Path) -> list[str]:
    masks = str(place / "source/masks")
    return ["evaluate", masks, masks, "--labels", "big=1", "small=2", "--workers", "2", "--json"]


def _export(place: Path) -> list[str]:
    words = ["export", "901", "3d_fullres", "-p", PLANS, "-o", str(place / "m.zip")]
    return [*words, "--results", str(place / "results")]


def _install(place: Path) -> list[str]:
    return ["install", str(place / "model.zip"), "--results", str(place / "results")]


def _compare(place: Path) -> list[str]:
    words = ["compare", "901", "--configuration", "3d_fullres", "--models", "umamba_bot"]
    words += ["--no-controls", "--folds", "0", "--seeds", "1", "--budget", "epochs:1"]
    words += ["--features", "4,8", "--patch-size", "8", "16", "16", "--batch-size", "2"]
    words += ["-device", "cpu"]
    return [*words, "-o", str(place / "compared"), *folder_options(place)]


def _zipped(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def _said(place: Path) -> Any:
    return json.loads((place / "result").read_text())


COMMANDS: Mapping[str, Command] = {
    "dataset": Command(
        _dataset,
        lambda place: files_in(place / "raw"),
        frozenset({130}),
        _many,
    ),
    "plan": Command(
        _plan,
        lambda place: files_in(place / "preprocessed", "*.json"),
        frozenset({75}),
        lambda world, place: link(world, place, "raw"),
    ),
    "preprocess and train": Command(
        _train,
        _trained,
        frozenset({75, 130}),
        lambda world, place: (
            link(world, place, "raw"),
            copy(world, place, "preprocessed"),
            shutil.rmtree(place / "preprocessed" / NAME / "nnUNetPlans_3d_fullres"),
        ),
    ),
    "train": Command(
        _train,
        _trained,
        frozenset({75, 130}),
        lambda world, place: link(world, place, "raw", "preprocessed"),
    ),
    "validate": Command(
        _train,
        _trained,
        frozenset({75}),
        lambda world, place: (
            link(world, place, "raw", "preprocessed"),
            copy(world, place, "results"),
            shutil.rmtree(fold_of(place) / "validation"),
        ),
    ),
    "predict": Command(
        _predict(f"results/{NAME}/{MODEL}"),
        lambda place: files_in(place / "predicted", "*.nii.gz"),
        frozenset({75}),
        lambda world, place: link(world, place, "source", "results"),
    ),
    "predict with a zip": Command(
        _predict("model.zip"),
        lambda place: files_in(place / "predicted", "*.nii.gz"),
        frozenset({75}),
        lambda world, place: link(world, place, "source", "model.zip"),
    ),
    "evaluate": Command(
        _evaluate,
        _said,
        frozenset({130}),
        lambda world, place: link(world, place, "source"),
    ),
    "export": Command(
        _export,
        lambda place: _zipped(place / "m.zip"),
        frozenset({130}),
        lambda world, place: link(world, place, "results"),
    ),
    "install": Command(
        _install,
        lambda place: files_in(place / "results"),
        frozenset({130}),
        lambda world, place: link(world, place, "model.zip"),
    ),
    "compare": Command(
        _compare,
        lambda place: json.loads((place / "compared/results.json").read_text())["cases"],
        frozenset({75}),
        lambda world, place: (link(world, place, "raw"), copy(world, place, "preprocessed")),
    ),
}
