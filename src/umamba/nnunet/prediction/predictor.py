"""Segment arrays, one after the other, with a model that is loaded once."""

import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from umamba.errors import UMambaError
from umamba.nnunet.paths import Paths
from umamba.runtime.preprocessing import checked_image
from umamba.system.environment import environment, torch_settings
from umamba.system.terminal import talk_to_stderr

__all__ = ["Predictor"]

Array = npt.NDArray[Any]
Folder = str | os.PathLike[str]


class Predictor:
    """Segments arrays with a trained model, or an ensemble, that is loaded once.

    Labels are those of `umamba predict` for the same image. Several threads may call one predictor:
    they read and resample at the same time, and the network works for one after the other.

        with umamba.Predictor("hippocampus.zip") as predictor:
            labels = predictor(image, spacing)

    Args:
        model: A model folder, exported folder or zip file; several are an ensemble.
        folds: The folds to ensemble; empty means all that are trained.
        checkpoint: File in the folds' folders.
        device: `cpu`, `cuda` or `mps`; by default CUDA where it is available, else the CPU.
        engine: What runs the network, as `umamba predict --engine`.
        step_size: Step from patch to patch as a part of the patch.
        mirroring: Whether predictions of mirrored patches are averaged.
        skip_background_patches: Whether patches that are background in a coarse first pass are not
            computed again, as by `umamba predict --skip-background-patches`.
        postprocessing: The `postprocessing.json` of nnU-Net that is applied to labels.
        trust_plans: Whether the model may name any code to import.

    Raises:
        UMambaError: If a model cannot be used.
    """

    def __init__(
        self,
        model: Folder | Sequence[Folder],
        *,
        folds: Sequence[str | int] = (),
        checkpoint: str = "checkpoint_final.pth",
        device: str | None = None,
        engine: str = "auto",
        step_size: float = 0.5,
        mirroring: bool = True,
        skip_background_patches: bool = False,
        postprocessing: Folder | None = None,
        trust_plans: bool = False,
    ) -> None:
        self._models: list[Any] = []
        self._network = threading.Lock()
        self._skips_background = skip_background_patches
        folders = [model] if isinstance(model, str | os.PathLike) else list(model)
        with Paths().in_use(), environment(**torch_settings()), talk_to_stderr():
            from umamba.nnunet.prediction.loading import (
                PredictionOptions,
                load_models,
                postprocessing_of,
            )
            from umamba.nnunet.training.folds import pick_device

            options = PredictionOptions(
                folds=tuple(map(str, folds)),
                checkpoint_name=checkpoint,
                engine=engine,
                step_size=step_size,
                mirroring=mirroring,
                device=pick_device(device),
                trust_plans=trust_plans,
            )
            self._models = load_models([Path(folder).expanduser() for folder in folders], options)
            file = None if postprocessing is None else Path(postprocessing)
            self._postprocessing = postprocessing_of(self._models[0], file)
        for loaded in self._models:
            loaded.allow_tqdm = False

    @overload
    def __call__(
        self, image: npt.ArrayLike, spacing: Sequence[float], *, probabilities: Literal[False] = ...
    ) -> Array: ...

    @overload
    def __call__(
        self, image: npt.ArrayLike, spacing: Sequence[float], *, probabilities: Literal[True]
    ) -> tuple[Array, Array]: ...

    def __call__(
        self, image: npt.ArrayLike, spacing: Sequence[float], *, probabilities: bool = False
    ) -> Array | tuple[Array, Array]:
        """Segment an image.

        Args:
            image: Intensities as in the image file, channels first: (channels, z, y, x), or
                (channels, y, x) for a model of flat images.
            spacing: Size of a voxel along these axes, in mm: of z, y, x, or of y, x.
            probabilities: Whether the probabilities of all classes or regions are returned as well.

        Returns:
            The labels, (z, y, x) or (y, x); with `probabilities` also those, classes first.

        Raises:
            UMambaError: If the image does not fit the model, or cannot be predicted.
        """
        from umamba.datasets.description import channel_names
        from umamba.nnunet.prediction.cases import CaseError, labels_of, preprocess_array
        from umamba.nnunet.prediction.sliding_window import predict_logits

        models = self._models  # held until this call ends, even if another thread closes
        if not models:
            msg = "this predictor is closed; make another one"
            raise UMambaError(msg)
        channels = channel_names(models[0].dataset_json)
        array, voxel = checked_image(image, spacing, channels)
        stores: list[Any] = []
        try:
            inputs = [preprocess_array(model, array, voxel) for model in models]
            for model, given in zip(models, inputs, strict=True):
                with self._network:
                    stores.append(
                        predict_logits(
                            model,
                            given,
                            Path(tempfile.gettempdir()),
                            "",
                            skip_background=self._skips_background,
                        )
                    )
            labels, found = labels_of(
                models,
                stores,
                [given.properties for given in inputs],
                self._postprocessing,
                with_probabilities=probabilities,
            )
        except (CaseError, RuntimeError, MemoryError, OSError) as error:
            what = getattr(error, "strerror", None) or error or type(error).__name__
            msg = f"the image cannot be predicted: {what}"
            raise UMambaError(msg) from error
        finally:
            for store in stores:
                store.close()
        if np.ndim(image) == 3:
            labels, found = labels[0], None if found is None else found[:, 0]
        return (labels, found) if probabilities else labels

    def close(self) -> None:
        """Let the model go after calls of other threads; the predictor takes no further ones."""
        self._models = []

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
