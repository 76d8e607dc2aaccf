"""An ONNX graph under construction, with names by number: the same model gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper

__all__ = ["OPSET", "Graph", "NotCompilable"]

OPSET = 18
IR_VERSION = 9


class NotCompilable(Exception):
    """This model, or this form of it, has no equivalent graph here; the reason is for people."""


class Graph:
    """Nodes and constants; `x` is the one input, shape (rows, `width`), double precision."""

    def __init__(self, width: int) -> None:
        self.x = "x"
        self._width = width
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._count = 0
        self._trees = 3  # version of the operators for trees

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """One operator with one output; returns its name."""
        name = self._name()
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def trees(self, operator: str, x: str, *, version: int, **attributes: Any) -> str:
        """An ensemble of trees; a graph can hold those of one version only."""
        if self._trees not in (3, version):
            raise NotCompilable("it mixes kinds of trees")
        self._trees = version
        return self.add(operator, x, domain="ai.onnx.ml", **attributes)

    def constant(self, array: NDArray[Any]) -> str:
        name = self._name()
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def embed(self, model: ModelProto, x: str) -> list[str]:
        """Another model's graph, given `x`; returns its outputs."""
        model = compose.add_prefix(model, f"{self._name()}/")
        self._nodes.append(helper.make_node("Identity", [x], [model.graph.input[0].name], name=self._name()))
        if self._trees == 5 and any(node.op_type.startswith("TreeEnsemble") for node in model.graph.node):
            raise NotCompilable("it mixes kinds of trees")
        self._nodes.extend(model.graph.node)
        self._constants.extend(model.graph.initializer)
        return [output.name for output in model.graph.output]

    def finish(self, outputs: Sequence[tuple[str, int]]) -> bytes:
        """The model's bytes, with outputs (name in the graph, element type) as "y0", "y1", ..."""
        for number, (name, _) in enumerate(outputs):
            self._nodes.append(helper.make_node("Identity", [name], [f"y{number}"], name=self._name()))
        graph = helper.make_graph(
            self._nodes,
            "model",
            [helper.make_tensor_value_info(self.x, TensorProto.DOUBLE, [None, self._width])],
            [helper.make_tensor_value_info(f"y{i}", kind, None) for i, (_, kind) in enumerate(outputs)],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", self._trees)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="perennial")
        return model.SerializeToString(deterministic=True)

    def _name(self) -> str:
        self._count += 1
        return f"n{self._count}"
