"""The GPU backend: Triton kernels, parallel over the sequence.

From inside out: `steps` (tiles in registers), `kernels` and `gradient_kernel` (the passes),
`tiling` (how work is divided), `launches` (what is launched, planned once), `scan` (from tensors
to tensors), `availability`. Triton is imported with the first kernel, so it may be missing.
"""

from umamba.ops.scan_backend import ScanBackend
from umamba.ops.triton.availability import why_unavailable
from umamba.ops.triton.scan import restart_shape, triton_scan, triton_scan_backward

__all__ = ["BACKEND", "triton_scan", "triton_scan_backward", "why_unavailable"]

BACKEND = ScanBackend(
    name="triton",
    remark="compiled for the GPU",
    priority=2,
    devices=("cuda",),
    why_not=why_unavailable,
    scan=triton_scan,
    backward=triton_scan_backward,
    restart_shape=restart_shape,
    casts=False,
)
