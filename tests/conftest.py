"""Shared by all tests: seeds, golden cases, the shared data, small networks."""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from umamba.nnunet.paths import share_cores

share_cores()  # before torch is imported, as the command line does

import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

REPOSITORY = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"

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
        ["nnunetv2.inference.predict_from_raw_data", "umamba.nnunet.trainers"]
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


def golden(name: str) -> dict[str, Any]:
    return torch.load(GOLDEN / name, weights_only=True)


def golden_loss(outputs: list[Tensor]) -> Tensor:
    """The fixed scalar loss of all golden cases; see golden/README.md."""
    total = torch.zeros((), dtype=outputs[0].dtype, device=outputs[0].device)
    for i, output in enumerate(outputs):
        k = torch.arange(output.numel(), dtype=torch.float64, device=output.device)
        weights = torch.cos(0.37 * k + 0.5 * i).to(output.dtype).reshape(output.shape)
        total = total + (weights * output).mean() + 0.5 * (output**2).mean()
    return total


def relative_max(got: Tensor, want: Tensor) -> float:
    """Largest difference over the largest true value; NaN stays NaN and fails a comparison."""
    return float((got.detach().double() - want.double()).abs().max() / want.abs().max())


def relative_l2(got: Tensor, want: Tensor) -> float:
    difference = got.detach().double() - want.detach().double()
    return float(difference.norm() / want.detach().double().norm().clamp_min(1e-12))


def keywords(dim: int, **changes: Any) -> dict[str, Any]:
    """Keywords of a tiny anisotropic network, as nnU-Net passes them."""
    plan: dict[str, Any] = {
        "input_channels": 2,
        "num_classes": 3,
        "n_stages": 3,
        "features_per_stage": [4, 6, 8],
        "conv_op": (nn.Conv2d, nn.Conv3d)[dim - 2],
        "kernel_sizes": [[1] + [3] * (dim - 1), [3] * dim, [3] * dim],
        "strides": [[1] * dim, [1] + [2] * (dim - 1), [2] * dim],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "conv_bias": True,
        "norm_op": (nn.InstanceNorm2d, nn.InstanceNorm3d)[dim - 2],
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": True,
    }
    return plan | changes


def patch(dim: int) -> tuple[int, ...]:
    return (6, 12, 8)[:dim]
