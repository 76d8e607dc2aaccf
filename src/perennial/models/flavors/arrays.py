"""What a neural network is given and what its output means: shared by the toolkits that take and answer tensors.

A network takes one matrix (a row for each row, a column for each of the model's columns: categories as their codes,
true and false as 1 and 0, missing as NaN), or one tensor where the model's only column holds tensors, or a tensor for
each column by name. A classifier answers logits or probabilities; which of the two is found out once, from its answers
to a sample, and written down in the package, or taken from the network's own attribute `answers`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import polars as pl

from perennial.errors import DataError, UserCodeError
from perennial.models.flavors.flavor import Answered
from perennial.models.signature import Field, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Inputs",
    "Meaning",
    "Mode",
    "answered",
    "arrays_of",
    "examples",
    "meaning_of",
    "mode_for",
    "must_be_numbers",
    "toolkit",
]

Mode = Literal["matrix", "tensor", "named", "mapping"]
Meaning = Literal["numbers", "logits", "probabilities", "codes"]
Inputs = list["NDArray[Any]"]

SUM = 1e-3  # rows whose probabilities add up to one within this are probabilities
FEW = 20  # fewer single answers between 0 and 1 than this prove nothing about what they are


def toolkit(module: str, name: str, extra: str) -> Any:
    """A toolkit's module.

    Raises:
        UserCodeError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        raise UserCodeError(
            f"this model needs {name}, which is not installed here", remedy=f"pip install 'perennial[{extra}]'"
        ) from error


def mode_for(wanted: Sequence[str], columns: Sequence[Field], *, takes_mapping: bool = False) -> Mode:
    """How a network wants its columns.

    Args:
        wanted: Names of the inputs that it must be given.
        columns: The model's columns.
        takes_mapping: Its only input is a mapping from column to tensor.

    Raises:
        DataError: It asks for what is no column, or for a kind of column that no tensor holds.
    """
    names = [field.name for field in columns]
    if len(wanted) > 1:
        unknown = next((name for name in wanted if name not in names), None)
        if unknown is not None:
            raise DataError(
                f"the network asks for {unknown!r}, which is no column",
                remedy=f"name its inputs like the columns ({', '.join(names)}), or let it take one tensor",
            )
        return "named"
    if takes_mapping:
        return "mapping"
    if any(field.shape is not None for field in columns):
        return "tensor" if len(columns) == 1 else "mapping"
    return "matrix"


def must_be_numbers(columns: Sequence[Field]) -> None:
    """Refuse columns that no tensor of numbers holds.

    Raises:
        DataError: A column holds open text, bytes or times.
    """
    for field in columns:
        if field.type in ("binary", "datetime", "date") or (field.type == "string" and field.categories is None):
            raise DataError(
                f"column {field.name!r} holds {field.type}, which no tensor of numbers holds",
                remedy="turn it into numbers in the features function",
            )


def arrays_of(x: pl.DataFrame, mode: Mode, names: Sequence[str], dtype: Any) -> Inputs:
    """The inputs of a network: one array, or one for each of these columns.

    By name, a category comes as a whole number, and a missing one as the number of categories, so that an embedding
    with one row more than categories takes it.
    """
    if mode == "matrix":
        return [x.select(_NUMBERS).to_numpy().astype(dtype, order="C")]
    if mode == "tensor":
        return [_tensor(x.to_series(0), dtype)]
    return [_column(x[name], dtype) for name in names]


def examples(columns: Sequence[Field], rows: int, seed: int = 0) -> pl.DataFrame:
    """Rows that a model could be asked, drawn at random: to trace it, and to compare two forms of it."""
    random = np.random.default_rng(seed)
    made: list[pl.Series] = []
    for field in columns:
        if field.shape is not None:
            values = random.normal(size=(rows, *field.shape))
            made.append(pl.Series(field.name, values, dtype=pl.Array(pl.Float64(), tuple(field.shape))))
        elif field.categories is not None:
            codes = random.integers(0, max(len(field.categories), 1), size=rows)
            texts = [field.categories[code] for code in codes.tolist()] if field.categories else [None] * rows
            made.append(pl.Series(field.name, texts, dtype=pl.Enum(field.categories)))
        elif field.type == "float64":
            made.append(pl.Series(field.name, random.normal(size=rows)))
        elif field.type == "string":
            made.append(pl.Series(field.name, ["a"] * rows))
        else:
            whole = pl.Series(field.name, random.integers(0, 2, size=rows))
            made.append(whole.cast(pl.Boolean()) if field.type == "bool" else whole)
    return pl.DataFrame(made)


def meaning_of(output: NDArray[Any], signature: Signature, declared: object = None) -> Meaning:
    """What a network's output for a sample of rows is.

    Args:
        output: One row for each row of the sample.
        signature: What the model answers.
        declared: The network's own word: "logits" or "probabilities"; None where it says nothing.

    Raises:
        DataError: The output has a shape that is no answer of this task, or cannot be told apart.
    """
    if signature.task == "regression":
        if output.size != len(output):
            raise _odd_shape(output, "one number for each row")
        return "numbers"
    count = len(signature.classes or [])
    if output.size == len(output) and output.dtype.kind in "iub":
        return "codes"
    if output.size != len(output) and output.shape[1:] != (count,):
        raise _odd_shape(output, f"a number for each of the {count} classes")
    if output.size == len(output) and count != 2:
        raise _odd_shape(output, f"a number for each of the {count} classes")
    if declared is not None:
        if declared not in ("logits", "probabilities"):
            raise DataError(
                f"the network's attribute answers is {declared!r}", remedy='set it to "logits" or "probabilities"'
            )
        return cast(Meaning, declared)
    table = output.reshape(len(output), -1).astype(np.float64)
    table = table[np.isfinite(table).all(axis=1)]
    within = bool(((table >= 0.0) & (table <= 1.0)).all())
    if table.shape[1] > 1:
        return "probabilities" if within and bool((np.abs(table.sum(axis=1) - 1.0) <= SUM).all()) else "logits"
    if not within:
        return "logits"
    if len(table) < FEW:
        raise DataError(
            f"{len(table)} answers between 0 and 1 do not tell whether they are probabilities",
            remedy='set the attribute answers of the network to "logits" or "probabilities", or give more test rows',
        )
    return "probabilities"


def answered(output: NDArray[Any], meaning: Meaning, signature: Signature) -> Answered:
    """A network's output as answers. Raises DataError where it has another shape than before."""
    if meaning == "codes":
        return Answered(np.array(signature.classes)[output.reshape(len(output)).astype(np.int64)])
    table = output.reshape(len(output), -1).astype(np.float64)
    if meaning == "numbers":
        if table.shape[1] != 1:
            raise _odd_shape(output, "one number for each row")
        return Answered(table[:, 0])
    if table.shape[1] == 1:
        table = _sigmoid(table) if meaning == "logits" else table
        return Answered(None, np.hstack([1.0 - table, table]))
    return Answered(None, _softmax(table) if meaning == "logits" else table)


_NUMBERS = pl.all().to_physical().cast(pl.Float64())


def _tensor(series: pl.Series, dtype: Any) -> NDArray[Any]:
    if series.null_count():
        raise DataError(
            f"column {series.name!r} is missing in {series.null_count()} rows, and holds tensors",
            remedy="leave such rows out: a tensor has no value for missing",
        )
    return np.require(series.to_numpy(), dtype, ["C", "W"])


def _column(series: pl.Series, dtype: Any) -> NDArray[Any]:
    if isinstance(series.dtype, pl.Enum):
        codes = series.to_physical().cast(pl.Int64()).fill_null(len(series.dtype.categories))
        return np.require(codes.to_numpy(), np.int64, ["C", "W"])
    if isinstance(series.dtype, pl.Array):
        return _tensor(series, dtype)
    return series.cast(pl.Float64()).to_numpy().astype(dtype)  # a copy: PyTorch wants memory that it may write to


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def _softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    grown = np.exp(x - x.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def _odd_shape(output: NDArray[Any], wanted: str) -> DataError:
    shape = " x ".join(["rows", *map(str, output.shape[1:])])
    return DataError(f"the network answers {shape}, not {wanted}", remedy="train one network per target")
