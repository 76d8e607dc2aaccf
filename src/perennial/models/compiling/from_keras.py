"""A TensorFlow network (Keras, or a SavedModel) as an ONNX graph that takes the one matrix of the plan.

What the scorer does around the network is part of the graph, as in `from_torch`. The conversion is tf2onnx's, of a
function traced in TensorFlow; Keras on another backend has none here.
"""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from perennial.models.compiling.graph import NotCompilable
from perennial.models.flavors.arrays import arrays_of, toolkit

if TYPE_CHECKING:
    import polars as pl

    from perennial.models.flavors.tensorflow import TensorFlowScorer

__all__ = ["to_onnx"]

OPSET = 18  # the newest that tf2onnx 1.17 writes


def to_onnx(model: Any, x: pl.DataFrame, scorer: TensorFlowScorer) -> bytes:
    """The graph's bytes.

    Args:
        model: The network; the scorer's own is taken.
        x: A few rows as the model's columns; none is kept.
        scorer: How the network is asked, and what its output is.

    Raises:
        NotCompilable: The network answers whole numbers, takes text, or does not run on TensorFlow. What tf2onnx
            raises is passed on.
    """
    del model
    tf = toolkit("tensorflow", "TensorFlow", "tensorflow")
    answers, mode = scorer.options["answers"], scorer.options["mode"]
    names, kinds = cast(list[str], scorer.options["names"]), cast(list[str], scorer.options["dtypes"])
    if answers == "codes":
        raise NotCompilable("the network answers labels as numbers")
    if "string" in kinds or "float64" in kinds:
        raise NotCompilable(f"the network takes {'text' if 'string' in kinds else 'float64'}")
    if scorer.traced is None:
        raise NotCompilable("the network does not run on TensorFlow")
    if mode not in ("matrix", "tensor") and any(field.shape is not None for field in scorer.signature.columns):
        raise NotCompilable("the network takes tensors beside other columns")
    columns = {field.name: (i, field.categories) for i, field in enumerate(scorer.signature.columns)}
    example = arrays_of(x, "tensor" if mode == "tensor" else "matrix", [], np.float32)[0]
    shapes = cast(list[list[int]], scorer.options["shapes"])

    def whole(x: Any) -> Any:
        given: list[Any] = []
        for name, kind, shape in zip(names, kinds, shapes, strict=True):
            part = x if mode in ("matrix", "tensor") else _cut(tf, x, *columns[name])
            given.append(tf.cast(tf.reshape(part, [-1, *shape]), kind))
        found = scorer.traced(*given)
        found = tf.reshape(found, [-1, 1]) if found.shape.rank == 1 else found
        if answers == "numbers":
            return found
        if found.shape[1] == 1:
            one = tf.sigmoid(found) if answers == "logits" else found
            return tf.concat([1.0 - one, one], axis=1)
        return tf.nn.softmax(found, axis=1) if answers == "logits" else found

    spec = tf.TensorSpec([None, *example.shape[1:]], tf.float32, name="x")
    log = logging.getLogger("tf2onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tf2onnx's own, about numpy and TensorFlow
            converter = toolkit("tf2onnx.convert", "tf2onnx", "tensorflow")
            proto, _ = converter.from_function(tf.function(whole), input_signature=[spec], opset=OPSET)
    finally:
        log.setLevel(level)
    (output,) = proto.graph.output
    proto.graph.node.add(op_type="Identity", input=[output.name], output=["y0"])
    output.name = "y0"
    made: bytes = proto.SerializeToString(deterministic=True)
    return made


def _cut(tf: Any, x: Any, place: int, categories: list[str] | None) -> Any:
    column = x[:, place]
    if categories is None:
        return column
    missing = tf.fill(tf.shape(column), float(len(categories)))
    return tf.cast(tf.where(tf.math.is_nan(column), missing, column), tf.int64)
