"""Figures of a profile as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from perennial.data.profile.columns import ColumnProfile
from perennial.data.profile.sketches import Value

__all__ = ["figure", "megabytes", "of_value", "of_values", "percent"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000


def figure(value: float | None) -> str:
    """Four digits that matter, thousands apart.

    >>> figure(1234567), figure(0.00012345), figure(None), figure(2.5)
    ('1,234,567', '0.0001234', '–', '2.5')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.4g}"
    return f"{value:.4g}"


def percent(share: float) -> str:
    """A share in [0, 1]; what is little is not told as nothing, nor what is nearly all as all.

    >>> percent(0.1234), percent(0.00001), percent(0.99999), percent(1.0)
    ('12.3 %', '< 0.1 %', '> 99.9 %', '100 %')
    """
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.3g} %"


def megabytes(size: int) -> str:
    """Bytes as people read them.

    >>> megabytes(1_500_000), megabytes(2_000), megabytes(3 * 10**9)
    ('1.5 MB', '2 kB', '3 GB')
    """
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= least:
            return f"{size / least:.3g} {unit}"
    return f"{size} B"


def of_value(value: Value, column: ColumnProfile) -> str:
    """One value of a column."""
    if column.kind == "time":
        return of_values([float(value)], column)[0]
    if isinstance(value, bool):
        return "true" if value else "false"
    if column.kind == "flag":
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)  # a key or a year: no thousands
    return value if isinstance(value, str) else figure(value)


def of_values(values: Sequence[float], column: ColumnProfile) -> list[str]:
    """Values on one axis: of times, only as precise as tells them apart."""
    if column.kind != "time":
        return [figure(value) for value in values]
    if column.type == "date" or all(value % DAY_US == 0 for value in values):
        return [_moment(value)[:10] for value in values]
    span = max(values) - min(values)
    return [
        _moment(value)[: 10 if span > 30 * DAY_US else 16 if span > 60_000_000 or not span else 23] for value in values
    ]


def _moment(micros: float) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=micros)).replace(tzinfo=None).isoformat(" ", "milliseconds")
    except OverflowError:  # before the year 1 or after 9999
        return f"{micros / 86_400_000_000 / 365.2425 + 1970:.0f}"
