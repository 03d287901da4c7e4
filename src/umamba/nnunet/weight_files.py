"""A network's weights as a safetensors file, which can hold nothing that runs."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from umamba.errors import CheckpointError, ModelFileError

__all__ = ["read_weights", "write_weights"]


def write_weights(weights: Mapping[str, Any], path: Path, source: Path) -> None:
    """Write weights.

    What a network holds under several names, as nnU-Net's decoders hold the encoder, is written
    once; the metadata lead from each other name to it, as in files of `safetensors.torch`.

    Args:
        weights: Name to weight.
        path: The file to write.
        source: Where they come from, for messages.

    Raises:
        CheckpointError: If something among them is no plain tensor.
    """
    first: dict[tuple[Any, ...], str] = {}
    unique: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name, weight in weights.items():
        if not isinstance(weight, Tensor) or weight.layout != torch.strided:
            msg = f"{source}: weight {name!r} is no plain tensor, and cannot be exported"
            raise CheckpointError(msg)
        tensor = weight.detach().cpu().contiguous()
        kept = first.setdefault(_identity(tensor), name)
        if kept == name:
            unique[name] = tensor
        else:
            aliases[name] = kept
    # a tensor may be a view into another's memory, which save_file refuses
    save_file({name: tensor.clone() for name, tensor in unique.items()}, path, aliases)


def _identity(tensor: Tensor) -> tuple[Any, ...]:
    content = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    return tensor.dtype, tensor.shape, hashlib.sha256(content).digest()


def read_weights(path: Path, shown: str) -> dict[str, Tensor]:
    """Read weights that `write_weights` wrote.

    Args:
        path: The file.
        shown: What the user calls it, for messages.

    Returns:
        Name to weight, on the CPU.

    Raises:
        ModelFileError: If the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            aliases = dict(file.metadata() or {})
        return weights | {alias: weights[name] for alias, name in aliases.items()}
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        msg = f"{shown} is damaged, or holds no weights ({error}); get another copy"
        raise ModelFileError(msg) from None
