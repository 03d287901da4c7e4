"""Fixtures that all tests share: seeds, caches, quick worker processes, the real data."""

import gc
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

from umamba.system.environment import environment, set_up_torch

set_up_torch()  # before torch is imported, as the command line does
# Every pool of nnU-Net, which reads it only when it is imported, has 8 processes otherwise.
os.environ.setdefault("nnUNet_def_n_proc", "2")

import filelock  # noqa: E402
import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from reference_cases import REPOSITORY  # noqa: E402
from umamba.profiling import TrainingMemory  # noqa: E402

# The same examples in every run, however slow the machine.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")

# The files that take longest come first, so that no core waits for another in the end; by itself
# `--dist loadfile` puts those with most tests first.
LONGEST = (
    "networks/test_contract.py",
    "commands/test_pipeline.py",
    "ops/test_triton.py",
    "demo/test_run.py",
    "nnunet/test_api.py",
    "comparison/test_statistics_simulated.py",
)

# The folders whose tests are of shapes; so are those of files beside them.
SHAPED = ("comparison", "costs", "layers", "networks", "ops", "support")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def new_cache(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return what makes an empty folder; a thousand calls of `mktemp` look at each other's."""
    caches, numbers = tmp_path_factory.mktemp("caches"), itertools.count()

    def make() -> Path:
        cache = caches / str(next(numbers))
        cache.mkdir()
        return cache

    return make


@pytest.fixture(autouse=True)
def own_cache(new_cache: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what commands remember out of the user's cache, and out of other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(new_cache()))


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """Leave all that is there by now, modules above all, out of later garbage collections.

    Measurements of memory and compilers ask for many; each took half a second for what is imported.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def quick_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fork nnU-Net's worker processes from one that has imported torch and nnU-Net, only once.

    As with "spawn", which nnU-Net asks for, they have nothing of this process; and nothing of the
    environment of the test that happens to need the first of them.
    """
    cache = str(tmp_path_factory.mktemp("cache"))
    before_tests = {**os.environ, "XDG_CACHE_HOME": cache}
    multiprocessing.set_forkserver_preload(
        ["nnunetv2.inference.predict_from_raw_data", "umamba.nnunet.training.trainers"]
    )
    get_context = multiprocessing.get_context

    def get_quick_context(method: str | None = None) -> Any:
        if method not in ("spawn", "forkserver"):
            return get_context(method)
        with mock.patch.dict(os.environ, before_tests, clear=True):
            forkserver.ensure_running()
        return get_context("forkserver")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(multiprocessing, "get_context", get_quick_context)
        yield


@pytest.fixture(scope="session", autouse=True)
def draw_curves(request: pytest.FixtureRequest) -> Iterator[Callable[..., None] | None]:
    """Leave out the picture that nnU-Net draws after every epoch, which takes longer than training.

    Whoever looks at the picture puts this back, which draws it.
    """
    if not any(item.get_closest_marker("nnunet") for item in request.session.items):
        yield None
        return
    from nnunetv2.training.logging.nnunet_logger import LocalLogger

    draw: Callable[..., None] = LocalLogger.plot_progress_png
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LocalLogger, "plot_progress_png", lambda *_: None)
        yield draw


@contextmanager
def _uncounted() -> Iterator[None]:
    from umamba.nnunet.plans import memory

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(memory, "planned_memory", lambda *_, **__: TrainingMemory(1, 1, 1))
        yield


@pytest.fixture
def uncounted_memory() -> Iterator[None]:
    """Leave out counting the memory of a training step, which takes longest of planning."""
    with _uncounted():
        yield


@pytest.fixture(scope="session")
def preprocessed_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nnU-Net's folders with a data set, plans and preprocessed images; for copies to train on."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "toy"
    with filelock.FileLock(f"{root}.lock"):  # the first worker makes it for all
        if not root.exists():
            _prepare(tmp_path_factory.mktemp("toy")).rename(root)
    return root


def _prepare(root: Path) -> Path:
    from toy import NAME, PLANS, prepare_toy
    from umamba.nnunet.paths import Paths
    from umamba.nnunet.preparation import ensure_preprocessed

    paths = Paths(root / "raw", root / "preprocessed", root / "results")
    folders = {f"nnUNet_{name}": str(folder) for name, folder in vars(paths).items()}
    with environment(nnUNet_def_n_proc="2", **folders), _uncounted():
        prepare_toy(root)
        ensure_preprocessed(NAME, PLANS, "3d_fullres", paths)
    return root


@contextmanager
def _shapes(*, checked: bool) -> Iterator[None]:
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", not checked)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="module", autouse=True)
def checked_where_they_are(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check shape annotations in tests of the rooms that have them; it takes a fifth of others."""
    room = request.path.relative_to(Path(__file__).parent).parts[0]
    with _shapes(checked=room in SHAPED or room == request.path.name):
        yield


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch the shape annotations off: for our own messages, and for torch.compile."""
    with _shapes(checked=False):
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real labelled data; never part of the repository."""
    path = Path(os.environ.get("UMAMBA_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real data not found: {path} (set UMAMBA_TEST_DATA)")
    return path
