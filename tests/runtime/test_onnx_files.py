"""ONNX files from anywhere: whole ones are read, and hostile or damaged ones are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from umamba.errors import ModelFileError
from umamba.runtime.engine_names import ENGINES
from umamba.runtime.engines import load_network
from umamba.runtime.onnx_files import checked_onnx


def model(
    node: onnx.NodeProto | None = None, tensor: onnx.TensorProto | None = None, **parts: Any
) -> onnx.ModelProto:
    node = node or helper.make_node("Add", ["x", "w"], ["y"])
    tensor = tensor or numpy_helper.from_array(np.ones(2, np.float32), "w")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    graph = helper.make_graph([node], "graph", values[:1], values[1:], [tensor])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **parts)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "fold_0.onnx"
    path.write_bytes(content)
    return path


def external(location: str) -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def branch(node: onnx.NodeProto) -> onnx.NodeProto:
    """A condition whose branches hold the node."""
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    body = helper.make_graph([node], "body", [], [value])
    return helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)


FOREIGN = helper.make_node("ReadFile", ["x"], ["y"], domain="com.example")
CONSTANT = helper.make_node("Constant", [], ["y"], value=external("/etc/passwd"))
FUNCTION = helper.make_function(
    *("com.example", "Mine", ["x"], ["y"], [FOREIGN]),
    [helper.make_opsetid("com.example", 1)],
)


def test_a_whole_file_is_returned_as_it_is(tmp_path: Path) -> None:
    content = model().SerializeToString()
    assert checked_onnx(written(tmp_path, content)) == content


# A network of OpenVINO's own format that returns its input.
OF_OPENVINO = """<net name="evil" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="2" element_type="f32"/>
<output><port id="0" precision="FP32" names="x"><dim>2</dim></port></output></layer>
<layer id="1" name="y" type="Result" version="opset1">
<input><port id="0" precision="FP32"><dim>2</dim></port></input></layer></layers>
<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges></net>"""


@pytest.mark.parametrize("producer", ["ORTM" + 14 * "x", OF_OPENVINO], ids=["ort", "ir"])
def test_bytes_in_another_format_of_an_engine_are_read_as_onnx(
    producer: str, tmp_path: Path
) -> None:
    """Engines take what has certain letters for their own format, which is not checked."""
    made = model(producer_name=producer).SerializeToString()
    assert made[4:8] == b"ORTM" or producer == OF_OPENVINO
    ones = np.ones(2, np.float32)
    for engine in ENGINES:
        np.testing.assert_array_equal(load_network(written(tmp_path, made), engine, 1)(ones), 2)


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (model(FOREIGN), r"has the operator 'com\.example\.ReadFile', which is not one of ONNX's"),
        (model(branch(FOREIGN)), r"has the operator 'com\.example\.ReadFile'"),
        (model(functions=[FUNCTION]), r"has the operator 'com\.example\.ReadFile'"),
        (model(tensor=external("../../secret.bin")), "keeps 'w' in another file, which is not"),
        (model(tensor=external("beside.bin")), "keeps 'w' in another file"),
        (model(CONSTANT), "keeps 'w' in another file"),
        (model(branch(CONSTANT)), "keeps 'w' in another file"),
        (model(helper.make_node("NoSuch", ["x"], ["y"])), r"is not a valid ONNX model \(No Op"),
    ],
    ids=["operator", "in branch", "in function", "outside", "beside", "constant", "inner", "new"],
)
def test_hostile_files_are_refused(tmp_path: Path, made: onnx.ModelProto, problem: str) -> None:
    (tmp_path / "beside.bin").write_bytes(bytes(8))
    path = written(tmp_path, made.SerializeToString())
    with pytest.raises(ModelFileError, match=rf"fold_0\.onnx {problem}.*; get another copy") as e:
        checked_onnx(path)
    assert "\n" not in str(e.value)


def test_torn_files_are_refused(tmp_path: Path) -> None:
    content = model().SerializeToString()
    for size in (0, 1, len(content) // 2, len(content) - 1):
        with pytest.raises(ModelFileError, match=r"fold_0\.onnx is "):
            checked_onnx(written(tmp_path, content[:size]))
    with pytest.raises(ModelFileError, match="is damaged, or is not an ONNX file"):
        checked_onnx(written(tmp_path, b"PK\x03\x04 no model"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.onnx cannot be read \(No such file"):
        checked_onnx(tmp_path / "none.onnx")
