"""Compare the labels of a whole case, patch by patch and put together, with those of torch."""

import logging
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from umamba.errors import DatasetError, ModelFileError
from umamba.logit_files import LogitStore
from umamba.onnx_export import NEAR_TIE
from umamba.onnx_export.comparison import torch_run
from umamba.runtime.engines import load_network
from umamba.runtime.pipeline import EngineCheck, Pipeline
from umamba.runtime.preprocessing import NetworkInput, labels_of
from umamba.runtime.sliding_window import Network, predict_logits

__all__ = ["compare_labels"]

log = logging.getLogger(__name__)

_PLANES = 8  # that are compared at a time


def compare_labels(
    network: nn.Module,
    path: Path,
    checks: Mapping[str, EngineCheck],
    case: NetworkInput,
    pipeline: Pipeline,
) -> dict[str, EngineCheck]:
    """Compare the labels of a case in engines with torch's, without overlap and mirroring.

    Args:
        network: The network, in evaluation mode.
        path: Its ONNX file.
        checks: By engine, what is known already; `torch` is among them.
        case: The case, preprocessed.
        pipeline: How patches become labels.

    Returns:
        The checks, with the number of voxels whose labels differ. An engine that cannot run the
        case, or has another label where two logits are more than `NEAR_TIE` apart, is named and
        left out.

    Raises:
        UMambaError: If none is left, or the disk has no room for logits.
    """
    scratch = Path(tempfile.gettempdir())
    with ExitStack() as stores:

        def predicted(run: Network) -> tuple[LogitStore, npt.NDArray[Any]]:
            store = predict_logits(
                [run], case.image, pipeline, scratch, step_size=1.0, mirroring=False
            )
            stores.callback(store.close)
            return store, labels_of(store, case, pipeline)

        expected, labels = predicted(torch_run(network))
        found = {"torch": checks["torch"]}
        for engine in [name for name in checks if name != "torch"]:
            try:
                store, others = predicted(load_network(path, engine, torch.get_num_threads()))
            except (DatasetError, ModelFileError) as error:
                log.warning("note: %s; predictions do not take %s by themselves", error, engine)
                continue
            if _are_ties(expected, store, has_regions=pipeline.has_regions):
                n_differing = int(np.count_nonzero(others != labels))
                found[engine] = msgspec.structs.replace(
                    checks[engine], differing_voxels=n_differing
                )
            else:
                log.warning(
                    "note: of a whole case %s finds other labels than torch, not only where two "
                    "logits nearly tie; predictions do not take it by themselves",
                    engine,
                )
    if len(found) == 1:
        msg = "no engine finds torch's labels of a whole case; the network is not exported"
        raise ModelFileError(msg)
    return found


def _are_ties(expected: LogitStore, found: LogitStore, *, has_regions: bool) -> bool:
    """Return whether labels differ only where two of torch's logits are close."""
    n_planes = expected.shape[1]
    largest, widest = 0.0, 0.0
    for first in range(0, n_planes, _PLANES):
        size = min(_PLANES, n_planes - first)
        ours, theirs = (store.read(first, size).astype(np.float32) for store in (expected, found))
        largest = max(largest, float(np.abs(ours).max()))
        widest = max(widest, float(_gaps(ours, theirs, has_regions=has_regions).max()))
    return widest <= NEAR_TIE * largest


def _gaps(
    ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32], *, has_regions: bool
) -> npt.NDArray[np.float32]:
    """Return how far the labels that others chose are behind ours; zero where they agree."""
    if has_regions:
        return np.where((ours > 0) != (theirs > 0), np.abs(ours), 0)
    chosen = np.take_along_axis(ours, theirs.argmax(0)[None], 0)[0]
    gaps: npt.NDArray[np.float32] = ours.max(0) - chosen
    return gaps
