"""Networks as ONNX files that were compared with torch."""

__all__ = ["NEAR_TIE", "TOLERANCE"]

TOLERANCE = 1e-4  # the difference of two logits that is allowed, relative to the patch's largest
_ROUNDING = 2.0**-10  # of sums of logits in half precision
# How far apart two logits of a whole case may be, relative to its largest, where labels may differ.
NEAR_TIE = 2 * (TOLERANCE + _ROUNDING)
