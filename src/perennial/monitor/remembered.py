"""Windows that were looked at, as they are remembered: what their rows add up to, what was estimated, what came true.

Later windows are compared with them: those of the same weekday say what is usual on it. What was estimated of a window
while it had no labels stays beside what it came to, which is the record by which an estimator is chosen.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from perennial.monitor.records import watched_windows
from perennial.store.records import Transaction
from perennial.types import canonical_json

__all__ = ["KEPT", "NewWindow", "WatchedWindow", "remember", "remembered"]

KEPT = 800  # windows of a version: two years of days, so that a season finds the one before


class NewWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the window [start, end) by now; what was known of it before and is not said here stays.

    Attributes:
        start: Microseconds.
        end: Microseconds.
        rows: Rows that the version answered in it.
        profile: Digest of a stored `WindowProfile`.
        alarms: Kinds of findings beyond information; they add up.
        estimates: What was estimated without labels: metric, method, value, low, high.
        entries: Entries of the track record (`estimating.track_record.Entry`), once the labels have come.
    """

    start: int
    end: int
    rows: int
    profile: str | None = None
    alarms: list[str] = []
    estimates: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []


class WatchedWindow(NewWindow, frozen=True, kw_only=True):
    """A window as it is remembered, of one version of an endpoint."""

    endpoint: str
    version: int


def remember(tx: Transaction, endpoint: str, version: int, window: NewWindow) -> None:
    """Write a window down, or what is new about it. Of a version the newest 800 are kept."""
    mine = (watched_windows.c.endpoint == endpoint) & (watched_windows.c.version == version)
    where = mine & (watched_windows.c.start == window.start)
    row = tx.connection.execute(sa.select(watched_windows).where(where)).mappings().first()
    before = None if row is None else _window(row)
    known = window if before is None else _both(before, window)
    values: dict[str, Any] = {"endpoint": endpoint, "version": version, "start": known.start, "end": known.end}
    values |= {"rows": known.rows, "profile": known.profile}
    values |= {name: canonical_json(getattr(known, name)).decode() for name in ("alarms", "estimates", "entries")}
    tx.connection.execute(sa.delete(watched_windows).where(where))
    tx.connection.execute(sa.insert(watched_windows).values(**values))
    newest = sa.select(watched_windows.c.start).where(mine).order_by(watched_windows.c.start.desc())
    oldest = tx.connection.execute(newest.offset(KEPT - 1).limit(1)).scalar_one_or_none()
    if oldest is not None:
        tx.connection.execute(sa.delete(watched_windows).where(mine & (watched_windows.c.start < oldest)))


def remembered(connection: sa.Connection, endpoint: str, version: int, before: int | None) -> list[WatchedWindow]:
    """Windows of a version, those that end at or before a moment, oldest first."""
    query = sa.select(watched_windows).where(
        watched_windows.c.endpoint == endpoint, watched_windows.c.version == version
    )
    if before is not None:
        query = query.where(watched_windows.c.end <= before)
    return [_window(row) for row in connection.execute(query.order_by(watched_windows.c.start)).mappings()]


def _both(before: NewWindow, now: NewWindow) -> NewWindow:
    return NewWindow(
        start=now.start,
        end=now.end,
        rows=now.rows,
        profile=now.profile or before.profile,
        alarms=list(dict.fromkeys([*before.alarms, *now.alarms])),
        estimates=now.estimates or before.estimates,
        entries=now.entries or before.entries,
    )


def _window(row: sa.RowMapping) -> WatchedWindow:
    values: dict[str, Any] = dict(row)
    values |= {name: msgspec.json.decode(values[name]) for name in ("alarms", "estimates", "entries")}
    return WatchedWindow(**values)
