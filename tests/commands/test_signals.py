"""Whatever is sent to a command, and whenever: it ends, leaves nothing behind, and can be rerun."""

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from command_runs import COMMANDS, SECONDS_TO_END, Run, leftovers
from toy import NAME, prepare_toy, write_toy_images

pytestmark = pytest.mark.nnunet

TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
USR1, KILL = signal.SIGUSR1, signal.SIGKILL


@pytest.fixture(scope="module", autouse=True)
def hang_ups() -> Iterator[None]:
    """Let commands hear of hang-ups, also where the tests themselves run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class World:
    """A data set, a finished training and its export; and what each command makes of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._wanted: dict[str, tuple[Any, float]] = {}
        write_toy_images(root / "source")

    def train(self) -> None:
        """Make plans, a training that nothing disturbs, and its export, unless they are there."""
        if (self.root / "model.zip").exists():
            return
        shutil.rmtree(self.root / "source")
        prepare_toy(self.root)
        train, export = COMMANDS["train"], COMMANDS["export"]
        run = Run(self.root, *train.arguments(self.root))
        assert run.wait() == 0, run.said
        for name in ("preprocess and train", "train", "validate"):
            self._wanted[name] = (train.outcome(self.root), run.seconds)
        assert Run(self.root, *export.arguments(self.root)).wait() == 0
        (self.root / "m.zip").rename(self.root / "model.zip")

    def wanted(self, name: str, place: Path) -> tuple[Any, float]:
        """What the command makes when nothing disturbs it, and how long it takes."""
        if name not in self._wanted:
            place.mkdir()
            COMMANDS[name].prepare(self.root, place)
            run = Run(place, *COMMANDS[name].arguments(place))
            assert run.wait() == 0, run.said
            assert leftovers(place) == []
            self._wanted[name] = (COMMANDS[name].outcome(place), run.seconds)
        return self._wanted[name]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def disturb(
    world: World,
    folder: Path,
    name: str,
    number: signal.Signals,
    moment: Callable[[Run], bool],
    *,
    to_all: bool,
) -> int:
    """Send a signal at a moment, look at what is left, rerun, and compare with what is wanted.

    Returns:
        What the command ended with: 0 if it came before the signal.
    """
    command, place = COMMANDS[name], folder / "place"
    if name not in {"dataset", "evaluate"}:
        world.train()
    place.mkdir()
    command.prepare(world.root, place)
    run = Run(place, *command.arguments(place))
    if run.until(moment):
        run.send(number, to_all=to_all)
    code = run.wait(SECONDS_TO_END)
    if number == KILL:
        assert code in (-KILL, 0), run.said
    else:
        # In its last moments, when all is done, a process dies of the signal.
        assert code in {*command.codes, 0, -number}, (code, run.said)
        assert "Traceback" not in run.said
        assert leftovers(place, marks=code != 0) == [], run.said
    if code == 75:
        assert "interrupted" in run.said
    if code == 0:
        return code
    again = Run(place, *command.arguments(place))
    assert again.wait() == 0, again.said
    assert leftovers(place, killed=number == KILL) == []
    assert command.outcome(place) == world.wanted(name, folder / "undisturbed")[0]
    return code


def says(text: str) -> Callable[[Run], bool]:
    return lambda run: text in run.said


def there_is(pattern: str) -> Callable[[Run], bool]:
    return lambda run: any(run.place.glob(pattern))


def after(seconds: float) -> Callable[[Run], bool]:
    return lambda run: run.seconds >= seconds


MOMENTS = {
    "dataset": there_is("raw/.*.partial/*"),
    "plan": says("fingerprint"),
    "preprocess and train": there_is(f"preprocessed/{NAME}/nnUNetPlans_3d_fullres/*.pkl"),
    "train": there_is("results/**/checkpoint_latest.pth"),
    "validate": says("case 2 of 2"),
    "predict": says("case 2 of 6"),
    "predict with a zip": there_is("tmp/*/*"),
    "evaluate": lambda run: len(run.alive()) >= 3,
    "export": there_is(".m.zip.partial/*"),
    "install": there_is("results/**/.*.partial*"),
    "compare": there_is("results/**/checkpoint_latest.pth"),
}


@pytest.mark.parametrize(
    ("name", "number", "to_all"),
    [
        ("dataset", HUP, False),
        ("evaluate", TERM, True),
        ("evaluate", KILL, False),
    ],
)
def test_a_signal_at_a_bad_moment(
    world: World, tmp_path: Path, name: str, number: signal.Signals, *, to_all: bool
) -> None:
    assert disturb(world, tmp_path, name, number, MOMENTS[name], to_all=to_all) != 0


def test_signals_that_go_on_do_not_change_the_exit_code(world: World, tmp_path: Path) -> None:
    COMMANDS["evaluate"].prepare(world.root, tmp_path)
    run = Run(tmp_path, *COMMANDS["evaluate"].arguments(tmp_path))
    assert run.until(MOMENTS["evaluate"])
    deadline = time.monotonic() + SECONDS_TO_END
    while run.process.poll() is None and time.monotonic() < deadline:
        run.send(TERM, to_all=False)
        time.sleep(0.002)
    assert run.wait() == 130, run.said


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [False, True], ids=["one", "all"])
@pytest.mark.parametrize("number", [TERM, INT, HUP, USR1, KILL], ids=lambda number: number.name)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_at_its_worst_moment(
    world: World, tmp_path: Path, name: str, number: signal.Signals, *, to_all: bool
) -> None:
    assert disturb(world, tmp_path, name, number, MOMENTS[name], to_all=to_all) != 0


@pytest.mark.slow
@pytest.mark.parametrize("case", range(8))
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_at_any_moment(world: World, tmp_path: Path, name: str, case: int) -> None:
    world.train()
    chance = random.Random(f"{name} {case}")
    seconds = world.wanted(name, tmp_path / "undisturbed")[1] * chance.uniform(0.05, 1.0)
    number, to_all = chance.choice([TERM, INT, HUP, USR1, KILL]), chance.random() < 0.5
    disturb(world, tmp_path, name, number, after(seconds), to_all=to_all)
