"""How rows become the one matrix of numbers that a compiled graph takes, and what its outputs are.

A category is its position in the signature's list, true and false are 1 and 0, what is missing is NaN. Where the
native model refuses a value (missing, infinite, too large for the 32 bits in which it counts), the plan says so, and
the compiled form refuses it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from msgspec import Struct

from perennial.errors import Invalid

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

__all__ = ["Column", "Columns", "Plan"]

DOUBLE_MAX = float(np.finfo(np.float64).max)


class Column(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column: `categories` where it is a closed text; `shape` where each value is a tensor.

    `takes_missing`, `takes_infinite`: the native model answers such values.
    """

    name: str
    categories: list[str] | None = None
    shape: list[int] | None = None
    takes_missing: bool = True
    takes_infinite: bool = True


class Plan(Struct, frozen=True, kw_only=True):
    """`compiled/plan.json`.

    Attributes:
        columns: The model's columns in order.
        largest: Greatest absolute value that the native model takes; more is infinite to it.
        input: Type of the graph's only input.
        answers: "numbers" of a regression, "probabilities" of the classes, "labels", or "both" of these, where
            the label is not always the most probable class.
        classes: In the order of the probabilities.
        relative: As `Scorer.relative`.

    """

    format: Literal[1] = 1
    columns: list[Column]
    largest: float = DOUBLE_MAX
    input: Literal["float32", "float64"] = "float64"
    answers: Literal["numbers", "probabilities", "both", "labels"]
    classes: list[str | int | float | bool] | None = None
    relative: float
    outputs: list[str]

    def to_bytes(self) -> bytes:
        return msgspec.json.encode(self, order="deterministic")


class Columns:
    """Turns frames and arrays into the matrix. Made once for each model."""

    def __init__(self, plan: Plan) -> None:
        self._columns = plan.columns
        self._largest = plan.largest
        self._tensor = len(plan.columns) == 1 and plan.columns[0].shape is not None
        self._dtype: Any = np.float32 if plan.input == "float32" else np.float64
        self._takes_all = plan.largest == DOUBLE_MAX and all(
            column.takes_missing and column.takes_infinite for column in plan.columns
        )
        self._limit = plan.largest**2 if plan.largest < DOUBLE_MAX else float("inf")
        self._coded = [j for j, column in enumerate(plan.columns) if column.categories is not None]

    @cached_property
    def _codes(self) -> list[dict[Any, float] | None]:
        return [
            None if column.categories is None else {text: float(i) for i, text in enumerate(column.categories)}
            for column in self._columns
        ]

    def of_frame(self, x: pl.DataFrame) -> NDArray[Any]:
        """The matrix of rows given as the model's columns."""
        if self._tensor:
            return np.ascontiguousarray(x.to_series(0).to_numpy(), dtype=self._dtype)
        if x.height == 1:
            # Python objects are the quickest way for one row: no kernel is started for any column.
            row = x.row(0)
            nan = float("nan")
            return np.array(
                [
                    [
                        nan if value is None else value if codes is None else codes.get(value, nan)
                        for value, codes in zip(row, self._codes, strict=True)
                    ]
                ],
                dtype=self._dtype,
            )
        import polars as pl

        matrix = np.empty((x.height, x.width), dtype=self._dtype)
        for j, (series, column) in enumerate(zip(x.get_columns(), self._columns, strict=True)):
            if column.categories is not None:
                kind = pl.Enum(column.categories)
                series = (series if series.dtype == kind else series.cast(kind, strict=False)).to_physical()
            matrix[:, j] = series.cast(pl.Float64()).to_numpy()
        return matrix

    def of_arrays(self, columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The matrix of one array for each column: numbers, true and false, or codes of categories, -1 for missing."""
        if self._tensor:
            return np.ascontiguousarray(columns[0], dtype=self._dtype)
        matrix = np.empty((len(columns[0]), len(columns)), dtype=self._dtype)
        for j, values in enumerate(columns):
            matrix[:, j] = values
        if self._coded:
            block = matrix[:, self._coded]
            if (block < 0).any():
                block[block < 0] = np.nan
                matrix[:, self._coded] = block
        return matrix

    def check(self, matrix: NDArray[Any]) -> None:
        """Refuse what the native model refuses.

        Raises:
            Invalid: Names the column and what is wrong with it.
        """
        # One product covers everything unusual: NaN compares as false, and a sum of squares below the limit holds no
        # square above it. Element-wise checks cost three times as much for one row.
        if self._takes_all or np.vdot(matrix, matrix) < self._limit:
            return
        for j, column in enumerate(self._columns):
            values = matrix if self._tensor else matrix[:, j]
            if not column.takes_missing and np.isnan(values).any():
                raise Invalid(f"the model takes no missing value in column {column.name!r}")
            if not column.takes_infinite and (np.abs(values) > self._largest).any():
                raise Invalid(f"column {column.name!r} holds a number that is infinite or too large for the model")
