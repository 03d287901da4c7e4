"""The CPU backend: kernels written as LLVM IR, compiled in memory, run on torch's threads.

From inside out: `emitter` (vectors and loops), `tiles` (memory of any strides), `task` (what all
kernels share), `scan_task`, `scan_kernels` and `conv_kernels` (the mathematics), `compilation`,
`launch`, and the operations `scan` and `conv`. llvmlite is imported when the first kernel is
compiled, so it may be missing.
"""

from umamba.ops.cpu.compilation import why_unavailable
from umamba.ops.cpu.conv import MAX_WIDTH, cpu_conv_silu, cpu_conv_silu_backward
from umamba.ops.cpu.scan import cpu_scan, cpu_scan_backward, restart_shape
from umamba.ops.scan_backend import ScanBackend

__all__ = [
    "BACKEND",
    "MAX_WIDTH",
    "cpu_conv_silu",
    "cpu_conv_silu_backward",
    "cpu_scan",
    "cpu_scan_backward",
]

BACKEND = ScanBackend(
    name="cpu",
    remark="native code on all threads",
    priority=2,
    devices=("cpu",),
    why_not=why_unavailable,
    scan=cpu_scan,
    backward=cpu_scan_backward,
    restart_shape=restart_shape,
)
