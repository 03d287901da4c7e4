"""The GPU backend: Triton kernels, parallel over the sequence.

From inside out: `steps` (tiles in registers), `kernels` and `gradient_kernel` (the passes),
`tiling` (how work is divided), `launches` (what is launched, planned once), `scan` (from tensors
to tensors), `availability`. Triton is imported with the first kernel, so it may be missing.
"""

from umamba.ops.triton.availability import why_unavailable
from umamba.ops.triton.scan import restart_shape, triton_scan, triton_scan_backward

__all__ = ["restart_shape", "triton_scan", "triton_scan_backward", "why_unavailable"]
