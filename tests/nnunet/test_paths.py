"""nnU-Net reads the folders of `Paths`, whatever the environment says, and only while in use."""

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from umamba.nnunet.paths import VARIABLES, Paths


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set nnU-Net's variables to other folders, and import nnU-Net with them."""
    import nnunetv2.paths  # noqa: F401 - that it is there already is the point

    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, str(tmp_path / "elsewhere" / variable))
    return tmp_path / "elsewhere"


def folders_of_nnunet(_: object = None) -> list[str]:
    """The folders that nnU-Net would use in this process."""
    from nnunetv2 import paths

    return [os.fspath(getattr(paths, variable)) for variable in VARIABLES.values()]


def below(root: Path) -> list[str]:
    return [str(root / variable) for variable in VARIABLES.values()]


def test_a_root_holds_what_is_not_named(tmp_path: Path) -> None:
    paths = Paths(root=tmp_path, results=tmp_path / "models")
    assert paths.raw == tmp_path / "nnUNet_raw"
    assert paths.preprocessed == tmp_path / "nnUNet_preprocessed"
    assert paths.results == tmp_path / "models"
    assert Paths(root=str(tmp_path)) == Paths(root=tmp_path)
    assert Paths("~/data").raw == Path.home() / "data"


def test_two_roots_in_one_process_and_the_environment_is_put_back(
    tmp_path: Path, elsewhere: Path
) -> None:
    before = dict(os.environ)
    for root in (tmp_path / "one", tmp_path / "two"):
        with Paths(root=root).in_use() as paths:
            assert folders_of_nnunet() == below(root)
            assert paths == Paths(root=root)
        assert folders_of_nnunet() == below(elsewhere)
    with pytest.raises(KeyError), Paths(root=tmp_path / "one").in_use():
        raise KeyError
    assert dict(os.environ) == before


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_use_the_same_folders(
    tmp_path: Path, elsewhere: Path, method: str
) -> None:
    context = get_context(method)
    with (
        Paths(root=tmp_path / "one").in_use(),
        ProcessPoolExecutor(1, mp_context=context) as pool,
    ):
        assert list(pool.map(folders_of_nnunet, [0])) == [below(tmp_path / "one")]


def test_what_is_not_given_is_taken_from_the_variables(tmp_path: Path, elsewhere: Path) -> None:
    with Paths(results=tmp_path / "models").in_use() as paths:
        assert paths.raw == elsewhere / "nnUNet_raw"
        assert folders_of_nnunet() == [*below(elsewhere)[:2], str(tmp_path / "models")]


def test_two_threads_do_not_change_each_others_folders(tmp_path: Path) -> None:
    said = []

    def work() -> None:
        try:
            with Paths(root=tmp_path / "two").in_use():
                said.append("in use")
        except ValueError as error:
            said.append(str(error))

    with Paths(root=tmp_path / "one").in_use() as outer, outer.in_use():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(said) == 1
    assert "start a process for each" in said[0]
    work()
    assert said[1] == "in use"
