"""Two windows of a table as matrices of numbers that a classifier or a component analysis can work on.

What a column is compared by depends on its kind: numbers, truth values and durations by themselves; texts and
categories by name; moments by weekday and time of day, and by their place in time only where the windows overlap there,
because the clock alone would tell any two windows apart. Columns that cannot be compared are left out and named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["MAX_CATEGORIES", "Encoded", "encode", "is_number", "is_text", "numbers", "texts"]

Floats = NDArray[np.float64]

MAX_CATEGORIES = 200  # most frequent ones of both windows together; the classifier takes at most 255
MIN_OVERLAP = 0.5  # share of current moments within the range of the reference, for time to be compared as such
MIN_IDS = 30  # distinct whole numbers without a common range are counters from here on
DAY_S = 86_400


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Both windows with the same columns.

    Attributes:
        reference: shape (n, d), NaN where missing; categories as codes 0, 1, ...
        current: shape (m, d).
        sources: Column of the table that each column of the matrices comes from, length d.
        is_category: Which columns hold codes, length d.
        left_out: Columns that cannot be compared, with the reason.
    """

    reference: Floats
    current: Floats
    sources: tuple[str, ...]
    is_category: tuple[bool, ...]
    left_out: dict[str, str]


def encode(reference: pl.DataFrame, current: pl.DataFrame) -> Encoded:
    """Both windows as matrices.

    Args:
        reference: n rows.
        current: m rows; columns are matched by name.
    """
    left_out = {name: "only in the reference" for name in reference.columns if name not in current.columns}
    left_out |= {name: "only in the current window" for name in current.columns if name not in reference.columns}
    sources: list[str] = []
    categories: list[bool] = []
    before: list[Floats] = []
    after: list[Floats] = []
    for name in reference.columns:
        if name in left_out:
            continue
        reason = ""
        for pair in _columns(reference[name], current[name]):
            if isinstance(pair, str):
                reason = pair
                continue
            old, new, is_category = pair
            sources.append(name)
            categories.append(is_category)
            before.append(old)
            after.append(new)
        if reason:
            left_out[name] = reason
    empty = (np.empty((reference.height, 0)), np.empty((current.height, 0)))
    return Encoded(
        reference=np.column_stack(before) if before else empty[0],
        current=np.column_stack(after) if after else empty[1],
        sources=tuple(sources),
        is_category=tuple(categories),
        left_out=left_out,
    )


def is_number(series: pl.Series) -> bool:
    """Whether a column is compared by value: numbers, truth values, durations."""
    return series.dtype.is_numeric() or series.dtype == pl.Boolean or isinstance(series.dtype, pl.Duration)


def is_text(series: pl.Series) -> bool:
    """Whether a column is compared by name."""
    return series.dtype == pl.String or isinstance(series.dtype, pl.Enum | pl.Categorical)


def numbers(series: pl.Series) -> Floats:
    """Missing values as NaN; durations in seconds."""
    if series.dtype == pl.Duration:
        return series.dt.total_microseconds().cast(pl.Float64()).to_numpy() / 1e6
    return series.cast(pl.Float64()).to_numpy()


def texts(series: pl.Series) -> pl.Series:
    """Missing values stay missing."""
    return series.cast(pl.String())


Pair = tuple[Floats, Floats, bool] | str  # both sides and whether they hold codes; or why there is nothing


def _columns(old: pl.Series, new: pl.Series) -> Iterator[Pair]:
    """What two columns of one name are compared by."""
    if old.null_count() == len(old) and new.null_count() == len(new):
        yield "holds no value"
    elif is_number(old) and is_number(new):
        if _is_counter(old, new):
            yield "counts up: no value in common"
        else:
            yield *_bounded(numbers(old), numbers(new)), False
    elif is_text(old) and is_text(new):
        yield *_codes(texts(old), texts(new)), True
    elif isinstance(old.dtype, pl.Date | pl.Datetime) and isinstance(new.dtype, pl.Date | pl.Datetime):
        yield from _moments(old.cast(pl.Datetime("us")), new.cast(pl.Datetime("us")))
    elif old.dtype == pl.Time and new.dtype == pl.Time:
        yield old.to_physical().cast(pl.Float64()).to_numpy(), new.to_physical().cast(pl.Float64()).to_numpy(), False
    elif old.dtype == pl.Null or new.dtype == pl.Null:
        yield old.is_null().cast(pl.Float64()).to_numpy(), new.is_null().cast(pl.Float64()).to_numpy(), False
    elif old.dtype.base_type() != new.dtype.base_type():
        yield f"{old.dtype} in the reference, {new.dtype} now"
    else:
        yield f"{old.dtype} is not compared here"


def _is_counter(old: pl.Series, new: pl.Series) -> bool:
    """Whole numbers, each once, of which the two windows share no range: numbers of rows, orders, customers."""
    if not (old.dtype.is_integer() and new.dtype.is_integer()):
        return False
    a, b = old.drop_nulls(), new.drop_nulls()
    if min(len(a), len(b)) < MIN_IDS or a.n_unique() < len(a) or b.n_unique() < len(b):
        return False
    return numbers(a).max() < numbers(b).min() or numbers(b).max() < numbers(a).min()


def _bounded(old: Floats, new: Floats) -> tuple[Floats, Floats]:
    """Infinite values just beyond the largest finite ones: bins are made of differences."""
    both = np.concatenate([old, new])
    finite = both[np.isfinite(both)]
    if not np.isinf(both).any():
        return old, new
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    margin = max(high - low, 1.0)
    first, second = (np.where(np.isinf(side), np.clip(side, low - margin, high + margin), side) for side in (old, new))
    return first, second


def _codes(old: pl.Series, new: pl.Series) -> tuple[Floats, Floats]:
    """The most frequent categories of both windows together, then one for all others; missing as NaN."""
    counts = pl.concat([old, new]).drop_nulls().value_counts(sort=False)
    name = counts.columns[0]
    kept = counts.sort("count", name, descending=[True, False]).head(MAX_CATEGORIES)[name]
    place = pl.Series(range(len(kept)), dtype=pl.Float64)
    first, second = (
        side.replace_strict(kept, place, default=float(len(kept)), return_dtype=pl.Float64)
        .set(side.is_null(), None)
        .to_numpy()
        for side in (old, new)
    )
    return first, second


def _moments(old: pl.Series, new: pl.Series) -> Iterator[Pair]:
    sides = (old, new)
    seconds = [side.to_physical().cast(pl.Float64()).to_numpy() / 1e6 for side in sides]
    weekday, of_day = ([part(side) for side in sides] for part in (_weekday, _of_day))
    yield weekday[0], weekday[1], True
    if any(np.nanmax(part, initial=0.0) > 0.0 for part in of_day):
        yield of_day[0], of_day[1], False
    present = [side[~np.isnan(side)] for side in seconds]
    if min(len(side) for side in present) and _overlap(*present) >= MIN_OVERLAP:
        yield seconds[0], seconds[1], False


def _weekday(side: pl.Series) -> Floats:
    return (side.dt.weekday() - 1).cast(pl.Float64()).to_numpy()


def _of_day(side: pl.Series) -> Floats:
    return (side.to_physical().cast(pl.Float64()).to_numpy() / 1e6) % DAY_S


def _overlap(old: Floats, new: Floats) -> float:
    return float(np.mean((new >= old.min()) & (new <= old.max())))
