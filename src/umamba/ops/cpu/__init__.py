"""The CPU backend: kernels written as LLVM IR, compiled in memory, run on torch's threads.

From inside out: `emitter` (vectors and loops), `tiles` (memory of any strides), `task` and
`kernels` (the recurrence and its adjoint), `compilation`, `launch`. Only the last two are imported
before a kernel is needed, so llvmlite may be missing.
"""

from umamba.ops.cpu.compilation import why_unavailable
from umamba.ops.cpu.launch import cpu_scan, cpu_scan_backward, restart_shape

__all__ = ["cpu_scan", "cpu_scan_backward", "restart_shape", "why_unavailable"]
