"""Compare an ONNX file with the network it was made from, in every engine that is installed."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from umamba.errors import DatasetError, ModelFileError
from umamba.onnx_export import TOLERANCE
from umamba.runtime.engines import installed_engines, load_network
from umamba.runtime.pipeline import EngineCheck
from umamba.runtime.sliding_window import Network

__all__ = ["Array", "compare_engines", "difference", "too_different", "torch_run"]

Array = npt.NDArray[np.float32]


def compare_engines(
    network: nn.Module,
    path: Path,
    images: Iterable[Tensor],
    clock: Callable[[], float] = perf_counter,
) -> tuple[dict[str, EngineCheck], str]:
    """Compare the logits of images in every engine that is installed with torch's.

    Args:
        network: The network, in evaluation mode.
        path: The ONNX file.
        images: `(batch, channels, *patch)`.
        clock: Returns seconds.

    Returns:
        The worst difference and the shortest time of each engine, torch's own for its time; and
        what is wrong with those that are left out, as they fail or differ by more than `TOLERANCE`.

    Raises:
        ModelFileError: If no engine is within `TOLERANCE`, or torch's logits are not finite.
        UMambaError: If none is installed.
    """
    ours, engines, problems = torch_run(network), dict[str, Network](), dict[str, str]()
    for name in installed_engines():
        with _noted(problems, name):
            engines[name] = load_network(path, name, torch.get_num_threads())
    worst = dict.fromkeys(["torch", *engines], 0.0)
    seconds = dict.fromkeys(["torch", *engines], float("inf"))
    for image in images:
        started = clock()
        expected = ours(image.numpy())
        seconds["torch"] = min(seconds["torch"], clock() - started)
        if not np.isfinite(expected).all():
            msg = "the network's logits are not finite numbers; export another checkpoint"
            raise ModelFileError(msg)
        for name in [name for name in engines if name not in problems]:
            with _noted(problems, name):
                started = clock()
                logits = engines[name](image.numpy())
                seconds[name] = min(seconds[name], clock() - started)
                worst[name] = max(worst[name], difference(name, logits, expected))
    differing = {name: too_different(name, w) for name, w in worst.items() if w > TOLERANCE}
    problems = differing | problems
    exact = [name for name in worst if name not in problems]
    said = "; ".join(problems.values())
    if exact == ["torch"]:
        raise ModelFileError(said)
    checks = {
        name: EngineCheck(largest_difference=worst[name], seconds=seconds[name]) for name in exact
    }
    return checks, said


@contextmanager
def _noted(problems: dict[str, str], engine: str) -> Iterator[None]:
    """Note why an engine cannot load or run the file, in place of raising it."""
    try:
        yield
    except (DatasetError, ModelFileError) as error:
        problems[engine] = str(error)


def torch_run(network: nn.Module) -> Network:
    """Return torch's network as a function of arrays, as those of engines are.

    Args:
        network: The network, in evaluation mode.
    """

    def run(patch: Array) -> Array:
        with torch.no_grad():
            logits: Array = network(torch.from_numpy(patch)).numpy()
        return logits

    return run


def too_different(engine: str, found: float) -> str:
    """Say how far an engine is from torch.

    Args:
        engine: Its name.
        found: The difference.
    """
    return (
        f"{engine} differs from torch by {found:.1e} of the largest logit, more than {TOLERANCE:g}"
    )


def difference(engine: str, logits: Array, expected: Array) -> float:
    """Return the largest difference, relative to the largest logit; infinite for NaN.

    Args:
        engine: What computed the logits, for messages.
        logits: Its logits.
        expected: Those of torch.

    Raises:
        ModelFileError: If their shapes differ.
    """
    if logits.shape != expected.shape:
        msg = f"{engine} returns logits of shape {logits.shape}, but torch {expected.shape}"
        raise ModelFileError(msg)
    found = float(np.abs(logits - expected).max() / max(np.abs(expected).max(), 1e-12))
    return math.inf if math.isnan(found) else found
