"""Windows of event time with a least number of rows.

A window ends at a whole period (a day, say) after its start, the first at which it holds enough rows: a thin period
is merged forward, never dropped. The ends depend on the rows alone, not on when somebody looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DAY", "Window", "closed_windows"]

DAY = 86_400_000_000  # microseconds


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
