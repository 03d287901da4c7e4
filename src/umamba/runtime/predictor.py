"""Segment arrays with an exported model."""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.errors import DatasetError, UMambaError
from umamba.runtime.engine_names import ENGINES
from umamba.runtime.engines import (
    installed_engines,
    load_network,
    verified_engines,
    warn_if_unverified,
)
from umamba.runtime.pipeline import NetworkFile, Pipeline, read_pipeline
from umamba.runtime.postprocessing import keep_largest
from umamba.runtime.preprocessing import checked_image, labels_of, prepare
from umamba.runtime.sliding_window import Network, predict_logits
from umamba.system.limits import computing_threads
from umamba.system.path_names import shown

__all__ = ["Predictor"]

Array = npt.NDArray[Any]


class Predictor:
    """An exported model, loaded, that segments arrays; several threads may call it.

        with Predictor("hippocampus") as predictor:
            labels = predictor(image, spacing)

    Args:
        model: The folder that `umamba export --onnx` wrote.
        engine: `openvino`, `onnxruntime`, or `auto`: of those that are installed, and were found
            to give torch's logits when the model was exported, the fastest one then; if the export
            compared none, the first that is installed. Another one is taken only by its name.
        folds: The folds whose logits are averaged; empty means all.
        step_size: The largest step from patch to patch, as a fraction of the patch; by default the
            model's.
        mirroring: Whether the predictions of mirrored patches are averaged: slower, perhaps better.
        skip_background_patches: Whether patches in which a coarse first pass, without overlap and
            mirroring, finds background alone are not computed again: faster, but small objects
            that it misses are lost.
        postprocessing: Whether the post-processing that nnU-Net chose for these folds together is
            applied.
        threads: How many threads the engine uses; by default one for every core, or
            `OMP_NUM_THREADS`, if that is fewer.

    Attributes:
        pipeline: What `pipeline.json` says.
        engine: The name of the engine.

    Raises:
        UMambaError: If a file is missing, damaged, or of another version, no engine is there that
            may be taken, or nnU-Net chose no post-processing and it is asked for.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        engine: str = "auto",
        folds: Sequence[str | int] = (),
        step_size: float | None = None,
        mirroring: bool = True,
        skip_background_patches: bool = False,
        postprocessing: bool = False,
        threads: int | None = None,
    ) -> None:
        folder = Path(model)
        self.pipeline = read_pipeline(folder, [str(fold) for fold in folds])
        self.engine = _choose(engine, self.pipeline.networks)
        self.step_size = self.pipeline.step_size if step_size is None else step_size
        if not 0 < self.step_size <= 1:
            msg = f"--step-size {self.step_size:g}: give a part of the patch, above 0 and at most 1"
            raise UMambaError(msg)
        self.mirroring = mirroring
        self.skip_background_patches = skip_background_patches
        self.keep_largest = _chosen_steps(self.pipeline, folder) if postprocessing else ()
        self._networks: list[Network] | None = [
            load_network(folder / network.file, self.engine, threads or computing_threads())
            for network in self.pipeline.networks
        ]

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the networks; nothing can be predicted any more."""
        self._networks = None

    def __call__(
        self, image: npt.ArrayLike, spacing: Sequence[float], *, scratch: str | Path | None = None
    ) -> Array:
        """Segment an image.

        Args:
            image: Its intensities as its files hold them, (channels, z, y, x), or (channels, y, x)
                for a single slice. It is not changed.
            spacing: The voxel size in mm, (z, y, x) or (y, x).
            scratch: An existing folder for files of logits that are too large for memory; by
                default the system's folder for temporary files.

        Returns:
            Labels of the image's shape without channels, uint8 or uint16.

        Raises:
            DatasetError: If image or spacing do not fit the model or memory, or its output is not
                finite.
            UMambaError: If the predictor was closed, or the disk has no room for logits.
        """
        networks = self._networks  # held until this call ends, even if another thread closes
        if networks is None:
            msg = "this Predictor was closed; make another one"
            raise UMambaError(msg)
        names = [channel.name for channel in self.pipeline.channels]
        voxels, sizes = checked_image(image, spacing, names)
        folder = Path(scratch or tempfile.gettempdir())
        try:
            labels = self._segment(networks, voxels, sizes, folder)
        except MemoryError as error:
            msg = "there is not enough memory; use a machine with more, or crop the image"
            raise DatasetError(msg) from error
        except OSError as error:
            msg = f"logits cannot be kept in {folder} ({error.strerror or error}); make room there"
            raise UMambaError(msg) from error
        return labels if np.ndim(image) == 4 else labels[0]

    def _segment(
        self, networks: list[Network], voxels: Array, sizes: Sequence[float], folder: Path
    ) -> Array:
        case = prepare(voxels, sizes, self.pipeline)
        logits = predict_logits(
            networks,
            case.image,
            self.pipeline,
            folder,
            step_size=self.step_size,
            mirroring=self.mirroring,
            skip_background=self.skip_background_patches,
        )
        with closing(logits):
            return keep_largest(labels_of(logits, case, self.pipeline), self.keep_largest)


def _chosen_steps(pipeline: Pipeline, folder: Path) -> tuple[tuple[int, ...], ...]:
    if pipeline.keep_largest is None:
        folds = " ".join(network.fold for network in pipeline.networks)
        msg = (
            f"nnU-Net chose no post-processing for the folds {folds} of {shown(folder)} together; "
            "predict without it, or with the folds that it was chosen for"
        )
        raise UMambaError(msg)
    return pipeline.keep_largest


def _choose(engine: str, networks: Sequence[NetworkFile]) -> str:
    installed = installed_engines(engine)
    verified = [name for name in verified_engines(networks) if name in ENGINES]
    there = [name for name in verified if name in installed]
    if not there and engine == "auto" and any(network.checks for network in networks):
        found = " or ".join(f"`pip install {name}`" for name in verified)
        msg = (
            f"of the engines installed here ({', '.join(installed)}) none was found to give "
            f"torch's logits when this model was exported; {found or 'export it again'}, or name "
            "an engine to take it all the same"
        )
        raise UMambaError(msg)
    taken = (there or installed)[0]
    warn_if_unverified(taken, networks)
    return taken
