"""Write a network as an ONNX file, after a comparison with torch in every engine that is here."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from umamba.errors import ModelFileError, UMambaError
from umamba.onnx_export.capture import captured, exporting, random_patch
from umamba.onnx_export.comparison import compare_engines
from umamba.ops.exported import diagonal_recurrence, duality
from umamba.ops.operator import scan
from umamba.runtime.pipeline import EngineCheck

__all__ = ["WrittenNetwork", "require_onnx", "write_onnx"]

log = logging.getLogger(__name__)

_OPSET = 18
_LARGE = 2**17  # voxels of a patch; over so many OpenVINO's own norms are wrong by about 1e-5
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class WrittenNetwork:
    """An ONNX file that was compared with torch.

    Attributes:
        free_axes: The axes of its input `(batch, channels, *patch)` that may have other sizes.
        checks: The result by engine, `torch` itself for its time.
        other_patch: The other patch that was compared; empty if there is none.
    """

    free_axes: tuple[int, ...]
    checks: dict[str, EngineCheck]
    other_patch: tuple[int, ...] = ()


def require_onnx() -> None:
    """Raise `ModelFileError` if a library that writing ONNX files needs is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        msg = f"--onnx needs {' and '.join(missing)}: pip install 'umamba[onnx]'"
        raise ModelFileError(msg)


def write_onnx(
    network: nn.Module,
    example: Sequence[int],
    path: Path,
    patches: Sequence[Tensor] = (),
    *,
    any_patch: bool = True,
    other_patch: Sequence[int] = (),
    clock: Callable[[], float] = perf_counter,
) -> WrittenNetwork:
    """Write a network for any batch, and for other patches where they turn out to be right.

    Its input is named `image`, its output `logits`; both are float32.

    Args:
        network: A network in float32 that returns one tensor; it is put into evaluation mode.
        example: Channels and patch of its input.
        path: The file.
        patches: Images `(channels, *patch)` to compare, besides one of random numbers.
        any_patch: Whether the network takes other patches; not if its weights depend on the patch.
        other_patch: Such a patch, which is compared in a batch of two; empty for the network's own.
        clock: Returns seconds, for the times of engines.

    Raises:
        UMambaError: If a library is missing, the network cannot be exported, or every engine
            differs by more than the tolerance; no file is left then.
    """
    require_onnx()
    network.eval()
    reason = ""
    try:
        if any_patch:
            try:
                return _written(network, example, path, patches, other_patch, clock)
            except _OtherPatchError as error:
                reason = str(error)
        written = _written(network, example, path, patches, None, clock)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    if reason:
        log.info("note: %s takes its own patch alone: %s", path.name, reason)
    return written


class _OtherPatchError(Exception):
    """The error of a network or file that may be right for its own patch, and not for another."""


def _written(
    network: nn.Module,
    example: Sequence[int],
    path: Path,
    patches: Sequence[Tensor],
    other_patch: Sequence[int] | None,
    clock: Callable[[], float],
) -> WrittenNetwork:
    """Write a file and compare it; it takes its own patch alone where `other_patch` is `None`."""
    any_patch = other_patch is not None
    try:
        content, free_axes = _onnx_of(network, tuple(example), any_patch=any_patch)
    except UMambaError as error:
        if any_patch:
            raise _OtherPatchError(str(error)) from error
        raise
    path.write_bytes(content)
    # What runs first is slow, as kernels are compiled and memory is taken.
    images = [random_patch(example).unsqueeze(0)] * 2 + [patch.unsqueeze(0) for patch in patches]
    if not any_patch:
        try:
            checks, said = compare_engines(
                network, path, [*images, random_patch((2, *example))], clock
            )
        except ModelFileError as error:
            msg = f"{error}; the network is not exported"
            raise ModelFileError(msg) from error
        _note(said)
        return WrittenNetwork(free_axes, checks)
    own = tuple(example[1:])
    compared = tuple(
        other if axis in free_axes else size
        for axis, (size, other) in enumerate(zip(own, other_patch or own, strict=True), 2)
    )
    try:
        checks, said = compare_engines(network, path, images, clock)
        there, _ = compare_engines(network, path, [random_patch((2, example[0], *compared))])
    except MemoryError:
        raise
    except Exception as error:  # a network of the user's own may raise anything
        raise _OtherPatchError(str(error)) from error
    if lost := sorted(set(checks) - set(there)):
        msg = f"on another patch {' and '.join(lost)} failed or differed"
        raise _OtherPatchError(msg)
    _note(said)
    return WrittenNetwork(free_axes, checks, compared if compared != own else ())


def _note(problems: str) -> None:
    if problems:
        log.warning("note: %s; predictions do not take it by themselves", problems)


def _onnx_of(
    network: nn.Module, example: tuple[int, ...], *, any_patch: bool
) -> tuple[bytes, tuple[int, ...]]:
    """Return the contents of the file, and the axes of any size."""
    import onnx_ir.passes.common

    exact = math.prod(example[1:]) > _LARGE or getattr(network, "enlarges_rounding", False)
    with exporting(network, "ONNX"):
        program = captured(network, example, any_patch=any_patch)
        exported: Any = torch.onnx.export(
            program,
            input_names=["image"],
            output_names=["logits"],
            opset_version=_OPSET,
            verbose=False,
            custom_translation_table=_translations(exact_norms=exact),
        )
    # Torch notes where the code of every operator lies on this machine.
    onnx_ir.passes.common.ClearMetadataAndDocStringPass()(exported.model)
    (given,) = (
        node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs
    )
    sizes = given.meta["val"].shape
    free_axes = tuple(axis for axis, size in enumerate(sizes) if not isinstance(size, int))
    content: bytes = exported.model_proto.SerializeToString(deterministic=True)
    return content, free_axes


def _translations(*, exact_norms: bool) -> dict[Any, Any]:
    """Return what our operators are in ONNX, and norms if the engines' own are not to be taken."""
    from umamba.onnx_export import normalisation
    from umamba.onnx_export.diagonal_recurrence import translate_diagonal_recurrence
    from umamba.onnx_export.selective_scan import translate_selective_scan
    from umamba.onnx_export.state_space_duality import translate_state_space_duality

    norms = {
        torch.ops.aten.instance_norm.default: normalisation.translate_instance_norm,
        torch.ops.aten.group_norm.default: normalisation.translate_group_norm,
    }
    return {
        scan: translate_selective_scan,
        diagonal_recurrence: translate_diagonal_recurrence,
        duality: translate_state_space_duality,
    } | (norms if exact_norms else {})
