"""Compile the kernels' LLVM IR to machine code in memory, without a C compiler or files."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

__all__ = [
    "Compiled",
    "compile_conv",
    "compile_scan",
    "target_machine",
    "vector_lanes",
    "why_unavailable",
]


@cache
def why_unavailable(device_type: str) -> str | None:
    """Return why this backend cannot run on a type of device, or `None` if it can."""
    if device_type != "cpu":
        return f"it runs on the CPU, and the tensors are on {device_type}"
    try:
        import llvmlite  # noqa: F401
    except ImportError as error:
        return f"llvmlite cannot be imported ({error}); `pip install llvmlite` installs it"
    try:
        compile_scan(32)
    except Exception as error:  # noqa: BLE001 - whatever LLVM says, there is another backend
        return (
            f"LLVM cannot compile for this processor ({error}); `pip install --upgrade llvmlite` "
            "may fix it"
        )
    return None


class Compiled(NamedTuple):
    """Callable kernels, the names of their arguments, and the scratch memory they need.

    `scratch_elements` takes `d_state` of a scan, or the width of a convolution; `owners` keep the
    machine code alive.
    """

    forward: Callable[[int, int, int], None]
    backward: Callable[[int, int, int], None]
    arguments: tuple[str, ...]
    scratch_elements: Callable[[int], int]
    owners: tuple[Any, Any]


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
def compile_scan(bits: int, constant: frozenset[str] = frozenset()) -> Compiled:
    """Return the kernels of the scan for a type and layouts of `B` and `C`, as in `KernelSpec`."""
    from umamba.ops.cpu.scan_kernels import build_scan_module
    from umamba.ops.cpu.scan_task import SCAN_ARGUMENTS, KernelSpec, scan_scratch_elements

    def build(lanes: int, triple: str, data_layout: str) -> Any:
        return build_scan_module(KernelSpec(bits, lanes, constant), triple, data_layout)

    return _compile(build, bits, SCAN_ARGUMENTS, scan_scratch_elements)


@cache
def compile_conv(bits: int) -> Compiled:
    """Return the kernels of the causal convolution for a type."""
    from umamba.ops.cpu.conv_kernels import (
        CONV_ARGUMENTS,
        build_conv_module,
        conv_scratch_elements,
    )

    def build(lanes: int, triple: str, data_layout: str) -> Any:
        return build_conv_module(bits, lanes, triple, data_layout)

    return _compile(build, bits, CONV_ARGUMENTS, conv_scratch_elements)


def _compile(
    build: Callable[[int, str, str], Any],
    bits: int,
    arguments: tuple[str, ...],
    scratch_elements: Callable[[int], int],
) -> Compiled:
    from llvmlite import binding

    machine = target_machine()
    lanes = vector_lanes(binding.get_host_cpu_features().flatten(), bits)
    module = binding.parse_assembly(str(build(lanes, machine.triple, str(machine.target_data))))
    module.verify()
    # JITLink keeps code and constants together; the older linker (MCJIT) aborts the process where
    # the address space is so crowded that they come to lie more than 2 GiB apart.
    linker = binding.create_lljit_compiler(target_machine(), use_jit_link=True)
    library = binding.JITLibraryBuilder().add_object_img(machine.emit_object(module))
    for name in ("forward", "backward"):
        library.export_symbol(name)
    linked = library.add_current_process().link(linker, "umamba")
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    forward, backward = (prototype(linked[name]) for name in ("forward", "backward"))
    return Compiled(forward, backward, arguments, scratch_elements, (linker, linked))
