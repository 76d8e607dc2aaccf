"""Metrics read back: in pages, as an outline for a picture, or thinned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec

from perennial.errors import Invalid
from perennial.tracking.points import Point, evenly, history, picture
from perennial.tracking.run import spelled
from perennial.tracking.search.conditions import page_token as token_of
from perennial.tracking.search.conditions import read_token

if TYPE_CHECKING:
    import sqlalchemy as sa

    from perennial.store.records import Records
    from perennial.tracking.chunks import Columns

__all__ = ["HistoryPage", "Outline", "outline", "page", "thinned"]

MAX_PAGE = 50_000  # points in one answer
MAX_OUTLINE = 10_000
INT64 = 2**63


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Points of one metric by time, step and value, as columns of one length. `at` is microseconds."""

    key: str
    at: list[int]
    step: list[int]
    value: list[float | Literal["NaN", "Infinity", "-Infinity"]]
    next_page_token: str | None


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """The outline of a metric, thin enough to draw: its lowest and highest values by step, without NaN."""

    key: str
    step: list[int]
    value: list[float | Literal["NaN", "Infinity", "-Infinity"]]


def page(records: Records, run_id: str, key: str, *, limit: int, page_token: str) -> HistoryPage:
    """Points by time, step and value, after those that the token tells of."""
    if not 0 < limit <= MAX_PAGE:
        raise Invalid(f"Invalid value {limit} for parameter 'max_results' supplied: it must be 1 to {MAX_PAGE}")
    after = Point(*_numbers(read_token(page_token, tuple[int, int, float | str]))) if page_token else None

    def query(connection: sa.Connection) -> HistoryPage:
        found = history(connection, run_id, key, limit=limit, after=after)
        return _told(key, found.points, found.after)

    return records.read(query)


def outline(records: Records, run_id: str, key: str, *, points: int) -> Outline:
    """The lowest and highest value in each of `points / 2` ranges of steps."""
    if not 2 <= points <= MAX_OUTLINE:
        raise Invalid(f"an outline has 2 to {MAX_OUTLINE} points, not {points}")

    def query(connection: sa.Connection) -> Outline:
        thin = picture(connection, run_id, key, points=points)
        return Outline(key=key, step=thin.step.tolist(), value=[spelled(value) for value in thin.value.tolist()])

    return records.read(query)


def thinned(
    records: Records, run_id: str, key: str, *, points: int, first_step: int | None, last_step: int | None
) -> HistoryPage:
    """`points` evenly chosen ones between two steps."""
    if not 1 <= points <= MAX_OUTLINE:
        raise Invalid(f"1 to {MAX_OUTLINE} points can be asked for, not {points}")
    first = -INT64 if first_step is None else first_step
    last = INT64 - 1 if last_step is None else last_step
    return records.read(lambda connection: _told(key, evenly(connection, run_id, key, first, last, points), None))


def _told(key: str, points: Columns, after: Point | None) -> HistoryPage:
    values = points.value.tolist()
    return HistoryPage(
        key=key,
        at=points.at.tolist(),
        step=points.step.tolist(),
        value=values if all(map(math.isfinite, values)) else [spelled(value) for value in values],
        next_page_token=None if after is None else _token(after),
    )


def _token(after: Point) -> str:
    return token_of((after.at, after.step, spelled(after.value)))


def _numbers(found: tuple[int, int, float | str]) -> tuple[int, int, float]:
    try:
        at, step, value = found[0], found[1], float(found[2])
        if not (-INT64 <= at < INT64 and -INT64 <= step < INT64):
            raise ValueError("out of range")
    except ValueError as error:
        raise Invalid("Invalid page token", where="page_token") from error
    return at, step, value
