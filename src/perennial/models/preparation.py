"""From the rows of a dataset or request to what the model is given: one code for training and serving.

`learn` looks at the training rows once: it proves the features, fixes types and categories, and writes the signature.
`Preparation` then turns raw rows into the model's columns, in the library that the user's features speak.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from perennial.data.column_types import canonical, column_type
from perennial.data.frames import FrameKind
from perennial.errors import DataError
from perennial.models.features import FeaturesFunction, apply, prove, uses
from perennial.models.rows import POLARS_TYPES, encoding
from perennial.models.signature import ColumnType, Field, Signature, Task
from perennial.models.tensors import shape_of, to_polars

__all__ = ["Preparation", "guess_task", "learn"]

MAX_CATEGORIES = 255  # what scikit-learn's histogram gradient boosting can split on
MAX_CLASSES = 20  # an integer target with more different values is a quantity


@dataclass(frozen=True)
class Preparation:
    """Turns raw rows into the model's columns. `function` is the user's features function, if any."""

    signature: Signature
    function: FeaturesFunction | None = None

    def x(self, raw: pl.DataFrame) -> Any:
        """The frame that the model is given: its columns in order, text as Enum (polars) or category (pandas)."""
        frame = self.columns(raw)
        return frame.to_pandas() if self.signature.model_frame == "pandas" else frame

    def columns(self, raw: pl.DataFrame) -> pl.DataFrame:
        """The same in polars, whatever the model speaks."""
        return apply(self.function, raw, self.signature.frame).select(self._encoding)

    @cached_property
    def _encoding(self) -> list[pl.Expr]:  # made once: for one row it costs more than applying it
        return encoding(self.signature.columns)

    def raw(self, table: pa.Table) -> pl.DataFrame:
        """The columns of a dataset that features and model need; never the target."""
        names = [field.name for field in self.signature.inputs if field.required]
        return _polars(canonical(table.select(names)))

    def y(self, table: pa.Table) -> np.ndarray[Any, Any]:
        """The target as an array: floats, integers, booleans, or text as objects."""
        column = canonical(table.select([self.signature.output.name])).column(0)
        if column.null_count:
            raise DataError(
                f"the target {self.signature.output.name!r} is missing in {column.null_count} training rows",
                remedy="drop rows without a target in the collect step",
            )
        return column.to_numpy()


def learn(
    table: pa.Table,
    *,
    target: str,
    function: FeaturesFunction | None = None,
    kind: FrameKind = "polars",
    task: Task | None = None,
    positive: str | int | float | bool | None = None,
    key: str | None = None,
    time: str | None = None,
    categories: bool = True,
) -> Preparation:
    """Prove the features on these training rows and fix what the model takes and answers.

    Args:
        table: Training rows with the target.
        target: Name of the target column; features never see it.
        function: The features function, or None when the model takes the columns as they are.
        kind: Library of the frame that `function` takes.
        task: Guessed from the target when None.
        positive: Class that binary metrics are about; the greater of two when None.
        key: Column that names the entity; never given to the model.
        time: Column of event time; never given to the model.
        categories: Give text that repeats to the model as categories; otherwise all text as text.

    Raises:
        DataError: A column is missing or of a type no model takes, or the features break their contract.
        UserCodeError: The features raised.
    """
    table = canonical(table)
    for name in filter(None, (target, key, time)):
        if name not in table.column_names:
            raise DataError(f"there is no column {name!r}", remedy=f"the table has {', '.join(table.column_names)}")
    raw = _polars(table.drop_columns([target]))
    made = _proven(function, raw, kind, table, target)
    if target in made.columns and target not in raw.columns:
        raise DataError(f"features make a column named like the target, {target!r}", remedy="give it another name")
    context = [name for name in (key, time) if name]
    columns = [_field(made[name], categories=categories) for name in made.columns if name not in context]
    if not columns:
        raise DataError("no column is left for the model", remedy="collect at least one besides target, key and time")
    needed = {name for name in raw.columns if name not in context or (function and uses(function, raw, kind, name))}
    answers = table.column(target)
    output = _output(target, column_type(answers.type))
    task = task or guess_task(answers)
    classes = cast("list[str | int | float | bool]", sorted(answers.unique().drop_null().to_pylist()))
    if task == "classification" and len(classes) < 2:
        raise DataError(f"the target {target!r} has one class only", remedy="collect rows of at least two classes")
    if task == "classification" and positive is None and len(classes) == 2:
        positive = classes[1]
    if task == "classification" and positive is not None and positive not in classes:
        raise DataError(f"the positive class {positive!r} does not occur in {target!r}", remedy=f"use one of {classes}")
    signature = Signature(
        inputs=[_field(raw[name], required=name in needed) for name in raw.columns],
        columns=columns,
        output=output,
        task=task,
        classes=classes if task == "classification" else None,
        positive=positive if task == "classification" else None,
        key=key,
        time=time,
        frame=kind,
        model_frame="pandas" if kind == "pandas" else "polars",
    )
    preparation = Preparation(signature, function)
    if function:  # what was proven above must also hold without the columns that serving leaves away
        apply(function, preparation.raw(table).head(1), kind)
    return preparation


def guess_task(target: pa.ChunkedArray) -> Task:
    """Text, booleans and few whole numbers are classes; anything else is a quantity.

    >>> guess_task(pa.chunked_array([[0, 1, 2]])), guess_task(pa.chunked_array([[0.5, 1.0]]))
    ('classification', 'regression')
    """
    kind = column_type(target.type)
    if kind in ("string", "bool"):
        return "classification"
    return "classification" if kind == "int64" and len(target.unique()) <= MAX_CLASSES else "regression"


def _proven(
    function: FeaturesFunction | None, raw: pl.DataFrame, kind: FrameKind, table: pa.Table, target: str
) -> pl.DataFrame:
    try:
        return prove(function, raw, kind)
    except Exception as error:
        if function is not None and not isinstance(error, DataError) and _works(function, _polars(table), kind):
            raise DataError(
                f"features read the target {target!r}, which is not known when a prediction is asked for",
                where=getattr(error, "where", ""),
                remedy="compute features from the other columns only",
            ) from error
        raise


def _works(function: FeaturesFunction, frame: pl.DataFrame, kind: FrameKind) -> bool:
    try:
        apply(function, frame.head(1), kind)
    except Exception:  # noqa: BLE001  # only asked whether the target would help; the first error is reported
        return False
    return True


def _polars(table: pa.Table) -> pl.DataFrame:
    return to_polars(
        table, "column", "spread it over columns of numbers or text, one value each, or drop it in the collect step"
    )


def _field(series: pl.Series, *, required: bool = True, categories: bool = True) -> Field:
    dtype, shape = series.dtype, shape_of(series.dtype)
    kind = "float64" if shape is not None else next(name for name, known in POLARS_TYPES.items() if known == dtype)
    closed: list[str] | None = None
    if kind == "string" and categories:
        texts = cast("list[str]", series.drop_nulls().unique().sort().to_list())
        # A text that hardly repeats is text for a vectoriser, not a category.
        closed = texts if len(texts) <= MAX_CATEGORIES and 2 * len(texts) <= max(series.len(), 4) else None
    return Field(
        name=series.name,
        type=cast(ColumnType, kind),
        required=required,
        nullable=series.null_count() > 0,
        categories=closed,
        shape=shape,
    )


def _output(target: str, kind: str) -> Field:
    if kind not in ("float64", "int64", "bool", "string"):
        raise DataError(f"the target {target!r} holds {kind}", remedy="use a number, true/false or text")
    return Field(name=target, type=cast(ColumnType, kind))
