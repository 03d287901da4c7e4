"""What is published is whole, and nothing of anybody else is lost, whatever happens at any step."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from killed_steps import forked, kill, meeting
from umamba.errors import UMambaError
from umamba.system.publishing import publication

KINDS = ("folder", "file")
COMINGS = ("folder", "empty folder", "file")
MOST_STEPS = 60  # more than any run has; the tests see to it


def make(
    target: Path,
    kind: str,
    *,
    overwrite: bool = False,
    begun: Callable[[], object] = int,
) -> str:
    """Publish something; return why it was refused, or nothing."""
    try:
        with publication(target, "go away", overwrite=overwrite) as work:
            begun()
            if kind == "file":
                work.new.write_text("ours")
            else:
                (work.new / "inner").mkdir(parents=True)
                (work.new / "a").write_text("ours")
                (work.new / "inner" / "b").write_text("ours")
            work.publish()
    except UMambaError as error:
        return str(error)
    return ""


def make_amid(
    target: Path, kind: str, mishaps: Mapping[int, Callable[[], None]], *, overwrite: bool
) -> str:
    """Publish something, and let mishaps come before steps that are counted once it has begun."""
    with meeting(mishaps) as steps:
        steps.count = -MOST_STEPS
        return make(target, kind, overwrite=overwrite, begun=lambda: setattr(steps, "count", 0))


def save_original(target: Path, kind: str) -> None:
    if kind == "file":
        target.write_text("original")
    else:
        (target / "deep").mkdir(parents=True)
        (target / "deep" / "x").write_text("original")


def texts(folder: Path) -> dict[str, str]:
    """Return what every file below a folder holds; folders have an empty text."""
    return {
        path.relative_to(folder).as_posix(): path.read_text() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def whole(kind: str, writer: str) -> dict[str, str]:
    if kind == "file":
        return {"target": writer}
    if writer == "ours":
        return {"target": "", "target/a": writer, "target/inner": "", "target/inner/b": writer}
    return {"target": "", "target/deep": "", "target/deep/x": writer}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("there", [False, True])
def test_a_rerun_after_a_kill_at_any_step_puts_things_right(tmp_path, kind, there):
    for step in range(MOST_STEPS):
        place = tmp_path / str(step) / "new"
        target = place / "target"
        if there:
            place.mkdir(parents=True)
            save_original(target, kind)

        def killed(target: Path = target, step: int = step) -> None:
            with meeting({step: kill}):
                assert not make(target, kind, overwrite=there)

        if forked(killed) == 0:
            break
        refusal = make(target, kind)
        if there:
            assert "exists already; go away" in refusal
            assert texts(place) in (whole(kind, "original"), whole(kind, "ours")), step
            assert not make(target, kind, overwrite=True)
        assert not refusal or "exists already" in refusal
        assert texts(place) == whole(kind, "ours"), step
    assert 10 < step < MOST_STEPS - 1


def come(target: Path, how: str) -> None:
    """Do what another program may do at any time: make the target, or change what is there."""
    if target.is_dir():
        (target / "foreign").write_text("foreign")
    elif target.is_file() or how == "file":
        target.write_text("foreign")
    else:
        target.mkdir()
        if how == "folder":
            (target / "foreign").write_text("foreign")


def is_kept(target: Path, how: str) -> bool:
    """Return whether all is there that the other program did."""
    if target.is_file():
        return target.read_text() == "foreign"
    if (target / "foreign").is_file():
        return (target / "foreign").read_text() == "foreign"
    return how == "empty folder" and target.is_dir() and not list(target.iterdir())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("how", COMINGS)
def test_what_comes_at_any_step_is_not_lost(tmp_path, kind, there, how):
    refusals = []
    for step in range(MOST_STEPS):
        place = tmp_path / str(step)
        target = place / "target"
        place.mkdir()
        if there:
            save_original(target, kind)
        came = []

        def mishap(target: Path = target, came: list[int] = came) -> None:
            came.append(1)
            come(target, how)

        refusal = make_amid(target, kind, {step: mishap}, overwrite=there)
        if not came:
            break
        assert is_kept(target, how), step
        refusals.append(refusal)
        if ".target.original" in refusal:
            assert refusal == make(target, kind, overwrite=True)
            assert is_kept(target, how)
            remove(target)
            assert "exists already" in make(target, kind)
            assert texts(place) == whole(kind, "original")
        assert not refusal or "by another program" in refusal
        assert [path.name for path in place.iterdir()] == ["target"]
    assert any(refusals)
    assert 5 < step < MOST_STEPS - 1


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@given(
    kind=st.sampled_from(KINDS),
    there=st.booleans(),
    how=st.sampled_from(COMINGS),
    comes_at=st.integers(0, 25),
    lives_on=st.integers(1, 12),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_comes_before_a_kill_is_not_lost(tmp_path, kind, there, how, comes_at, lives_on):
    place, came = tmp_path / "place", tmp_path / "came"
    remove(place)
    remove(came)
    place.mkdir()
    target = place / "target"
    if there:
        save_original(target, kind)

    def mishap() -> None:
        came.touch()
        come(target, how)

    mishaps = {comes_at: mishap, comes_at + lives_on: kill}
    forked(lambda: make_amid(target, kind, mishaps, overwrite=there))
    refusal = make(target, kind)
    if came.exists():
        assert is_kept(target, how)
        assert "exists already" in refusal or "whole, in" in refusal
    elif there and texts(place) != whole(kind, "ours"):
        assert texts(place) == whole(kind, "original")
    if "whole, in" in refusal:
        remove(target)
        make(target, kind)
        assert texts(place) == whole(kind, "original")
    assert [path.name for path in place.iterdir()] == ["target"]
