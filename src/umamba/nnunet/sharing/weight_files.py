"""Write and read weights as safetensors files, which cannot hold code."""

import hashlib
import json
import shutil
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

    A tensor that a network holds under several names, as nnU-Net's decoders hold the encoder, is
    written once; the metadata lead from each other name to it, as in files of `safetensors.torch`.

    Args:
        weights: Name to weight.
        path: The file to write.
        source: Where they come from, for messages.

    Raises:
        CheckpointError: If something among them is not a plain tensor.
        OSError: If the file cannot be written.
    """
    first: dict[tuple[Any, ...], str] = {}
    unique: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name, weight in weights.items():
        if not isinstance(weight, Tensor) or weight.layout != torch.strided:
            msg = f"{source}: weight {name!r} is not a plain tensor, and cannot be exported"
            raise CheckpointError(msg)
        tensor = weight.detach().cpu().contiguous()
        kept = first.setdefault(_identity(tensor), name)
        if kept == name:
            unique[name] = tensor
        else:
            aliases[name] = kept
    unsorted = path.with_name(f"{path.name}.unsorted")
    try:
        # a tensor may be a view into another's memory, which save_file refuses
        save_file({name: tensor.clone() for name, tensor in unique.items()}, unsorted, aliases)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    _sort_header(unsorted, path)
    unsorted.unlink()


def _sort_header(unsorted: Path, path: Path) -> None:
    """Bring the metadata into a fixed order, and give the file the usual permissions."""
    with unsorted.open("rb") as source, path.open("xb") as target:
        size = int.from_bytes(source.read(8), "little")
        header = json.loads(source.read(size))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        target.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(source, target, 2**20)


def _identity(tensor: Tensor) -> tuple[Any, ...]:
    content = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    return tensor.dtype, tensor.shape, hashlib.sha256(content).digest()


def read_weights(path: Path, shown: str) -> dict[str, Tensor]:
    """Read weights that `write_weights` wrote.

    Args:
        path: The file.
        shown: The user's name for it, for messages.

    Returns:
        Name to weight, on the CPU.

    Raises:
        ModelFileError: If the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            aliases = sorted((file.metadata() or {}).items())
        return weights | {alias: weights[name] for alias, name in aliases}
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        msg = f"{shown} is damaged, or holds no weights ({error}); get another copy"
        raise ModelFileError(msg) from None
