"""Networks as ONNX files that were compared with torch."""

__all__ = ["TOLERANCE"]

TOLERANCE = 1e-4  # the difference of two logits that is allowed, relative to the patch's largest
