"""The spine: one row for each state change, in the transaction that makes it, chained by hashes.

`Transaction.event` collects; `append_events` writes the rows of a whole group last, under the lock of the chain's head
row, so that numbers have no gaps whoever commits first. The hash covers the previous hash and the exact stored bytes:
an edited, deleted, inserted or moved row shows in `Events.verify`, a cut tail against a head noted elsewhere.
Payloads hold ids, digests and numbers, never personal data; points of metrics and predictions are not events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from blake3 import blake3

from perennial.store.tables import metadata
from perennial.types import canonical_json

if TYPE_CHECKING:
    from perennial.store.records import Records

__all__ = ["Event", "Events", "NewEvent", "append_events", "events", "events_head"]

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False, index=True),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("prev", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
events_head = sa.Table(
    "events_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

_FIRST = "0" * 64  # what the first event is chained to


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A state change. `seq` counts from 1 without gaps; `at` is the workspace's clock."""

    seq: int
    at: int
    kind: str
    subject: str
    actor: str
    payload: dict[str, Any]
    hash: str


@dataclass(frozen=True)
class NewEvent:
    """An event that has no place in the chain yet."""

    at: int
    kind: str
    subject: str
    actor: str
    payload: bytes


def append_events(connection: sa.Connection, new: Sequence[NewEvent]) -> None:
    """Chain these to the end. The last thing a transaction does: it locks the head row until the commit."""
    head = connection.execute(sa.select(events_head.c.seq, events_head.c.hash).with_for_update()).one_or_none()
    seq, last = (0, _FIRST) if head is None else (head.seq, head.hash)
    rows: list[dict[str, Any]] = []
    for event in new:
        seq += 1
        digest = _hash(last, seq, event.at, event.kind, event.subject, event.actor, event.payload)
        rows.append({"seq": seq, "prev": last, "hash": digest, **vars(event)})
        last = digest
    connection.execute(sa.insert(events), rows)
    if head is None:
        connection.execute(sa.insert(events_head).values(id=1, seq=seq, hash=last))
    else:
        connection.execute(sa.update(events_head).values(seq=seq, hash=last))


class Events:
    """The time line and audit trail of a workspace, to read."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def list(
        self, *, after: int = 0, limit: int = 1000, subject: str | None = None, kind: str | None = None
    ) -> list[Event]:
        """Events with a number above `after`, oldest first."""
        query = sa.select(events).where(events.c.seq > after).order_by(events.c.seq).limit(limit)
        if subject is not None:
            query = query.where(events.c.subject == subject)
        if kind is not None:
            query = query.where(events.c.kind == kind)
        rows = self._records.read(lambda connection: connection.execute(query).all())
        return [
            Event(
                seq=row.seq,
                at=row.at,
                kind=row.kind,
                subject=row.subject,
                actor=row.actor,
                payload=msgspec.json.decode(row.payload),
                hash=row.hash,
            )
            for row in rows
        ]

    def head(self) -> int:
        """The number of the last event, 0 when there is none."""
        return self._records.read(lambda connection: connection.execute(sa.select(events_head.c.seq)).scalar() or 0)

    def verify(self) -> list[str]:
        """What is wrong with the chain, one sentence each; empty when every row is as it was written."""
        return self._records.read(_verify)


def _verify(connection: sa.Connection) -> list[str]:
    problems: list[str] = []
    seq, last = 0, _FIRST
    for row in connection.execution_options(yield_per=10_000).execute(sa.select(events).order_by(events.c.seq)):
        if row.seq != seq + 1:
            problems.append(f"events {seq + 1} to {row.seq - 1} are missing")
        elif row.prev != last:
            problems.append(f"event {row.seq} does not follow event {seq}")
        if row.hash != _hash(row.prev, row.seq, row.at, row.kind, row.subject, row.actor, row.payload):
            problems.append(f"event {row.seq} was changed after it was written")
        seq, last = row.seq, row.hash
    head = connection.execute(sa.select(events_head.c.seq, events_head.c.hash)).one_or_none()
    told = (0, _FIRST) if head is None else (head.seq, head.hash)
    if told != (seq, last):
        problems.append(f"the chain ends at event {seq}, its head says {told[0]}: the tail was cut or added")
    return problems


def _hash(prev: str, seq: int, at: int, kind: str, subject: str, actor: str, payload: bytes) -> str:
    # The head part is JSON on one line, so no two different rows give the same bytes.
    return blake3(canonical_json([prev, seq, at, kind, subject, actor]) + b"\n" + payload).hexdigest()
