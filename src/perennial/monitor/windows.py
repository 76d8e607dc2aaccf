"""Windows of event time with a least number of rows.

A window ends at a whole period (a day, say) after its start, the first at which it holds enough rows: a thin period
is merged forward, never dropped. The ends depend on the rows alone, not on when somebody looks.

Rows and labels that come late change the windows that they belong to, never where a window ends that was closed before:
those windows are counted again (`revised_windows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CELLS",
    "DAY",
    "HOUR",
    "WEEK",
    "Window",
    "calendar_cells",
    "closed_windows",
    "periods",
    "revised_windows",
    "season_of",
]

HOUR = 3_600_000_000  # microseconds
DAY = 24 * HOUR
WEEK = 7 * DAY
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0
SEASONS, WEEKDAYS, HOURS = 4, 7, 24
CELLS = SEASONS * WEEKDAYS * HOURS
Period = Literal["hour", "day", "week", "month"]


@dataclass(frozen=True)
class Window:
    """Event times in [start, end), microseconds."""

    start: int
    end: int


def closed_windows(at: NDArray[np.int64], start: int, before: int, *, min_rows: int, period: int = DAY) -> list[Window]:
    """The windows that are complete before a moment.

    Args:
        at: Event times, sorted, shape (n,), microseconds.
        start: Where the first window begins.
        before: Only windows that end at or before this moment.
        min_rows: Rows each window must hold.
        period: Ends lie at `start` plus whole periods, microseconds.

    >>> closed_windows(np.array([1, 2, 15, 16, 17]), 0, 100, min_rows=2, period=10)
    [Window(start=0, end=10), Window(start=10, end=20)]
    """
    found: list[Window] = []
    while True:
        first = int(np.searchsorted(at, start))
        last = first + min_rows - 1
        if last >= len(at):
            return found
        end = start + ((int(at[last]) - start) // period + 1) * period
        if end > before:
            return found
        found.append(Window(start, end))
        start = end


def periods(at: NDArray[np.int64], period: Period, before: int, *, min_rows: int = 1) -> list[Window]:
    """Windows of whole hours, days, weeks (from Monday) or months of the calendar, UTC; thin ones merged forward.

    Args:
        at: Event times, sorted, shape (n,), microseconds.
        period: Least length; a window begins and ends where one does.
        before: Only windows that end at or before this moment.
        min_rows: Rows each window must hold.

    >>> [w.end - w.start for w in periods(np.array([0, DAY, 40 * DAY]), "month", 60 * DAY)] == [31 * DAY, 28 * DAY]
    True
    """
    if not len(at):
        return []
    edges = _edges(int(at[0]), max(int(at[-1]), before), period)
    held = np.searchsorted(at, edges)
    found: list[Window] = []
    start = 0
    for index in range(1, len(edges)):
        if edges[index] > before:
            break
        if held[index] - held[start] >= min_rows:
            found.append(Window(int(edges[start]), int(edges[index])))
            start = index
    return found


def revised_windows(closed: Sequence[Window], late: NDArray[np.int64]) -> list[Window]:
    """Of windows closed before, those to count again because rows or labels of these event times have come since.

    >>> revised_windows([Window(0, 10), Window(10, 20), Window(20, 30)], np.array([12, 19, 31]))
    [Window(start=10, end=20)]
    """
    times = np.sort(late)
    return [one for one in closed if np.searchsorted(times, one.end) > np.searchsorted(times, one.start)]


def calendar_cells(at: NDArray[np.int64]) -> NDArray[np.int64]:
    """The cell of each event time: season (0 for December to February), weekday (0 for Monday), hour; UTC.

    The number is (season * 7 + weekday) * 24 + hour, in [0, 672).

    >>> calendar_cells(np.array([0])).tolist() == [(0 * 7 + 3) * 24]
    True
    """
    hours = at // HOUR
    weekday = (at // DAY + EPOCH_WEEKDAY) % WEEKDAYS
    return (season_of(at) * WEEKDAYS + weekday) * HOURS + hours % HOURS


def season_of(at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Meteorological season of the northern year: 0 for December to February, 1 for March to May, and so on."""
    months = at.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12  # 0 for January
    return (months + 1) % 12 // 3


def _edges(first: int, last: int, period: Period) -> NDArray[np.int64]:
    if period == "month":
        begin = np.datetime64(first, "us").astype("datetime64[M]")
        end = np.datetime64(last, "us").astype("datetime64[M]") + 2
        return np.arange(begin, end).astype("datetime64[us]").astype(np.int64)
    length = {"hour": HOUR, "day": DAY, "week": WEEK}[period]
    offset = (WEEKDAYS - EPOCH_WEEKDAY) * DAY if period == "week" else 0  # Monday, 5 January 1970
    begin = (first - offset) // length * length + offset
    return np.arange(begin, last + 2 * length, length, dtype=np.int64)
