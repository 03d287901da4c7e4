"""Read checkpoints without running what is in them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umamba.errors import CheckpointError

__all__ = ["read_checkpoint"]


def _allowed() -> list[Any]:
    """Return what nnU-Net's and the authors' checkpoints hold besides tensors: numpy scalars."""
    multiarray = np.float64(0).__reduce__()[0]  # numpy's `scalar`, wherever this numpy keeps it
    dtypes = {type(np.dtype(name)) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "?")}
    encode = b"".__reduce_ex__(2)[0]  # `_codecs.encode`, or `bytes`
    return [
        (multiarray, "numpy.core.multiarray.scalar"),
        (multiarray, "numpy._core.multiarray.scalar"),
        np.dtype,
        *dtypes,
        encode,
    ]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of nnU-Net, of the authors' fork, or of ours.

    Only tensors, plain Python data and numpy scalars are accepted; nothing in the file is run.

    Args:
        path: The file.

    Returns:
        Its contents, on the CPU.

    Raises:
        CheckpointError: If the file is missing, torn, not a checkpoint, or holds anything else.
    """
    if not path.is_file():
        msg = f"checkpoint {path} does not exist; train first, or give another -f or -chk"
        raise CheckpointError(msg)
    try:
        with torch.serialization.safe_globals(_allowed()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n\n")[0].splitlines()
        refused = next((line for line in str(error).splitlines() if "GLOBAL" in line), reason[0])
        msg = (
            f"checkpoint {path} holds more than weights and plain data, or is no checkpoint, and "
            f"was not loaded ({refused.strip()}). Use a file from a source that you trust."
        )
        raise CheckpointError(msg) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"checkpoint {path} cannot be read, it may be torn ({first}); use another copy"
        raise CheckpointError(msg) from None
    if not isinstance(checkpoint, dict) or "network_weights" not in checkpoint:
        msg = f"{path} is not a checkpoint of nnU-Net: it has no `network_weights`"
        raise CheckpointError(msg)
    return checkpoint
