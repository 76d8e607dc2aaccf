"""The guards that look at a request, before the model is asked: each finds the rows on which it fires.

A check gives None where it finds nothing, which for one row of 64 numbers takes one to four microseconds. What one of
them fills, the next one sees filled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from perennial.models.guards.conformal import p_values, score_limit
from perennial.models.guards.fitted import Fitted, NumberColumn, number_columns
from perennial.models.guards.spec import Missing, OutOfRange, Unforeseen, Unseen
from perennial.models.guards.unlike import NEIGHBOURS, scores
from perennial.models.signature import Signature
from perennial.serve.asked import Asked

__all__ = [
    "Check",
    "Hit",
    "MissingCheck",
    "RangeCheck",
    "Rows",
    "UnforeseenCheck",
    "UnseenCheck",
    "first_of",
    "numbers_of",
]

Floats = NDArray[np.float64]
Getter = Callable[[Sequence[Any]], tuple[Any, ...]]


class Hit(NamedTuple):
    """A row on which a check fired: on which column, what it says, and the value that "fill" takes."""

    row: int
    column: str | None
    says: str
    value: Any = None


class Rows:
    """The rows of a request as checks look at them: as they came, and their numbers as one matrix.

    `has_numbers`: no number is known to be missing, which a check of ranges finds out on its way.
    """

    __slots__ = ("asked", "has_numbers", "numbers", "was_filled")

    def __init__(self, asked: Asked, numbers: Floats | None) -> None:
        self.asked = asked
        self.numbers = numbers
        self.has_numbers = False
        self.was_filled = False


class Check(Protocol):
    """One guard of requests."""

    kind: str
    action: str

    def look(self, rows: Rows) -> list[Hit] | None:
        """The rows on which it fires; None for none."""
        ...


class RangeCheck:
    """Numbers outside what training saw."""

    kind = "range"

    def __init__(self, guard: OutOfRange, fitted: Fitted) -> None:
        self.action = guard.action
        low, high = fitted.arrays["low"].astype(np.float64), fitted.arrays["high"].astype(np.float64)
        chosen = {column.name for column in fitted.numbers if guard.columns is None or column.name in guard.columns}
        for column in fitted.numbers:
            at = slice(column.start, column.start + column.width)
            if column.name not in chosen:
                low[at], high[at] = -np.inf, np.inf
            elif np.isfinite(low[at]).all():
                more = guard.widen * (high[at] - low[at])
                low[at], high[at] = low[at] - more, high[at] + more
        self._columns = [column for column in fitted.numbers if column.name in chosen]
        self._low, self._high = low, high
        self._all_true = b"\x01" * len(low)

    def look(self, rows: Rows) -> list[Hit] | None:
        numbers = rows.numbers
        assert numbers is not None
        if len(numbers) == 1:  # bytes of booleans compare in a fraction of the time of their `all`
            all_true = self._all_true
            inside = (numbers >= self._low).tobytes() == all_true and (numbers <= self._high).tobytes() == all_true
        else:
            inside = bool((numbers >= self._low).all() and (numbers <= self._high).all())
        if inside:
            rows.has_numbers = True
            return None
        outside = (numbers < self._low) | (numbers > self._high)  # a missing number is neither
        if not outside.any():
            return None
        return [hit for column in self._columns for hit in self._of(column, numbers, outside)]

    def _of(self, column: NumberColumn, numbers: Floats, outside: NDArray[np.bool_]) -> list[Hit]:
        at = slice(column.start, column.start + column.width)
        low, high = self._low[at], self._high[at]
        found: list[Hit] = []
        for row in np.flatnonzero(outside[:, at].any(axis=1)).tolist():
            values = numbers[row, at]
            if column.width > 1:
                count = int(outside[row, at].sum())
                says = f"{count} of {column.width} numbers lie outside {low[0]:.6g} to {high[0]:.6g}"
                found.append(Hit(row, column.name, says, np.clip(values, low, high)))
                continue
            says = f"{values[0]:.6g} lies outside {low[0]:.6g} to {high[0]:.6g}"
            nearest = float(np.clip(values[0], low[0], high[0]))
            if column.type == "int64":  # a widened bound need not be whole
                nearest = int(np.ceil(nearest)) if nearest == low[0] else int(np.floor(nearest))
            found.append(Hit(row, column.name, says, nearest))
        return found


class MissingCheck:
    """Values that are missing where training had them."""

    kind = "missing"

    def __init__(self, guard: Missing, signature: Signature, fitted: Fitted | None) -> None:
        self.action = guard.action
        self._columns = [
            (at, field.name)
            for at, field in enumerate(signature.inputs)
            if field.required and (field.name in guard.columns if guard.columns is not None else not field.nullable)
        ]
        self._fills: Mapping[str, Any] = fitted.fills if fitted is not None else {}
        self._pick = _picker([at for at, _ in self._columns], len(signature.inputs))
        numbers = {column.name for column in number_columns(signature)}
        self._all_numbers = numbers.issuperset(name for _, name in self._columns)

    def look(self, rows: Rows) -> list[Hit] | None:
        if self._all_numbers and rows.has_numbers:
            return None
        asked, pick = rows.asked, self._pick
        if not asked.by_column:
            for row in asked.rows():
                if None in pick(row):
                    break
            else:
                return None
        found: list[Hit] = []
        columns = asked.columns()
        for at, name in self._columns:
            found += [Hit(row, name, "it is missing", self._fills.get(name)) for row in _missing_in(columns[at])]
        return found or None


class UnseenCheck:
    """Categories that training did not see."""

    kind = "unseen"

    def __init__(self, guard: Unseen, signature: Signature, fitted: Fitted) -> None:
        self.action = guard.action
        chosen = fitted.categories if guard.columns is None else guard.columns
        # A missing category is not an unseen one: it has a guard of its own.
        self._columns = [
            (at, field.name, frozenset([*fitted.categories[field.name], None]), fitted.fills.get(field.name))
            for at, field in enumerate(signature.inputs)
            if field.name in chosen and field.name in fitted.categories
        ]

    def look(self, rows: Rows) -> list[Hit] | None:
        asked = rows.asked
        if asked.height == 1 and not asked.by_column:
            row = asked.rows()[0]
            found = [
                Hit(0, name, f"training has no {name} {row[at]!r}", usual)
                for at, name, known, usual in self._columns
                if row[at] not in known
            ]
            return found or None
        columns = asked.columns()
        found = []
        for at, name, known, usual in self._columns:
            values = _listed(columns[at])
            if not known.issuperset(values):
                found += [
                    Hit(row, name, f"training has no {name} {value!r}", usual)
                    for row, value in enumerate(values)
                    if value not in known
                ]
        return found or None


class UnforeseenCheck:
    """Rows whose numbers are unlike those of training."""

    kind = "unforeseen"

    def __init__(self, guard: Unforeseen, fitted: Fitted) -> None:
        self.action = guard.action
        arrays = fitted.arrays
        self._arrays = {
            name.removeprefix("unlike_"): values for name, values in arrays.items() if name.startswith("unlike_")
        }
        at = self._arrays.pop("at").astype(np.intp)
        self._calibration = np.asarray(self._arrays.pop("scores"), dtype=np.float64)
        self._usual = np.asarray(arrays["usual"], dtype=np.float64)[at]
        # All numbers in their order need no picking.
        self._at = None if len(at) == len(arrays["usual"]) and (np.diff(at) == 1).all() else at
        self._limit = score_limit(self._calibration, guard.p)
        self._p = max(guard.p, 1 / (len(self._calibration) + 1))
        self._whiten = self._arrays.get("whiten")
        self._center = np.asarray(self._arrays["center"], dtype=np.float64)
        self._half_norms = self._arrays["norms"] / 2 if self._whiten is None else np.empty(0)

    def look(self, rows: Rows) -> list[Hit] | None:
        numbers = rows.numbers
        assert numbers is not None
        picked = numbers if self._at is None else numbers[:, self._at]
        if len(picked) == 1 and self._is_near(picked[0]):
            return None
        missing = np.isnan(picked)
        if missing.any():
            picked = np.where(missing, self._usual, picked)
        found = scores(self._arrays, picked)
        if not (found > self._limit).any():
            return None
        chances = p_values(self._calibration, found)
        return [
            Hit(row, None, f"of rows like those of training {chances[row]:.2g} and fewer are so far off")
            for row in np.flatnonzero(found > self._limit).tolist()
        ]

    def _is_near(self, row: Floats) -> bool:
        """Whether one row is surely within the limit; of NaN it is not sure."""
        if self._whiten is not None:
            whitened = self._whiten.dot(row - self._center)
            return bool(whitened.dot(whitened) <= self._limit)
        scaled = ((row - self._center) / self._arrays["scale"]).astype(np.float32)
        # Enough neighbours within the limit settle it, without sorting them.
        products = self._arrays["reference"].dot(scaled)
        within = products >= self._half_norms + np.float32((scaled.dot(scaled) - self._limit**2) / 2)
        return int(np.count_nonzero(within)) >= NEIGHBOURS


def numbers_of(columns: Sequence[NumberColumn], names: Sequence[str]) -> Callable[[Asked], Floats]:
    """A function that gives the numbers of requests as one matrix, shape (n, width), NaN where one is missing."""
    at = [names.index(column.name) for column in columns]
    pick = _picker(at, len(names))
    is_flat = all(column.width == 1 for column in columns)

    def numbers(asked: Asked) -> Floats:
        if is_flat and not asked.by_column:
            return np.array([pick(row) for row in asked.rows()], dtype=np.float64)
        given = asked.columns()
        parts = [_spread(given[position], column, asked.height) for position, column in zip(at, columns, strict=True)]
        return np.concatenate(parts, axis=1) if parts else np.empty((asked.height, 0))

    return numbers


def first_of(names: Sequence[str]) -> dict[str, int]:
    """Position of each name."""
    return {name: at for at, name in enumerate(names)}


def _spread(values: Any, column: NumberColumn, height: int) -> Floats:
    if column.width == 1:
        return np.asarray(values, dtype=np.float64).reshape(height, 1)
    empty = [float("nan")] * column.width
    rows = [empty if value is None else np.asarray(value, dtype=np.float64).ravel() for value in values]
    return np.asarray(rows, dtype=np.float64)


def _picker(at: list[int], width: int) -> Getter:
    """These values of a row, as a tuple."""
    if at == list(range(width)):
        return tuple
    if len(at) == 1:
        only = at[0]
        return lambda row: (row[only],)
    return itemgetter(*at) if at else lambda row: ()


def _missing_in(values: Any) -> list[int]:
    if isinstance(values, np.ndarray):
        return np.flatnonzero(np.isnan(values)).tolist() if values.dtype.kind == "f" else []
    return [row for row, value in enumerate(values) if value is None] if None in values else []


def _listed(values: Any) -> Sequence[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else values
