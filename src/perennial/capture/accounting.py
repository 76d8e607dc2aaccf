"""What became of every row that the prediction service gave an id to: received = stored + dropped + pending.

A writer ends its segments with what it gave out, stored and dropped; of one that was killed it is known how many ids
it had reserved, so the largest possible loss is known as well. It counts as dropped, and is told apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import msgspec
import sqlalchemy as sa

from perennial.capture.records import segments

__all__ = ["Accounts", "SegmentRow", "accounts_of", "segment_rows"]


class SegmentRow(msgspec.Struct, frozen=True, kw_only=True):
    """How far a segment was taken up, and what it says. See `records.segments`."""

    name: str
    end: int
    damaged: int
    first: str = ""
    opened: int = 0
    worker: int = 0
    state: str = "closed"
    cut_bytes: int = 0
    stored: int = 0
    reserved: int = 0
    issued: int | None = None
    closed_stored: int | None = None
    dropped: int | None = None
    deleted: int | None = None


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of all endpoints since the workspace began; received = stored + dropped + pending.

    Attributes:
        received: Rows that were given an id, or may have been.
        stored: Rows that were taken up.
        dropped: Rows that could not be written, and those that may have been lost.
        lost_at_most: The largest number of rows that may have been lost: of killed processes all ids that they may have
            given out and did not write, of others those whose frames were damaged afterwards.
        pending: Rows that were given an id and are not written yet, where a living process has told of them.
        damaged: Frames whose checksum was wrong.
        cut_bytes: Behind the last whole frame of killed processes.
        segments: How many segments there were, and `open` are written now, `cut` were cut off.
    """

    received: int
    stored: int
    dropped: int
    lost_at_most: int
    pending: int
    damaged: int
    cut_bytes: int
    segments: int
    open: int
    cut: int


def segment_rows(connection: sa.Connection) -> list[SegmentRow]:
    found = connection.execute(sa.select(segments).order_by(segments.c.first, segments.c.name)).mappings()
    return [SegmentRow(**row) for row in found]


def accounts_of(rows: Iterable[SegmentRow]) -> Accounts:
    """Sum up; `rows` are ordered by (first, name)."""
    every = list(rows)
    stored = sum(row.stored for row in every)
    dropped = lost = pending = 0
    for first, of_writer in groupby(every, key=lambda row: row.first):
        if first:
            one = _writer(list(of_writer))
            dropped, lost, pending = dropped + one[0], lost + one[1], pending + one[2]
    return Accounts(
        received=stored + dropped + lost + pending,
        stored=stored,
        dropped=dropped + lost,
        lost_at_most=lost,
        pending=pending,
        damaged=sum(row.damaged for row in every),
        cut_bytes=sum(row.cut_bytes for row in every),
        segments=len(every),
        open=sum(row.state == "open" for row in every),
        cut=sum(row.state == "cut" for row in every),
    )


def _writer(rows: list[SegmentRow]) -> tuple[int, int, int]:
    """Rows of one writer that were dropped, may be lost, and are pending."""
    issued = dropped = 0
    for row in rows:  # the end of a segment counts from the first one on; without it, what was reserved may be gone
        issued = issued + row.reserved if row.issued is None else row.issued
        dropped = dropped if row.dropped is None else row.dropped
    stored = sum(row.stored for row in rows)
    if any(row.state == "open" for row in rows):
        told = max((row.issued or 0 for row in rows), default=0)
        return dropped, 0, max(0, told - stored - dropped)
    return dropped, max(0, issued - stored - dropped), 0
