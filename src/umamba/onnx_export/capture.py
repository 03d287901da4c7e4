"""Capture a network as a graph, for other forms of it."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from umamba.errors import ModelFileError, UMambaError

__all__ = ["captured", "exporting", "random_patch"]

_LONGEST = 300  # characters of the exporter's own message


def captured(
    network: nn.Module, example: Sequence[int], *, any_patch: bool
) -> torch.export.ExportedProgram:
    """Return the graph of a network for any batch.

    Args:
        network: A network in evaluation mode.
        example: Channels and patch of its input.
        any_patch: Whether it takes other patches; not if its weights depend on the patch. A network
            whose class is `traced_for_one_patch` is captured for its own all the same.
    """
    image = torch.zeros(2, *example)  # of a batch of one, torch makes a network for one image
    one_patch = not any_patch or getattr(network, "traced_for_one_patch", False)
    free = [0] if one_patch else [0, *range(2, image.dim())]
    axes = dict.fromkeys(free, torch.export.Dim.AUTO)
    return torch.export.export(network, (image,), dynamic_shapes=(axes,), strict=False)


def random_patch(example: Sequence[int]) -> Tensor:
    """Return the same random numbers at every call, of channels and a patch."""
    return torch.randn(tuple(example), generator=torch.Generator().manual_seed(0))


@contextmanager
def exporting(network: nn.Module, form: str) -> Iterator[None]:
    """Silence what exporters say of themselves, and explain what they cannot do.

    Args:
        network: The network that is exported.
        form: The form in which, for messages.

    Raises:
        ModelFileError: If it cannot be exported.
        OSError: If its file cannot be written.
    """
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
    except (MemoryError, OSError, UMambaError):
        raise
    except Exception as error:  # a network of the user's own may raise anything while it is traced
        msg = f"{type(network).__name__} cannot be exported as {form}: {_reason(error)}"
        raise ModelFileError(msg) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """Return the first line of what lies at the bottom of an exporter's error."""
    while error.__cause__ is not None and not isinstance(error, UMambaError):
        error = error.__cause__
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return first[:_LONGEST]
