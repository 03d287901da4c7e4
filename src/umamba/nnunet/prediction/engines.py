"""Run the networks of nnU-Net's predictor by an ONNX engine, where that was found to be right."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from umamba.errors import UMambaError
from umamba.nnunet.checkpoints.contents import weights_digest
from umamba.runtime.engine_names import ENGINES
from umamba.runtime.engines import (
    installed_engines,
    is_installed,
    load_network,
    verified_engines,
    warn_if_unverified,
)
from umamba.runtime.pipeline import PIPELINE, NetworkFile, read_pipeline
from umamba.runtime.sliding_window import Network

__all__ = ["use_engine"]

log = logging.getLogger(__name__)

Weights = Mapping[str, Tensor]


class _EngineNetwork(nn.Module):
    """A substitute for the network in nnU-Net's predictor.

    Args:
        replaced: The network, of which only the depth is kept, by which outputs are told apart.
    """

    def __init__(self, replaced: nn.Module) -> None:
        super().__init__()
        depth = getattr(getattr(replaced, "decoder", None), "depth", None)
        self.decoder = SimpleNamespace(depth=depth)
        self._networks: list[tuple[Weights, Network]] = []

    def add(self, weights: Weights, network: Network) -> None:
        """Add what computes the same as the network with some fold's weights.

        Args:
            weights: What nnU-Net's predictor has in place of these weights.
            network: It computes the same.
        """
        self._networks.append((weights, network))
        self._run = self._networks[0][1]

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._run(x.contiguous().numpy()))

    def load_state_dict(self, state_dict: Weights, *_: Any, **__: Any) -> Any:
        """Take the network of the same weights, which nnU-Net's predictor gives for every fold."""
        self._run = next(network for weights, network in self._networks if weights is state_dict)


def use_engine(predictor: Any, folder: Path, engine: str, *, is_pruned: bool) -> None:
    """Let nnU-Net's predictor run on the ONNX files in a model's folder.

    Args:
        predictor: nnU-Net's predictor, with its network and the weights of all folds.
        folder: The model's folder.
        engine: `torch` leaves all as it is; `auto` takes what was fastest when the model was
            exported, of what is installed and gave torch's logits then, torch included, and leaves
            a prediction on a GPU to torch. Others are taken in any case, with a warning if they
            did not give torch's logits, and run on the CPU.
        is_pruned: Whether the network computes less than it was exported for.

    Raises:
        UMambaError: If the model's files are damaged, or the engine cannot run this model.
    """
    if engine == "torch":
        return
    is_asked_for = engine != "auto"
    on_cpu = predictor.device.type == "cpu"
    if not is_asked_for and not (on_cpu and (folder / PIPELINE).is_file()):
        return
    files, reason = _fitting_files(folder, predictor.list_of_parameters)
    if is_pruned:
        reason = "the ONNX files are of the whole network, and --prune-to computes a part"
    if is_asked_for:
        if reason:
            msg = f"--engine {engine} cannot be used: {reason}; leave it out, or give torch"
            raise UMambaError(msg)
        (named,) = installed_engines(engine)
        warn_if_unverified(named, files)
        _replace(predictor, folder, files, named)
        return
    chosen = "torch" if reason else _fastest(files)
    if reason:
        log.info("note: torch predicts, not an ONNX engine: %s", reason)
    elif chosen != "torch":
        _replace(predictor, folder, files, chosen)


def _fitting_files(folder: Path, weights: Sequence[Weights]) -> tuple[list[NetworkFile], str]:
    """Return the ONNX file for the weights of every fold, or why there is none."""
    if not (folder / PIPELINE).is_file():
        return [], f"{folder} has no {PIPELINE}, which `umamba export --onnx` writes"
    there = {network.weights: network for network in read_pipeline(folder).networks}
    wanted = [weights_digest([fold]) for fold in weights]
    if not set(wanted) <= set(there):
        return [], f"the ONNX files in {folder} are not of these weights"
    return [there[digest] for digest in wanted], ""


def _fastest(files: Sequence[NetworkFile]) -> str:
    usable = {"torch", *filter(is_installed, ENGINES)}
    return next((name for name in verified_engines(files) if name in usable), "torch")


def _replace(predictor: Any, folder: Path, files: Sequence[NetworkFile], engine: str) -> None:
    threads = torch.get_num_threads()
    predictor.weights_sha256 = weights_digest(predictor.list_of_parameters)  # for the record
    replacement = _EngineNetwork(predictor.network)
    predictor.network = replacement  # torch's weights leave memory before the engine reads its own
    predictor.list_of_parameters = [{} for _ in files]
    for stand_in, file in zip(predictor.list_of_parameters, files, strict=True):
        replacement.add(stand_in, load_network(folder / file.file, engine, threads))
    predictor.device = torch.device("cpu")
    predictor.perform_everything_on_device = False
    log.info("%s runs the network", engine)
