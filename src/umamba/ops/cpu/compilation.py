"""From the kernels' LLVM IR to machine code in memory; no compiler and no file is needed."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

__all__ = ["compile_kernels", "target_machine", "vector_lanes", "why_unavailable"]


@cache
def why_unavailable() -> str | None:
    """Return why this backend cannot run here, or `None` if it can."""
    try:
        import llvmlite  # noqa: F401
    except ImportError as error:
        return f"llvmlite cannot be imported ({error}); `pip install llvmlite` brings it"
    try:
        compile_kernels(32)
    except Exception as error:  # noqa: BLE001 - whatever LLVM says, there is another backend
        return f"LLVM cannot compile for this processor ({error})"
    return None


class Compiled(NamedTuple):
    """Callable kernels; `engine` owns their machine code."""

    forward: Callable[[int, int, int], None]
    backward: Callable[[int, int, int], None]
    engine: Any


def target_machine(triple: str | None = None, cpu: str = "", features: str = "") -> Any:
    """Return LLVM's code generator for this machine, or for another one.

    Args:
        triple: Target such as `aarch64-unknown-linux-gnu`; `None` is this machine.
        cpu: Name of the processor, for another machine.
        features: Its features, as LLVM writes them.
    """
    from llvmlite import binding

    if triple is None:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        triple = binding.get_process_triple()
        cpu = binding.get_host_cpu_name()
        features = binding.get_host_cpu_features().flatten()
    else:
        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(triple)
    return target.create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small"
    )


def vector_lanes(features: str, bits: int) -> int:
    """Return how many numbers a vector register holds, from LLVM's list of features."""
    present = set(features.split(","))
    if "+avx512f" in present:
        width = 512
    elif "+avx2" in present or "+avx" in present:
        width = 256
    else:
        width = 128
    return width // bits


@cache
def compile_kernels(bits: int, constant: frozenset[str] = frozenset()) -> Compiled:
    """Return the kernels for a type and for layouts of `B` and `C`, as in `KernelSpec`."""
    from llvmlite import binding

    from umamba.ops.cpu.kernels import build_module
    from umamba.ops.cpu.task import KernelSpec

    machine = target_machine()
    lanes = vector_lanes(binding.get_host_cpu_features().flatten(), bits)
    spec = KernelSpec(bits, lanes, constant)
    ir = build_module(spec, machine.triple, str(machine.target_data))
    module = binding.parse_assembly(str(ir))
    module.verify()
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    forward, backward = (
        prototype(engine.get_function_address(name)) for name in ("forward", "backward")
    )
    return Compiled(forward, backward, engine)
