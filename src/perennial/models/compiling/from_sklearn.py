"""A scikit-learn model as one graph over the matrix of its columns: the column handling first, then the estimator.

What a transformer does with closed categories is not translated but tabulated: each category, and a missing one, is
sent through the fitted transformer itself, and the graph looks its row up. So one-hot, ordinal, target and other
encoders, and pipelines of them, come out as they are. Numbers go through skl2onnx; trees and linear models through
conversions of our own, in the precision of the original. Functions and classes of the user's are not compiled.
"""

# which columns a ColumnTransformer sends where is private:
# pyright: reportPrivateUsage=false

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from onnx import TensorProto

from perennial.models.compiling.graph import OPSET, Graph, NotCompilable
from perennial.models.compiling.sklearn_trees import sklearn_ensemble
from perennial.models.compiling.trees import ensemble_graph, linked
from perennial.models.flavors.python import given
from perennial.models.signature import Signature

__all__ = ["sklearn_graph", "tree_thresholds"]

_LINEAR = {"LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "BayesianRidge"}
_LOGISTIC = {"LogisticRegression", "LogisticRegressionCV"}
MAX_TABLE = 10_000_000  # numbers in the table of all categories
PROBED = 64  # rows on which tables are compared with the transformer itself


def sklearn_graph(
    model: Any, signature: Signature, x: pl.DataFrame, *, array: bool, double: bool, with_label: bool
) -> bytes:
    """The graph's bytes; outputs are numbers, probabilities, or probabilities and labels.

    Args:
        model: Fitted.
        signature: Its columns.
        x: Rows as the model's columns.
        array: The model was fitted on an array.
        double: In double precision.
        with_label: The label is not always the most probable class.

    Raises:
        NotCompilable: With the reason.
    """
    graph = Graph(x.width)
    steps = _steps(model)
    current, width = graph.x, x.width
    closed = [i for i, column in enumerate(signature.columns) if column.categories is not None]
    first = steps[0]
    if type(first).__name__ == "ColumnTransformer" or (closed and len(steps) > 1):
        current, width = _front(graph, first, signature, x, array=array, double=double)
        steps = steps[1:]
    elif closed:
        raise NotCompilable(
            f"it takes the categories of column {signature.columns[closed[0]].name!r} in a way of its own"
        )
    for step in steps:
        _refuse_user_code(step)
    ensemble = sklearn_ensemble(steps[-1])
    linear = type(steps[-1]).__name__ in _LINEAR | _LOGISTIC
    current, width = _transformed(graph, steps[:-1], current, width, double=double)
    if ensemble is None and not linear:
        outputs = _embedded(graph, steps[-1], current, width, double=double)
        return graph.finish(_chosen(graph, outputs, steps[-1], signature, with_label=with_label))
    if ensemble is not None:
        return graph.finish([(ensemble_graph(graph, current, ensemble, double=double), TensorProto.DOUBLE)])
    return graph.finish([(_linear(graph, current, steps[-1], double=double), TensorProto.DOUBLE)])


def tree_thresholds(model: Any, signature: Signature) -> list[tuple[int, float]]:
    """(column, threshold) of tests on columns that reach the trees as they are, wherever they come to stand."""
    steps = _steps(model)
    ensemble = sklearn_ensemble(steps[-1])
    if ensemble is None:
        return []
    came = {i: i for i, column in enumerate(signature.columns) if column.categories is None}
    for step in steps[:-1]:
        if type(step).__name__ != "ColumnTransformer":
            return []
        came = {place: came[i] for place, i in _unchanged(step).items() if i in came}
    return [(came[i], split) for i, split in ensemble.thresholds() if i in came]


def _unchanged(transformer: Any) -> dict[int, int]:
    """Where columns that it passes on as they are come to stand, and where they stood."""
    found: dict[int, int] = {}
    for name, part, where in _parts(transformer):
        out = transformer.output_indices_[name]
        if _passes_on(name, part) and out.stop - out.start == len(where):
            found |= dict(zip(range(out.start, out.stop), where, strict=True))
    return found


def _steps(model: Any) -> list[Any]:
    """Fitted parts in order, the estimator last."""
    if type(model).__name__ == "Pipeline":
        found = [step for _, part in model.steps if part not in (None, "passthrough") for step in _steps(part)]
        if not found:
            raise NotCompilable("its pipeline is empty")
        return found
    before = getattr(model, "_preprocessor", None)  # histogram gradient boosting with categories
    return [before, model] if before is not None else [model]


def _refuse_user_code(part: Any) -> None:
    """A class or function of the user's means what it does only in Python."""
    kind = type(part)
    if not kind.__module__.startswith("sklearn."):
        raise NotCompilable(f"{kind.__module__}.{kind.__name__} is no part of scikit-learn")
    if kind.__name__ == "FunctionTransformer" and part.func is not None:
        raise NotCompilable("a FunctionTransformer calls a Python function")
    inner: list[Any] = [*getattr(part, "estimators_", []), *(step for _, step in getattr(part, "steps", []))]
    inner += [step for _, step, _ in getattr(part, "transformers_", []) if not isinstance(step, str)]
    for step in inner[:100]:
        if hasattr(step, "get_params"):
            _refuse_user_code(step)


def _parts(transformer: Any) -> list[tuple[str, Any, list[int]]]:
    """(name, fitted transformer, indices of its columns), without what is dropped."""
    where = transformer._transformer_to_input_indices  # noqa: SLF001
    return [
        (name, part, [int(i) for i in where[name]])
        for name, part, _ in transformer.transformers_
        if part != "drop" and len(where[name])
    ]


def _front(
    graph: Graph, first: Any, signature: Signature, x: pl.DataFrame, *, array: bool, double: bool
) -> tuple[str, int]:
    """The first step, which takes the columns: (name of the matrix after it, its width)."""

    def transformed(rows: pl.DataFrame) -> NDArray[Any]:
        found = first.transform(given(rows, signature, array=array))
        if hasattr(found, "to_numpy"):
            found = found.to_numpy()
        return np.asarray(found.toarray() if hasattr(found, "toarray") else found, dtype=np.float64)

    finite = {i for i, column in enumerate(signature.columns) if column.categories is not None or column.type == "bool"}
    open_text = {i for i, c in enumerate(signature.columns) if c.type == "string" and c.categories is None}
    if type(first).__name__ != "ColumnTransformer":
        _refuse_user_code(first)
        if len(finite) < x.width:
            raise NotCompilable(f"{type(first).__name__} takes categories and numbers together")
        return _tabulated(graph, transformed, list(range(x.width)), signature, x, slice(None))
    blocks, width = list[str](), 0
    for name, part, where in _parts(first):
        columns = [signature.columns[i].name for i in where]
        if open_text & set(where):
            raise NotCompilable(f"column {columns[0]!r} is open text")
        piece = first.output_indices_[name]
        if _passes_on(name, part):
            if any(signature.columns[i].categories is not None for i in where):
                raise NotCompilable(f"column {columns[0]!r} is text that nothing encodes")
            blocks.append(_picked(graph, where))
            width += len(where)
            continue
        _refuse_user_code(part)
        if set(where) <= finite:
            block, size = _tabulated(graph, transformed, where, signature, x, piece)
        elif any(signature.columns[i].categories is not None for i in where):
            raise NotCompilable(f"{type(part).__name__} takes categories and numbers together")
        else:
            block, size = _transformed(graph, _steps(part), _picked(graph, where), len(where), double=double)
            if size != piece.stop - piece.start:
                raise NotCompilable(f"{type(part).__name__} makes another number of columns")
        blocks.append(block)
        width += size
    if not blocks:
        raise NotCompilable("nothing of its columns is left")
    return (graph.add("Concat", *blocks, axis=1) if len(blocks) > 1 else blocks[0]), width


def _passes_on(name: str, part: Any) -> bool:
    """It leaves its columns as they are."""
    is_own_check = name == "numerical" and type(part).__name__ == "FunctionTransformer" and _checks_only(part)
    return part == "passthrough" or is_own_check or (hasattr(part, "func") and part.func is None)


def _checks_only(part: Any) -> bool:
    """The function with which histogram gradient boosting checks its numbers; it changes nothing."""
    inner = getattr(part.func, "func", None)
    return getattr(inner, "__name__", "") == "check_array" and str(getattr(inner, "__module__", "")).startswith(
        "sklearn."
    )


def _picked(graph: Graph, where: Sequence[int]) -> str:
    return graph.add("Gather", graph.x, graph.constant(np.array(where, dtype=np.int64)), axis=1)


def _tabulated(
    graph: Graph, transformed: Any, where: list[int], signature: Signature, x: pl.DataFrame, piece: slice
) -> tuple[str, int]:
    """A table of what the fitted transformer makes of each category, and the graph that looks it up and adds up."""
    base_row = x.head(1)
    base = transformed(base_row)[0, piece]
    tables = list[NDArray[np.float64]]()
    refused = list[int]()
    for i in where:
        column = signature.columns[i]
        kind = x.schema[column.name]
        values: list[Any] = list(column.categories) if column.categories is not None else [False, True]
        rows = _repeated(base_row, len(values)).with_columns(pl.Series(column.name, values, dtype=kind))
        found = transformed(rows)[:, piece]
        try:
            missing = transformed(base_row.with_columns(pl.lit(None, dtype=kind).alias(column.name)))[:, piece]
        except (ValueError, TypeError):  # no missing value was in training: the plan refuses it
            missing = np.zeros((1, found.shape[1]))
            refused.append(i)
        tables.append(np.vstack([found, missing]))
    if sum(table.size for table in tables) > MAX_TABLE:
        raise NotCompilable("its categories make too large a table")
    # An output that moves with a column belongs to it; one that moves with none is a constant of the first.
    owner = np.zeros(len(base), dtype=np.int64)
    for k, (table, i) in enumerate(zip(tables, where, strict=True)):
        rows = table[:-1] if i in refused else table
        moved = ~np.all((rows == base) | (np.isnan(rows) & np.isnan(base)), axis=0)
        if np.any(moved & (owner > 0)) or (k and np.any(moved & (owner == -1))):
            raise NotCompilable("its encoder mixes columns")
        owner[moved] = k + 1
    for k, table in enumerate(tables):
        table[:, (owner != k + 1) & ~((owner == 0) & (k == 0))] = 0.0
    offsets = np.cumsum([0, *(len(table) for table in tables[:-1])])
    lookup = np.vstack(tables)
    probe = x.gather_every(max(x.height // PROBED, 1)).head(PROBED) if hasattr(x, "gather_every") else x.head(PROBED)
    codes = _codes(probe, where, signature)
    got = lookup[codes + offsets].sum(axis=1)
    if not np.array_equal(got, transformed(probe)[:, piece], equal_nan=True):
        raise NotCompilable("its encoder mixes columns")
    picked = _picked(graph, where)
    missing_code = graph.constant(np.array([[len(table) - 1.0 for table in tables]]))
    whole = graph.add("Where", graph.add("IsNaN", picked), missing_code, picked)
    index = graph.add("Cast", graph.add("Add", whole, graph.constant(offsets[None, :].astype(np.float64))), to=7)
    rows_of = graph.add("Gather", graph.constant(lookup), index)
    return graph.add("ReduceSum", rows_of, graph.constant(np.array([1], dtype=np.int64)), keepdims=0), len(base)


def _repeated(row: pl.DataFrame, count: int) -> pl.DataFrame:
    return row[[0] * count]


def _codes(x: pl.DataFrame, where: Sequence[int], signature: Signature) -> NDArray[np.int64]:
    found = np.empty((x.height, len(where)), dtype=np.int64)
    for k, i in enumerate(where):
        column = signature.columns[i]
        series, last = x[column.name], len(column.categories) if column.categories is not None else 2
        series = series.to_physical() if column.categories is not None else series
        found[:, k] = series.cast(pl.Int64()).fill_null(last).to_numpy()
    return found


def _linear(graph: Graph, x: str, model: Any, *, double: bool) -> str:
    coefficients = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64)).T
    intercept = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), (coefficients.shape[1],))
    kind = np.float64 if double else np.float32
    if not double:
        x = graph.add("Cast", x, to=TensorProto.FLOAT)
    scores = graph.add("Gemm", x, graph.constant(coefficients.astype(kind)), graph.constant(intercept.astype(kind)))
    if not double:
        scores = graph.add("Cast", scores, to=TensorProto.DOUBLE)
    if type(model).__name__ in _LINEAR:
        return scores
    return linked(graph, scores, "logistic" if len(model.classes_) == 2 else "softmax")


def _transformed(graph: Graph, steps: list[Any], x: str, width: int, *, double: bool) -> tuple[str, int]:
    """Numbers after these transformers, in double precision, and how many columns they are."""
    for step in steps:
        made = _simple(graph, step, x)
        if made is None:
            made = graph.add("Cast", _embedded(graph, step, x, width, double=double)[0], to=TensorProto.DOUBLE)
            width = len(step.get_feature_names_out([f"c{i}" for i in range(width)]))
        x = made
    return x, width


def _simple(graph: Graph, step: Any, x: str) -> str | None:
    """Scalers and imputers, operation by operation as scikit-learn does them; None for all else."""

    def row(values: Any) -> str:
        return graph.constant(np.asarray(values, dtype=np.float64).reshape(1, -1))

    name = type(step).__name__
    if name in ("StandardScaler", "RobustScaler"):
        centre = step.mean_ if name == "StandardScaler" else step.center_
        if centre is not None and getattr(step, "with_mean", getattr(step, "with_centering", True)):
            x = graph.add("Sub", x, row(centre))
        return graph.add("Div", x, row(step.scale_)) if step.scale_ is not None else x
    if name == "MaxAbsScaler" and not getattr(step, "clip", False):
        return graph.add("Div", x, row(step.scale_))
    if name == "MinMaxScaler" and not step.clip:
        return graph.add("Add", graph.add("Mul", x, row(step.scale_)), row(step.min_))
    if name == "SimpleImputer" and not step.add_indicator and _is_nan(step.missing_values):
        values = np.asarray(step.statistics_, dtype=np.float64)
        if not np.isnan(values).any():  # a column without any value is dropped
            return graph.add("Where", graph.add("IsNaN", x), row(values), x)
    return None


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and value != value


def _embedded(graph: Graph, step: Any, x: str, width: int, *, double: bool) -> list[str]:
    """What skl2onnx makes of this fitted step; of a classifier probabilities before labels."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    is_probable = hasattr(step, "predict_proba")
    if type(step).__name__ == "VotingClassifier":
        step = copy.copy(step)
        step.flatten_transform = False  # concerns `transform` alone, and skl2onnx knows only this one
    kind = DoubleTensorType if double else FloatTensorType
    logging.getLogger("skl2onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the converter
        model = convert_sklearn(
            step,
            "part",
            [("X", kind([None, width]))],
            options={id(step): {"zipmap": False}} if is_probable else None,
            target_opset={"": OPSET, "ai.onnx.ml": 3},
        )
    outputs = graph.embed(model, x if double else graph.add("Cast", x, to=TensorProto.FLOAT))
    return outputs[::-1] if is_probable else outputs


def _chosen(
    graph: Graph, outputs: list[str], model: Any, signature: Signature, *, with_label: bool
) -> list[tuple[str, int]]:
    if signature.task == "regression":
        return [(graph.add("Cast", outputs[0], to=TensorProto.DOUBLE), TensorProto.DOUBLE)]
    if not hasattr(model, "predict_proba"):
        return [(outputs[0], _label_type(signature))]
    probabilities = (graph.add("Cast", outputs[0], to=TensorProto.DOUBLE), TensorProto.DOUBLE)
    return [probabilities, (outputs[1], _label_type(signature))] if with_label else [probabilities]


def _label_type(signature: Signature) -> int:
    return TensorProto.STRING if isinstance((signature.classes or [""])[0], str) else TensorProto.INT64
