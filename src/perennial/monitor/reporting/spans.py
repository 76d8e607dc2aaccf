"""The parts of the current rows that a report shows side by side: days, weeks, months, or so many rows each.

A span with too few rows joins the one after it (the last joins the one before), so that no row is left out and nothing
is said of a handful of rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import Invalid
from perennial.monitor.windows import DAY

__all__ = ["MIN_ROWS", "Span", "spans"]

MIN_ROWS = 100  # where the chi-squared law of the shift test begins to hold
MOST = 60  # that a heat map can show
WANTED_ROWS = 500  # of a span that we choose ourselves
HOURLY = 3 * DAY  # microseconds: what lasts longer is not cut into hours unless somebody says so
_EVERY = {"hour": "1h", "day": "1d", "week": "1w", "month": "1mo"}


@dataclass(frozen=True, kw_only=True)
class Span:
    """Some of the current rows.

    Attributes:
        label: As a reader knows it: "2021-06", "rows 1 to 500".
        rows: Their numbers, shape (n,), ascending.
        start: First moment, microseconds; None where the rows have no times.
        end: Past the last moment.
    """

    label: str
    rows: NDArray[np.int64]
    start: int | None = None
    end: int | None = None


def spans(at: NDArray[np.int64] | None, rows: int, window: str | None) -> tuple[list[Span], str]:
    """The spans, oldest first, and the name of what each of them is.

    Args:
        at: Event times, microseconds, shape (n,); None where they are not known.
        rows: How many rows there are.
        window: "hour", "day", "week", "month" or "N rows". None: the shortest of these that gives most spans 500 rows;
            no spans where the rows have no times.

    Raises:
        Invalid: Not one of these, or the rows have no times.

    >>> found, name = spans(None, 250, "100 rows")
    >>> name, [(one.label, len(one.rows)) for one in found]
    ('100 rows', [('rows 1 to 100', 100), ('rows 101 to 250', 150)])
    """
    if window is not None and (found := re.fullmatch(r"\s*([\d_,]+)\s*(rows?)?\s*", window)) is not None:
        size = int(found[1].replace(",", "").replace("_", ""))
        if size < 1:
            raise Invalid("a window holds at least one row", remedy="name a larger one, such as 500rows")
        return _by_count(at, rows, size), f"{size:,} rows"
    if at is None:
        if window is None:
            return [], ""
        raise Invalid(
            f"windows of a {window} need times", remedy="name the column that holds them (--time), or say 500rows"
        )
    if window is None:
        window = _fitting(at)
    if window not in _EVERY:
        known = ", ".join(_EVERY)
        raise Invalid(f"there is no window {window!r}", remedy=f"use {known} or a number of rows, as 500rows")
    return _by_time(at, window), window


def _by_count(at: NDArray[np.int64] | None, rows: int, size: int) -> list[Span]:
    order = np.arange(rows, dtype=np.int64) if at is None else np.argsort(at, kind="stable").astype(np.int64)
    starts = list(range(0, rows, size))
    if len(starts) > 1 and rows - starts[-1] < min(size, MIN_ROWS):
        starts.pop()
    made: list[Span] = []
    for start, end in zip(starts, [*starts[1:], rows], strict=True):
        chosen = np.sort(order[start:end])
        first, last = (None, None) if at is None else (int(at[chosen].min()), int(at[chosen].max()) + 1)
        made.append(Span(label=f"rows {start + 1:,} to {end:,}", rows=chosen, start=first, end=last))
    return made


def _by_time(at: NDArray[np.int64], window: str) -> list[Span]:
    begins = _begins(at, window)
    groups = [(begin, np.flatnonzero(begins == begin)) for begin in np.unique(begins).tolist()]
    joined: list[tuple[int, NDArray[np.int64]]] = []
    waiting: tuple[int, NDArray[np.int64]] | None = None
    for begin, rows in groups:
        here = (begin, rows) if waiting is None else (waiting[0], np.concatenate([waiting[1], rows]))
        waiting = here if len(here[1]) < MIN_ROWS else None
        if waiting is None:
            joined.append(here)
    if waiting is not None:
        last = joined.pop() if joined else (waiting[0], np.zeros(0, dtype=np.int64))
        joined.append((last[0], np.concatenate([last[1], waiting[1]])))
    return [
        Span(label=_label(begin, window), rows=np.sort(rows), start=begin, end=int(at[rows].max()) + 1)
        for begin, rows in joined
    ]


def _fitting(at: NDArray[np.int64]) -> str:
    is_short = int(at.max()) - int(at.min()) <= HOURLY
    for window in _EVERY if is_short else [name for name in _EVERY if name != "hour"]:
        counts = np.unique(_begins(at, window), return_counts=True)[1]
        if float(np.median(counts)) >= WANTED_ROWS and len(counts) <= MOST:
            return window
    return "month"


def _begins(at: NDArray[np.int64], window: str) -> NDArray[np.int64]:
    """When the window of each row begins, microseconds."""
    times = pl.Series(at).cast(pl.Datetime("us"))
    return times.dt.truncate(_EVERY[window]).cast(pl.Int64()).to_numpy()


def _label(begin: int, window: str) -> str:
    text = str(pl.Series([begin]).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d %H:%M")[0])
    return text[:7] if window == "month" else text if window == "hour" else text[:10]
