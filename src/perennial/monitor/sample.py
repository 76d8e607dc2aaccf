"""Rows of one side of a comparison: what went into a model, what came out, and the truth where it is known.

Everything that monitors, estimates, diagnoses and reports takes a reference and a current `Sample`, whether the rows
were captured by the prediction service or read from a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import Invalid

__all__ = ["Sample", "Task", "moments_of", "places", "sample_of"]

Task = Literal["regression", "classification"]
Floats = NDArray[np.float64]
FEW = 8  # so many comparisons of a window take less time than one table of places


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows in any order.

    Attributes:
        inputs: Columns that the model takes, n rows.
        task: Of the model.
        classes: Labels as texts, in the order of the columns of `probs`; empty for a regression.
        predictions: Float64, or String for a classification; shape (n,). None: not known, only inputs are compared.
        probs: Probability of each class, shape (n, classes); None where there are none.
        labels: The truth, of the kind of the predictions; null where it is not known (yet). None: nowhere.
        at: Event times, microseconds, shape (n,); None: not known.
    """

    inputs: pl.DataFrame
    task: Task
    classes: tuple[str, ...] = ()
    predictions: pl.Series | None = None
    probs: Floats | None = None
    labels: pl.Series | None = None
    at: NDArray[np.int64] | None = None

    @property
    def rows(self) -> int:
        """How many."""
        return self.inputs.height

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        """Rows whose truth and prediction are both known, shape (n,)."""
        if self.labels is None or self.predictions is None:
            return np.zeros(self.rows, dtype=np.bool_)
        if not self.labels.null_count() and not self.predictions.null_count():
            return np.ones(self.rows, dtype=np.bool_)
        return (self.labels.is_not_null() & self.predictions.is_not_null()).to_numpy()

    def losses(self) -> Floats:
        """Squared error, or 1 for a wrong label, shape (n,); NaN where the truth or the prediction is not known."""
        return self._losses

    @cached_property
    def answered(self) -> NDArray[np.int64]:
        """The place of each prediction among the classes, shape (n,); -1 for what is none of them."""
        assert self.predictions is not None
        return places(self.predictions, self.classes)

    @cached_property
    def _losses(self) -> Floats:
        if self.labels is None or self.predictions is None:
            return np.full(self.rows, np.nan)
        if self.task == "regression":
            return ((self.labels - self.predictions) ** 2).cast(pl.Float64()).to_numpy()
        return (self.labels != self.predictions).cast(pl.Float64()).to_numpy()

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Self:
        """Some of the rows, by a mask, by their numbers or as a slice."""
        chosen = np.arange(self.rows, dtype=np.int64)[rows]
        return type(self)(
            inputs=self.inputs[chosen],
            task=self.task,
            classes=self.classes,
            predictions=None if self.predictions is None else self.predictions[chosen],
            probs=None if self.probs is None else self.probs[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            at=None if self.at is None else self.at[chosen],
        )


def places(values: pl.Series, names: Sequence[str]) -> NDArray[np.int64]:
    """The place of each text among the names, shape (n,); -1 for what is none of them, or missing."""
    if len(names) > FEW:
        known = pl.Series(names, dtype=pl.String())
        numbers = pl.Series(range(len(names)), dtype=pl.Int64())
        return values.replace_strict(known, numbers, default=-1, return_dtype=pl.Int64()).to_numpy()
    found, has_missing = np.full(len(values), -1, dtype=np.int64), values.null_count() > 0
    for place, name in enumerate(names):
        is_it = values == name
        found[(is_it.fill_null(value=False) if has_missing else is_it).to_numpy()] = place
    return found


def sample_of(
    frame: pl.DataFrame,
    *,
    task: Task | None = None,
    prediction: str | None = None,
    probs: str | Mapping[str, str] | None = None,
    target: str | None = None,
    time: str | None = None,
    inputs: Sequence[str] | None = None,
) -> Sample:
    """The rows of a table.

    Args:
        frame: Inputs, and what of the following there is.
        task: Guessed from the target, else from the prediction, when left out: numbers with more than 20 distinct
            values are a regression.
        prediction: Column of the answers.
        probs: Column with the probability of the second of two classes, or column by class.
        target: Column of the truth.
        time: Column of event times: dates, times, or numbers of microseconds.
        inputs: Columns of the inputs; all others when left out.

    Raises:
        Invalid: A column is not there, or its values cannot be used as what they are said to be.
    """
    by_class = {} if probs is None or isinstance(probs, str) else dict(probs)
    named = [name for name in (prediction, probs if isinstance(probs, str) else None, target, time) if name]
    for name in [*named, *by_class.values(), *(inputs or ())]:
        if name not in frame.columns:
            raise Invalid(f"there is no column {name!r}", where=f"columns: {', '.join(frame.columns[:20])}")
    kept = list(inputs) if inputs else [name for name in frame.columns if name not in {*named, *by_class.values()}]
    answers = frame[prediction] if prediction else None
    truths = frame[target] if target else None
    found = task or _guess(truths if truths is not None else answers)
    if found == "regression":
        return Sample(
            inputs=frame.select(kept),
            task=found,
            predictions=_numbers(answers),
            labels=_numbers(truths),
            at=moments_of(frame[time]) if time else None,
        )
    classes = tuple(by_class) or _classes(answers, truths)
    matrix: Floats | None = None
    if by_class:
        matrix = np.column_stack([_probs(frame[name]) for name in by_class.values()])
    elif isinstance(probs, str):
        if len(classes) != 2:
            raise Invalid(
                f"one column of probabilities is for two classes; there are {len(classes)}",
                where=", ".join(classes[:10]),
                remedy="name a column for each class",
            )
        second = _probs(frame[probs])
        matrix = np.column_stack([1.0 - second, second])
    if answers is None and matrix is not None:
        answers = pl.Series([classes[index] for index in matrix.argmax(axis=1).tolist()], dtype=pl.String())
    return Sample(
        inputs=frame.select(kept),
        task=found,
        classes=classes,
        predictions=_texts(answers),
        probs=matrix,
        labels=_texts(truths),
        at=moments_of(frame[time]) if time else None,
    )


def _guess(values: pl.Series | None) -> Task:
    if values is None:
        return "classification"
    return "regression" if values.dtype.is_numeric() and values.n_unique() > 20 else "classification"


def _classes(*columns: pl.Series | None) -> tuple[str, ...]:
    """Numbers in their order, others in that of their texts."""
    found: dict[str, float | str] = {}
    for column in columns:
        if column is not None:
            for value in column.drop_nulls().unique().to_list():
                found[_text(value)] = value if isinstance(value, int | float) else str(value)
    numbers = all(not isinstance(value, str) for value in found.values())
    return tuple(sorted(found, key=lambda text: found[text] if numbers else text))  # pyright: ignore[reportArgumentType,reportCallIssue]


def _text(value: object) -> str:
    """As labels are written everywhere: a whole number without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _texts(values: pl.Series | None) -> pl.Series | None:
    if values is None:
        return None
    if values.dtype.is_float():
        whole = values.drop_nulls()
        if bool((whole == whole.floor()).all()):
            values = values.cast(pl.Int64())
    return values.cast(pl.String())


def _numbers(values: pl.Series | None) -> pl.Series | None:
    if values is None:
        return None
    if not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
        raise Invalid("a regression needs numbers", where=f"column {values.name!r}, {values.dtype}")
    return values.cast(pl.Float64()).fill_nan(None)


def _probs(values: pl.Series) -> Floats:
    numbers = values.cast(pl.Float64(), strict=False).to_numpy()
    if not bool(((numbers >= 0.0) & (numbers <= 1.0)).all()):
        raise Invalid("probabilities lie between 0 and 1", where=f"column {values.name!r}")
    return numbers


def moments_of(times: pl.Series) -> NDArray[np.int64]:
    """Dates, times or numbers of microseconds as microseconds, shape (n,).

    Raises:
        Invalid: A value is none of these.
    """
    where = f"column {times.name!r}"
    if times.dtype == pl.String:
        try:
            times = times.str.to_datetime(strict=True)
        except pl.exceptions.PolarsError as error:
            raise Invalid("these are no times", where=where, remedy="write them as ISO 8601") from error
    if times.dtype.is_temporal():
        times = times.cast(pl.Datetime("us")).cast(pl.Int64())
    if not times.dtype.is_integer():
        raise Invalid(f"these are no times but {times.dtype}", where=where)
    if times.null_count():
        raise Invalid(f"{times.null_count()} rows have no time", where=where)
    return times.cast(pl.Int64()).to_numpy()
