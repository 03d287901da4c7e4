"""Write a network as a program of `torch.export`, or compile it ahead, and compare the results.

Both are compared with the network itself before they stay.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from umamba.errors import ModelFileError
from umamba.onnx_export import TOLERANCE
from umamba.onnx_export.capture import captured, exporting, random_patch
from umamba.onnx_export.comparison import difference, too_different

__all__ = ["require_compiler", "write_compiled", "write_program"]


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
        patches: Images `(channels, *patch)` to compare, besides one of random numbers, and a batch
            of two.
        any_patch: Whether the network takes other patches; not if its weights depend on the patch.

    Raises:
        ModelFileError: If the network cannot be exported, or differs by more than the tolerance
            when it is loaded; no file is left then.
    """

    def write(program: torch.export.ExportedProgram) -> Callable[[Tensor], Tensor]:
        torch.export.save(program, path)
        loaded: Callable[[Tensor], Tensor] = torch.export.load(path).module()
        return loaded

    _write(network, "torch.export", path, example, patches, write, any_patch=any_patch)


def write_compiled(
    network: nn.Module,
    example: Sequence[int],
    path: Path,
    patches: Sequence[Tensor] = (),
    *,
    any_patch: bool = True,
) -> None:
    """Compile a network for `torch._inductor.aoti_load_package`, for any batch.

    The package holds machine code for processors like this one, and names folders of this machine.
    A network with a recurrence needs the same imports as a program of `torch.export`.

    Args:
        network: As in `write_program`.
        example: As in `write_program`.
        path: The file, which ends in `.pt2`.
        patches: As in `write_program`.
        any_patch: As in `write_program`.

    Raises:
        ModelFileError: As by `write_program`; also without a C++ compiler.
    """
    require_compiler()
    inductor: Any = torch._inductor

    def write(program: torch.export.ExportedProgram) -> Callable[[Tensor], Tensor]:
        inductor.aoti_compile_and_package(program, package_path=str(path))
        loaded: Callable[[Tensor], Tensor] = inductor.aoti_load_package(str(path))
        return loaded

    _write(network, "AOTInductor", path, example, patches, write, any_patch=any_patch)


def require_compiler() -> None:
    """Raise `ModelFileError` if there is no C++ compiler, which AOTInductor calls."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except RuntimeError as error:
        msg = "--aotinductor needs a C++ compiler: install g++, or leave it out"
        raise ModelFileError(msg) from error


def _write(
    network: nn.Module,
    form: str,
    path: Path,
    example: Sequence[int],
    patches: Sequence[Tensor],
    write: Callable[[torch.export.ExportedProgram], Callable[[Tensor], Tensor]],
    *,
    any_patch: bool,
) -> None:
    """Write a file, load it, and compare its logits; no file is left if they differ."""
    network.eval()
    alone = [patch.unsqueeze(0) for patch in (random_patch(example), *patches)]
    try:
        with exporting(network, f"a program of {form}"):
            program = captured(network, example, any_patch=any_patch)
            for node in program.graph.nodes:  # it names the folders of this machine
                node.meta.pop("stack_trace", None)
            loaded = write(program)
            for batch in (*alone, random_patch((2, *example))):
                _check(form, difference(form, loaded(batch).numpy(), network(batch).numpy()))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _check(form: str, found: float) -> None:
    if found > TOLERANCE:
        msg = f"{too_different(form, found)}; the network is not exported"
        raise ModelFileError(msg)
