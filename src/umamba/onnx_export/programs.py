"""Write a network as a program of `torch.export`, after a comparison with the network itself."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from umamba.errors import ModelFileError
from umamba.onnx_export import TOLERANCE
from umamba.onnx_export.capture import captured, exporting, random_patch
from umamba.onnx_export.comparison import Array, difference, too_different

__all__ = ["write_program"]


def write_program(
    network: nn.Module,
    example: Sequence[int],
    path: Path,
    patches: Sequence[Tensor] = (),
    *,
    any_patch: bool = True,
) -> None:
    """Write a network for `torch.export.load`, for any batch.

    A network with a recurrence needs `import umamba.ops.dispatch, umamba.ops.exported` before it
    is loaded.

    Args:
        network: A network in float32 that returns one tensor; it is put into evaluation mode.
        example: Channels and patch of its input.
        path: The file.
        patches: Images `(channels, *patch)` to compare, besides one of random numbers.
        any_patch: Whether the network takes other patches; not if its weights depend on the patch.

    Raises:
        ModelFileError: If the network cannot be exported, or differs by more than the tolerance
            when it is loaded; no file is left then.
    """
    network.eval()
    try:
        with exporting(network, "a program of torch.export"):
            program = captured(network, example, any_patch=any_patch)
            for node in program.graph.nodes:  # it names the folders of this machine
                node.meta.pop("stack_trace", None)
            torch.export.save(program, path)
            loaded = torch.export.load(path).module()
            for patch in (random_patch(example), *patches):
                image = patch.unsqueeze(0)
                _check_same(loaded(image).numpy(), network(image).numpy())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _check_same(logits: Array, expected: Array) -> None:
    found = difference("torch.export", logits, expected)
    if found > TOLERANCE:
        msg = f"{too_different('torch.export', found)}; the network is not exported"
        raise ModelFileError(msg)
