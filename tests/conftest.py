"""Fixtures that all tests share: seeds, caches, quick worker processes, the real data."""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from umamba.system.environment import share_cores

share_cores()  # before torch is imported, as the command line does

import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from reference_cases import REPOSITORY  # noqa: E402

# The same examples in every run, however slow the machine.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what commands remember out of the user's cache, and out of other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session", autouse=True)
def quick_workers() -> Iterator[None]:
    """Fork nnU-Net's worker processes from one that has imported torch and nnU-Net, only once.

    As with "spawn", which nnU-Net asks for, they have nothing of this process.
    """
    multiprocessing.set_forkserver_preload(
        ["nnunetv2.inference.predict_from_raw_data", "umamba.nnunet.training.trainers"]
    )
    get_context = multiprocessing.get_context

    def get_quick_context(method: str | None = None) -> Any:
        return get_context("forkserver" if method == "spawn" else method)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(multiprocessing, "get_context", get_quick_context)
        yield


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch the shape annotations off: for our own messages, and for torch.compile."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real labelled data; never part of the repository."""
    path = Path(os.environ.get("UMAMBA_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real data not found: {path} (set UMAMBA_TEST_DATA)")
    return path
