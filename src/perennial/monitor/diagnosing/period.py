"""When did it begin: the stretch of event time in which the rows show what the verdict is about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from perennial.stats.change_span import change_span
from perennial.stats.results import Json

__all__ = ["Period", "period_of"]

Floats = NDArray[np.float64]
MIN_ROWS = 50


@dataclass(frozen=True, kw_only=True)
class Period:
    """Event times in microseconds, [start, end].

    Attributes:
        start: Of the first row that shows it.
        end: Of the last one.
        rows: From the first to the last.
        is_whole: No part of the window stands out: it is all of it.
        p_value: That rows in any order stand out as much.
    """

    start: int
    end: int
    rows: int
    is_whole: bool
    p_value: float

    @property
    def says(self) -> str:
        """A sentence."""
        if self.is_whole:
            return f"all of the window, {_shown(self.start)} to {_shown(self.end)}"
        return f"{_shown(self.start)} to {_shown(self.end)} ({self.rows} rows)"

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "start": self.start,
            "end": self.end,
            "rows": self.rows,
            "is_whole": self.is_whole,
            "p_value": self.p_value,
        }


def period_of(at: NDArray[np.int64] | None, signs: Floats, usual: float, *, seed: int = 0) -> Period | None:
    """When rows show signs that they usually do not.

    Args:
        at: Event time of each row, microseconds, shape (m,); None: not known, then there is no answer.
        signs: A number for each row that is higher (or lower) where it shows the change, such as its loss; NaN where
            it is not known.
        usual: Their mean on the reference.
        seed: Of the test.
    """
    if at is None:
        return None
    known = np.flatnonzero(np.isfinite(signs))
    if len(known) < MIN_ROWS:
        return None
    order = known[np.argsort(at[known], kind="stable")]
    span = change_span(signs[order], usual, seed=seed)
    first, last = int(at[order[span.start]]), int(at[order[span.stop - 1]])
    whole = span.stop - span.start == len(order)
    return Period(start=first, end=last, rows=span.stop - span.start, is_whole=whole, p_value=span.p_value)


def _shown(moment: int) -> str:
    return datetime.fromtimestamp(math.floor(moment / 1e6), tz=UTC).strftime("%Y-%m-%d %H:%M")
