"""Tiny exported models: one convolution per fold, as a torch network and as an ONNX file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from plans_factory import configuration, stock_plans
from umamba.nnunet.plans.pipeline import pipeline_of
from umamba.runtime.pipeline import EngineCheck, Pipeline, describe_network_file, write_pipeline

CT = {"mean": 40.0, "std": 90.0, "percentile_00_5": -300.0, "percentile_99_5": 500.0}


def convolution(channels: int, outputs: int, dim: int, seed: int = 0) -> nn.Module:
    """Return a convolution whose outputs are often equally large."""
    torch.manual_seed(seed)
    conv = (nn.Conv2d, nn.Conv3d)[dim - 2](channels, outputs, 3, padding=1)
    return conv.eval()


def onnx_of(conv: nn.Module) -> bytes:
    """Return an ONNX file of a convolution for any batch and patch."""
    weight, bias = (value.detach().numpy() for value in (conv.weight, conv.bias))
    dim = weight.ndim - 2
    axes = ["z", "y", "x"][-dim:]
    node = helper.make_node("Conv", ["image", "w", "b"], ["logits"], pads=[1] * 2 * dim)
    graph = helper.make_graph(
        [node],
        "convolution",
        [
            helper.make_tensor_value_info(
                "image", TensorProto.FLOAT, ["batch", weight.shape[1], *axes]
            )
        ],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ["batch", weight.shape[0], *axes]
            )
        ],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    opsets = [helper.make_opsetid("", 18)]
    content: bytes = helper.make_model(
        graph, opset_imports=opsets, ir_version=10
    ).SerializeToString()
    onnx.checker.check_model(content)
    return content


@dataclass
class Exported:
    """A model in all forms: plans and networks for nnU-Net, files for the runtime.

    Attributes:
        folder: The files.
        channels: Schemes of normalisation.
        labels: As in `dataset.json`.
        patch_size: Two or three sizes.
        of_configuration: Further values of the configuration.
        of_plans: Further values of the plans.
        of_dataset: Further values of `dataset.json`.
    """

    folder: Path
    channels: Sequence[str] = ("ZScoreNormalization",)
    labels: dict[str, Any] = field(
        default_factory=lambda: {"background": 0, "organ": 1, "tumour": 2}
    )
    patch_size: Sequence[int] = (8, 16, 12)
    n_folds: int = 1
    of_configuration: dict[str, Any] = field(default_factory=dict)
    of_plans: dict[str, Any] = field(default_factory=dict)
    of_dataset: dict[str, Any] = field(default_factory=dict)
    keep_largest: Sequence[Sequence[int]] | None = None
    checks: dict[str, EngineCheck] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dim, n_channels = len(self.patch_size), len(self.channels)
        self.name = "2d" if dim == 2 else "3d_fullres"
        changes = {
            "patch_size": list(self.patch_size),
            "normalization_schemes": list(self.channels),
            "use_mask_for_norm": [False] * n_channels,
        }
        self.plans = stock_plans() | {
            "configurations": {
                self.name: configuration(dim, self.name, 2, **changes | self.of_configuration)
            },
            "foreground_intensity_properties_per_channel": {str(n): CT for n in range(n_channels)},
            **self.of_plans,
        }
        self.dataset_json = {
            "channel_names": {str(n): f"channel {n}" for n in range(n_channels)},
            "labels": self.labels,
            "file_ending": ".nii.gz",
            **self.of_dataset,
        }
        n_outputs = len(self.labels) - ("regions_class_order" in self.of_dataset)
        self.networks = [
            convolution(n_channels, n_outputs, dim, seed) for seed in range(self.n_folds)
        ]
        self.folder.mkdir(exist_ok=True)
        self.pipeline = self._write()

    def _write(self) -> Pipeline:
        files = []
        for fold, network in enumerate(self.networks):
            path = self.folder / f"fold_{fold}.onnx"
            path.write_bytes(onnx_of(network))
            files.append(describe_network_file(path, str(fold), self.checks))
        pipeline = pipeline_of(
            self.plans,
            self.dataset_json,
            self.name,
            mirroring_axes=tuple(range(len(self.patch_size))),
            keep_largest=self.keep_largest,
            networks=files,
        )
        write_pipeline(self.folder, pipeline)
        return pipeline

    def stock_labels(self, image: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        """Return what stock nnU-Net predicts with the same networks."""
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        manager = PlansManager(self.plans)
        predictor = nnUNetPredictor(
            device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False
        )
        predictor.manual_initialization(
            self.networks[0],
            manager,
            manager.get_configuration(self.name),
            [network.state_dict() for network in self.networks],
            self.dataset_json,
            "nnUNetTrainer",
            tuple(range(len(self.patch_size))),
        )
        labels: np.ndarray = predictor.predict_single_npy_array(image, {"spacing": list(spacing)})
        return labels
