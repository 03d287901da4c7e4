"""Read ONNX files from anywhere: whole, of standard operators only, and without other files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from umamba.errors import OTHER_COPY, ModelFileError, quoted

if TYPE_CHECKING:
    import onnx

__all__ = ["checked_onnx"]

_STANDARD = ("", "ai.onnx")
_MOST_BYTES = 2**31 - 1  # of a protocol buffer


def checked_onnx(path: Path) -> bytes:
    """Return the contents of an ONNX file that an engine may load.

    An engine is to load these bytes and not the file: nothing can then change in between, and
    there is no folder in which it could look for further files.

    Args:
        path: The file.

    Raises:
        ModelFileError: If it cannot be read, is damaged, keeps data in other files, or has
            operators that are not ONNX's own, which may read files.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        if path.stat().st_size > _MOST_BYTES:
            _refuse(path, "has more bytes than an ONNX file can have")
        content = path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror or error}); check the path"
        raise ModelFileError(msg) from None
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        _refuse(path, "is damaged, or is not an ONNX file")
    for node in _nodes(model):
        if node.domain not in _STANDARD:
            named = f"{node.domain}.{node.op_type}"
            _refuse(path, f"has the operator {quoted(named)}, which is not one of ONNX's own")
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            _refuse(path, f"keeps {quoted(tensor.name)} in another file, which is not read")
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        first = next(iter(str(error).splitlines()), "")
        _refuse(path, f"is not a valid ONNX model ({first})")
    return content


def _refuse(path: Path, problem: str) -> NoReturn:
    msg = f"{path} {problem}; {OTHER_COPY}"
    raise ModelFileError(msg)


def _graphs(model: "onnx.ModelProto") -> Iterator[Any]:
    """Return the graph and functions of a model, and the graphs within them."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for attribute in _attributes(graph):
            waiting += [attribute.g] if attribute.HasField("g") else []
            waiting += attribute.graphs


def _nodes(model: "onnx.ModelProto") -> Iterator["onnx.NodeProto"]:
    for graph in _graphs(model):
        yield from graph.node


def _attributes(graph: Any) -> Iterator["onnx.AttributeProto"]:
    for node in graph.node:
        yield from node.attribute
    yield from getattr(graph, "attribute_proto", ())  # defaults of a function


def _tensors(model: "onnx.ModelProto") -> Iterator["onnx.TensorProto"]:
    def of_sparse(found: Iterable["onnx.SparseTensorProto"]) -> Iterator["onnx.TensorProto"]:
        for sparse in found:
            yield sparse.values
            yield sparse.indices

    for graph in _graphs(model):
        yield from getattr(graph, "initializer", ())  # of functions there are none
        yield from of_sparse(getattr(graph, "sparse_initializer", ()))
        for attribute in _attributes(graph):
            yield attribute.t
            yield from attribute.tensors
            yield from of_sparse([attribute.sparse_tensor, *attribute.sparse_tensors])
