"""Columns of a frame as groups of rows: the values of a category, the fifths of a quantity.

Columns that name rows rather than group them (almost every value once) give no groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from perennial.evaluate.answers import Floats, Ints

__all__ = ["Grouped", "grouped", "grouped_columns"]

MAX_VALUES = 30  # the most frequent of a category; others are one group
MAX_COLUMNS = 50
MANY_VALUES = 1000  # text with more different values than this names rows
WHOLE_NUMBERS = 12  # a whole number with at most so many different values is a category
PARTS = 5
MISSING, OTHER = "(missing)", "(other)"


@dataclass(frozen=True)
class Grouped:
    """`codes`: the group of each row, 0..len(labels)-1."""

    column: str
    codes: Ints
    labels: tuple[str, ...]


def grouped_columns(frame: pl.DataFrame, *, leave_out: Sequence[str] = ()) -> list[Grouped]:
    """Every column that groups rows, at most 50, in the frame's order."""
    found: list[Grouped] = []
    for name in frame.columns:
        one = None if name in leave_out else grouped(frame[name])
        if one is not None and len(one.labels) > 1:
            found.append(one)
        if len(found) == MAX_COLUMNS:
            break
    return found


def grouped(series: pl.Series) -> Grouped | None:
    """The groups of one column; None where it has none."""
    kind = series.dtype
    if kind.is_integer() and series.n_unique() <= WHOLE_NUMBERS:
        return _by_value(series.cast(pl.String), in_order=True)
    if kind.is_numeric() or kind.is_temporal():
        return _by_part(series)
    if kind == pl.Boolean or isinstance(kind, pl.String | pl.Categorical | pl.Enum):
        texts = series.cast(pl.String)
        return None if texts.n_unique() > min(MANY_VALUES, max(len(texts) / 2, 10)) else _by_value(texts)
    return None


def _by_value(texts: pl.Series, *, in_order: bool = False) -> Grouped:
    counted = texts.drop_nulls().value_counts(sort=False).sort(["count", texts.name], descending=[True, False])
    kept = counted[texts.name].head(MAX_VALUES).to_list()
    labels = sorted(kept, key=float) if in_order else sorted(kept)
    if len(counted) > len(kept):
        labels.append(OTHER)
    if texts.null_count():
        labels.append(MISSING)
    position = {label: code for code, label in enumerate(labels)}
    known = [position[label] for label in kept]
    codes = texts.replace_strict(kept, known, default=position.get(OTHER, 0), return_dtype=pl.Int64)
    if texts.null_count():
        codes = pl.select(pl.when(texts.is_null()).then(position[MISSING]).otherwise(codes)).to_series()
    return Grouped(texts.name, codes.to_numpy().astype(np.int64), tuple(labels))


def _by_part(series: pl.Series) -> Grouped | None:
    values = series.to_physical().cast(pl.Float64).fill_nan(None)
    present = values.drop_nulls()
    present = present.filter(present.is_finite())
    if present.is_empty():
        return None
    array = values.fill_null(float("nan")).to_numpy()
    common = float(np.quantile(present.to_numpy(), 0.5, method="lower"))  # what most rows hold is the median
    is_common = array == common
    if 2 * int(is_common.sum()) < len(present):
        codes, labels = _parts(array, present.to_numpy(), PARTS, series)
    else:  # most rows hold one value, such as 0: it is a group, and the others are divided
        others = present.filter(present != common)
        codes, labels = (
            _parts(array, others.to_numpy(), PARTS - 1, series) if len(others) else (np.zeros(len(array)), [])
        )
        codes = np.where(is_common, 0, codes.astype(np.int64) + 1)
        labels = [_shown(common, series), *(f"other, {label}" for label in labels)]
    is_missing = np.isnan(array)
    if is_missing.any():
        codes[is_missing] = len(labels)
        labels.append(MISSING)
    kept = np.flatnonzero(np.bincount(codes, minlength=len(labels)))
    place = np.zeros(len(labels), dtype=np.int64)
    place[kept] = np.arange(len(kept))
    return Grouped(series.name, place[codes], tuple(labels[code] for code in kept))


def _parts(array: Floats, known: Floats, parts: int, series: pl.Series) -> tuple[Ints, list[str]]:
    """Parts of equal mass of the values `known`."""
    edges = np.unique(np.quantile(known, np.linspace(0, 1, parts + 1)[1:-1], method="higher"))
    shown = [_shown(edge, series) for edge in edges]
    labels = [
        f"below {shown[0]}",
        *(f"{a} to {b}" for a, b in pairwise(shown)),
        f"from {shown[-1]}",
    ]
    return np.searchsorted(edges, array, side="right").astype(np.int64), labels


def _shown(edge: float, series: pl.Series) -> str:
    if series.dtype.is_temporal():
        return str(pl.Series([int(edge)]).cast(series.to_physical().dtype).cast(series.dtype)[0])
    return f"{edge:.6g}"
