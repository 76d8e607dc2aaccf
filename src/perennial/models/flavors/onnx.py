"""ONNX: a graph from any toolkit, answered by ONNX Runtime. Data, not code; references to other files are refused.

The graph takes either one matrix of numbers, shape (rows, columns), or one input for each column, by name. Its outputs
are labels, probabilities or numbers, told apart by type and shape: a matrix with a column for each class holds
probabilities; text or whole numbers are labels; one number for each row is a quantity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import polars as pl

from perennial.errors import Corrupt, DataError
from perennial.models.flavors.flavor import Answered, Format, Label, Saved
from perennial.models.signature import Signature
from perennial.types import JSON

__all__ = ["Onnx", "OnnxScorer", "session"]

FORMAT = Format(runs_code=False, main="model.onnx")
_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


@dataclass(frozen=True)
class OnnxScorer:
    """A graph in ONNX Runtime, one thread."""

    model: Any
    options: Mapping[str, JSON]
    signature: Signature
    classes: list[Label] | None = None
    relative: float = 1e-5

    def answer(self, x: pl.DataFrame) -> Answered:
        outputs = self.model.run(None, _feed(self.model.get_inputs(), x))
        arrays = [np.asarray(output) for output in outputs if not isinstance(output, list)]
        tables = [_table(output) for output in outputs if isinstance(output, list)]
        classes = self.classes or self.signature.classes or []
        if self.signature.task == "regression":
            return Answered(arrays[0].reshape(x.height).astype(np.float64))
        tables += [array for array in arrays if array.ndim == 2 and array.shape[1] == len(classes)]
        if tables:
            return Answered(None, tables[0].astype(np.float64))
        flat = arrays[0].reshape(x.height)
        if flat.dtype.kind == "f":
            if len(classes) != 2:
                raise DataError(
                    f"the graph answers one number for each row, but there are {len(classes)} classes",
                    remedy="give a graph that answers probabilities or labels",
                )
            return Answered(None, np.column_stack([1.0 - flat, flat]).astype(np.float64))
        return Answered(flat)

    def close(self) -> None:
        """Nothing is held but memory."""


class Onnx:
    """ONNX graphs: `onnx.ModelProto`."""

    name = "onnx"
    extra = ""
    formats: ClassVar[Mapping[str, Format]] = MappingProxyType({"onnx": FORMAT})

    def recognises(self, model: object) -> bool:
        return type(model).__name__ == "ModelProto" and type(model).__module__.startswith("onnx")

    def scorer(self, model: Any, signature: Signature, x: pl.DataFrame) -> OnnxScorer:
        return OnnxScorer(session(model.SerializeToString(), "the model"), {}, signature)

    def save(self, model: Any, signature: Signature) -> Saved:
        data: bytes = model.SerializeToString(deterministic=True)
        block: JSON = {"data": FORMAT.main, "onnx_version": _version(), "code": None, "providers": _PROVIDERS}
        return Saved(files={FORMAT.main: data}, format="onnx", mlflow={"onnx": block})

    def load(self, folder: Path, saved_as: str, options: Mapping[str, JSON], signature: Signature) -> OnnxScorer:
        path = folder / FORMAT.main
        return OnnxScorer(session(path.read_bytes(), str(path)), options, signature)

    def curves(self, model: Any) -> dict[str, list[float]]:
        return {}


_PROVIDERS = ["CPUExecutionProvider"]


def session(data: bytes, where: str) -> Any:
    """A graph, ready to answer on one thread.

    Raises:
        Corrupt: Not an ONNX graph, one that names other files, or one that needs operators of somebody's own.
    """
    import onnxruntime

    from perennial.models.compiling.safety import check_onnx

    check_onnx(data, where=where)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, providers=_PROVIDERS)
    except Exception as error:  # ONNX Runtime raises classes of its own, without a common parent that is public
        raise Corrupt(
            f"ONNX Runtime does not take this graph: {str(error).splitlines()[0]}",
            where=where,
            remedy="do not use this package",
        ) from error


def _feed(inputs: list[Any], x: pl.DataFrame) -> dict[str, Any]:
    by_name = {node.name for node in inputs} <= set(x.columns)
    if by_name:
        return {node.name: _shaped(x[node.name].to_numpy(), node) for node in inputs}
    if len(inputs) != 1:
        missing = next(node.name for node in inputs if node.name not in x.columns)
        raise DataError(
            f"the graph takes an input {missing!r}, which is no column",
            remedy=f"name its inputs like the columns ({', '.join(x.columns)}), or give it one matrix",
        )
    (node,) = inputs
    matrix = x[x.columns[0]].to_numpy() if x.width == 1 else x.cast(pl.Float64()).to_numpy()
    return {node.name: _shaped(matrix, node)}


def _shaped(values: Any, node: Any) -> Any:
    wanted = _TYPES.get(node.type)
    if wanted is None:
        raise DataError(f"the graph takes {node.type} for {node.name!r}, which no column holds")
    rank = len(node.shape) if node.shape is not None else values.ndim
    array = values.astype(wanted)
    return array.reshape(len(array), 1) if rank == 2 and array.ndim == 1 else array


def _table(rows: list[Any]) -> Any:
    """Probabilities as a list of mappings from label to probability, as older converters write them."""
    return np.array([list(row.values()) for row in rows])


def _version() -> str:
    import onnx

    return onnx.__version__
