"""The names of the engines that run ONNX files, for options; imports nothing."""

__all__ = ["ENGINES"]

# Those of their modules, and of what pip installs, in the order in which they are taken where
# nothing is known of their speed.
ENGINES = ("openvino", "onnxruntime")
