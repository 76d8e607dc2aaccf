"""ONNX graphs that read other files, run foreign operators or are no graphs at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from perennial.errors import Corrupt, TooLarge
from perennial.models.compiling.safety import check_onnx


def _model(nodes: list[onnx.NodeProto], constants: list[TensorProto]) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], constants))


def _external(path: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.ones(2, dtype=np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=path)
    return tensor


def test_a_plain_graph_passes() -> None:
    check_onnx(
        _model(
            [helper.make_node("Add", ["x", "w"], ["y"])], [numpy_helper.from_array(np.ones(2), "w")]
        ).SerializeToString()
    )


@pytest.mark.parametrize("path", ["/etc/passwd", "../../secret", "weights.bin"])
def test_C21_numbers_in_another_file_are_refused(path: str) -> None:
    with pytest.raises(Corrupt, match="another file"):
        check_onnx(_model([helper.make_node("Add", ["x", "w"], ["y"])], [_external(path)]).SerializeToString())


def test_C21_a_reference_inside_a_constant_or_an_inner_graph_is_refused() -> None:
    constant = helper.make_node("Constant", [], ["y"], value=_external("a"))
    with pytest.raises(Corrupt, match="another file"):
        check_onnx(_model([constant], []).SerializeToString())
    inner = helper.make_graph([constant], "inner", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    both = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    with pytest.raises(Corrupt, match="another file"):
        check_onnx(_model([both], []).SerializeToString())


def test_C21_a_reference_inside_a_function_is_refused() -> None:
    model = _model([helper.make_node("Identity", ["x"], ["y"])], [])
    constant = helper.make_node("Constant", [], ["y"], value=_external("a"))
    model.functions.append(helper.make_function("ai.onnx", "F", [], ["y"], [constant], [helper.make_opsetid("", 18)]))
    with pytest.raises(Corrupt, match="another file"):
        check_onnx(model.SerializeToString())


def test_C21_foreign_operators_are_refused() -> None:
    node = helper.make_node("Read", ["x"], ["y"], domain="evil.example")
    with pytest.raises(Corrupt, match=r"evil\.example"):
        check_onnx(_model([node], []).SerializeToString())


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x80\x04K\x01.", b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_no_graph_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt, match="not an ONNX model"):
        check_onnx(data)


def test_a_graph_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        check_onnx(b"x" * 100, max_bytes=99)


def test_nothing_is_read_from_the_disk(tmp_path: Path) -> None:
    """The check decides before a session exists, so the file that is named is never opened."""
    named = tmp_path / "weights.bin"
    named.write_bytes(b"\0" * 8)
    before = named.stat().st_atime_ns
    with pytest.raises(Corrupt):
        check_onnx(_model([helper.make_node("Add", ["x", "w"], ["y"])], [_external(str(named))]).SerializeToString())
    assert named.stat().st_atime_ns == before
