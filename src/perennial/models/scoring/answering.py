"""A model's answers to pieces of a table, as columns that are the same for every piece.

prediction            the number, or the label
probability_LABEL     one for each class, where the model gives probabilities
error                 why a row has no answer; null where it has one
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from perennial.errors import PerennialError
from perennial.models.rows import POLARS_TYPES
from perennial.models.scoring.inputs import ERROR, typed

if TYPE_CHECKING:
    from perennial.models.package import Predictor

__all__ = ["PREDICTION", "Answering"]

PREDICTION = "prediction"
_LABELS: dict[type, str] = {str: "string", bool: "bool", int: "int64", float: "float64"}


class Answering:
    """A loaded model asked by columns. Not safe for concurrent use."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        signature = predictor.signature
        classes = [] if signature.task == "regression" else list(signature.classes or predictor.scorer.classes or [])
        kinds = {type(label) for label in classes}
        kind = "float64" if signature.task == "regression" else _LABELS[kinds.pop()] if len(kinds) == 1 else "string"
        names = [f"probability_{label}" for label in classes] if self._gives_probabilities() else []
        self.columns: list[tuple[str, str]] = [(PREDICTION, kind), *((name, "float64") for name in names)]
        self.columns.append((ERROR, "string"))
        self._schema = {name: POLARS_TYPES[told] for name, told in self.columns}
        self._probabilities = names

    def _gives_probabilities(self) -> bool:
        """Found out once by its own golden rows, since each piece must have the same columns."""
        if self.predictor.signature.task == "regression":
            return False
        rows = self.predictor.golden_frame()
        if not rows.height:
            return True
        try:
            return self.predictor.answers(rows.head(1)).probabilities is not None
        except Exception:  # noqa: BLE001  the user's code fails on a row: rows that are asked for say so themselves
            return True

    def answer(self, frame: pl.DataFrame) -> pl.DataFrame:
        """One row for each; `frame` holds the required inputs as the table has them."""
        ready, errors = typed(self.predictor.signature, frame)
        if not errors.null_count() < errors.len():
            return self._asked(ready)
        good = errors.is_null()
        asked = self._asked(ready.filter(good))
        # Where each row's answer stands among those that were asked; null where it was not.
        place = pl.select(pl.when(good).then(good.cast(pl.Int64).cum_sum() - 1)).to_series()
        found = asked.select(pl.all().gather(place))
        return found.with_columns(pl.coalesce(pl.col(ERROR), errors).alias(ERROR))

    def _asked(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows are asked together. Where that fails they are halved until those that cannot be answered stand
        alone, so a few bad rows among many cost little.
        """
        if not frame.height:
            return pl.DataFrame(schema=self._schema)
        try:
            return self._together(frame)
        except Exception as error:  # noqa: BLE001  the user's code: recorded in the row that caused it
            if frame.height == 1:
                told = error.what if isinstance(error, PerennialError) else str(error)
                row = {name: [None] for name in self._schema} | {ERROR: [f"{type(error).__name__}: {told}"[:500]]}
                return pl.DataFrame(row, schema=self._schema)
        middle = frame.height // 2
        return pl.concat([self._asked(frame[:middle]), self._asked(frame[middle:])])

    def _together(self, frame: pl.DataFrame) -> pl.DataFrame:
        answered = self.predictor.answers(frame)
        values: Any = np.asarray(answered.values)
        errors = pl.Series(ERROR, [None], dtype=pl.String).new_from_index(0, frame.height)
        kind = self._schema[PREDICTION]
        if kind == pl.Float64:
            prediction = pl.Series(PREDICTION, values.astype(np.float64).reshape(frame.height))
            wrong = ~prediction.is_finite()
            if wrong.any():
                rows = wrong.arg_true()
                said = [f"the model answered {value}" for value in prediction.gather(rows).to_list()]
                errors = errors.clone().scatter(rows, said)
                prediction = prediction.set(wrong, cast("Any", None))
        else:
            listed = values.tolist() if values.dtype.kind in "OUS" else values
            prediction = pl.Series(PREDICTION, [str(one) for one in listed] if kind == pl.String else listed).cast(kind)
        columns = [prediction]
        for at, name in enumerate(self._probabilities):
            table = answered.probabilities
            column = np.full(frame.height, np.nan) if table is None else np.ascontiguousarray(table[:, at], np.float64)
            columns.append(pl.Series(name, column).fill_nan(None))
        return pl.DataFrame([*columns, errors])
