"""Files are whole at any moment, and what killed writers left of them is removed."""

import ast
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import umamba
from killed_steps import forked, kill, meeting
from plans_factory import stock_plans
from umamba.errors import UMambaError
from umamba.nnunet.plans.derivation import PlanOptions, Plans, derive_plans
from umamba.nnunet.plans.files import read_plans, write_plans
from umamba.nnunet.splits import ensure_splits
from umamba.registry import find_architecture
from umamba.system.atomic_files import take_name, write_new, write_whole

SOURCE = Path(umamba.__file__).parent
# What is there already is moved aside by these; nothing that was made gets its name there.
MOVING_ASIDE = {"system/publishing.py", "nnunet/training/running.py"}


@pytest.mark.parametrize("write", [write_whole, write_new])
def test_a_kill_at_any_step_is_put_right_by_the_next_run(tmp_path: Path, write: object) -> None:
    target = tmp_path / "results[1].json"
    for step in range(20):
        if write is write_whole:
            target.write_text("before")
        else:
            target.unlink(missing_ok=True)

        def killed(step: int = step) -> None:
            with meeting({step: kill}, str(tmp_path)):
                write(target, "after")

        code = forked(killed)
        there = target.read_text() if target.exists() else None
        assert there in ("after", "before" if write is write_whole else None), step
        write(target, "after")
        assert target.read_text() == "after"
        assert [path.name for path in tmp_path.iterdir()] == [target.name], step
        if code == 0:
            break
    assert 1 < step < 19


def test_partial_files_of_others_at_work_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = socket.gethostname()
    kept = [f"{os.getppid()}@{here}", f"{dead.pid}@elsewhere", "\u00b2@x", "notes"]
    for signature in (*kept, f"{dead.pid}@{here}"):
        (tmp_path / f".a.txt.partial-{signature}").touch()
    write_whole(tmp_path / "a.txt", "text")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a.txt", *(f".a.txt.partial-{signature}" for signature in kept)}


def test_what_has_come_meanwhile_stays(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("theirs")
    assert not write_new(target, "ours")
    assert target.read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_splits_that_come_meanwhile_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in "abcdefgh":
        (data / f"{name}.pkl").touch()
    theirs = [{"train": list("abcdef"), "val": list("gh")}]

    def come_first(file: Path, _text: str) -> bool:
        file.write_text(json.dumps(theirs))
        return False

    monkeypatch.setattr("umamba.nnunet.splits.write_new", come_first)
    assert ensure_splits(tmp_path, data) == theirs


def plans(**options: object) -> Plans:
    return derive_plans(stock_plans(), find_architecture("umamba_bot"), PlanOptions(**options))


@pytest.mark.parametrize("there", [False, True])
def test_plans_that_come_or_change_meanwhile_are_kept(tmp_path: Path, there: bool) -> None:
    refusals = []
    for step in range(40):
        folder = tmp_path / str(step)
        folder.mkdir()
        path = folder / f"{plans()['plans_name']}.json"
        if there:
            write_plans(folder, plans())
        came: list[int] = []

        def come(path: Path = path, came: list[int] = came) -> None:
            came.append(1)
            path.write_text(json.dumps({"configurations": {"2d": {"theirs": 1}}}))

        try:
            with meeting({step: come}, str(folder)):
                write_plans(folder, plans(batch_size=7), overwrite=True)
        except UMambaError as error:
            refusals.append(str(error))
        if not came:
            break
        assert "theirs" in read_plans(folder, path.stem)["configurations"]["2d"], step
    assert 4 < step < 39
    assert any("by another program" in refusal for refusal in refusals)


def renaming_calls(code: str) -> list[int]:
    """Return the lines that rename files; `str.replace` takes two texts, `Path.replace` a path."""
    return [
        call.lineno
        for call in ast.walk(ast.parse(code))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and (
            call.func.attr in {"rename", "renames"}
            or (call.func.attr == "replace" and len(call.args) == 1 and not call.keywords)
            or ast.unparse(call.func) in {"os.link", "os.replace", "shutil.move"}
        )
    ]


def test_every_output_gets_its_name_in_one_place() -> None:
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if renaming_calls(path.read_text(encoding="utf-8"))
    }
    # Claims decide whether anything else may take its name; a layout is made before it is shown.
    others = {"system/fencing.py", "nnunet/sharing/slicer_layout.py"}
    assert found == {"system/atomic_files.py", *others, *MOVING_ASIDE}


@pytest.mark.parametrize("links", [True, False])
def test_a_name_is_taken_from_nothing_that_has_it(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", refused)
    finished, path = tmp_path / "finished", tmp_path / "name"
    finished.write_text("ours")
    path.symlink_to("nowhere")
    assert not take_name(finished, path, replace=False)
    assert finished.read_text() == "ours"
    path.unlink()
    assert take_name(finished, path, replace=False)
    finished.write_text("newer")
    assert take_name(finished, path)
    assert (path.read_text(), finished.exists()) == ("newer", False)
