"""The outbox: notices that wait to be sent, what became of each, and who gives up when.

A notice is written in the transaction of what it tells. It is sent by another process, at least once: between sending
and writing that down the sender may die, and the next one sends it again under the same key, by which the receiver
knows it. After MAX_ATTEMPTS it is given up, as an event, and stays until a person asks for another try.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from perennial.errors import Conflict, NotFound
from perennial.monitor.incidents.incident import Incident
from perennial.monitor.incidents.notices import Message, Target
from perennial.monitor.records import incidents, notices
from perennial.store.decoding import ready
from perennial.store.records import Records, Transaction

__all__ = ["MAX_ATTEMPTS", "Notice", "Notices", "notice_of", "put"]

MAX_ATTEMPTS: Final = 18  # with the pauses of `delivery`, about eight hours
MAX_ERROR = 500  # characters of what went wrong that are kept

Delivery = Literal["waiting", "sent", "given up"]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something to tell one target: `number` counts from 1, `key` is the same at every attempt, `settled` when it was
    sent or given up."""

    number: int
    key: str
    incident: int
    severity: str
    target: Target
    message: Message
    state: Delivery
    attempts: int
    created: int
    settled: int | None
    error: str


class Notices:
    """The outbox of a workspace. Safe for concurrent use."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def list(
        self,
        *,
        state: Delivery | None = None,
        incident: int | None = None,
        unsettled: bool = False,
        newest: bool = False,
        limit: int = 100,
    ) -> list[Notice]:
        """Notices, oldest first.

        Args:
            state: Only in this state.
            incident: Only of this one.
            unsettled: Only of incidents that are not closed: what is over need not be told any more.
            newest: Newest first.
            limit: At most so many, 1 to 1000.
        """
        order = notices.c.number.desc() if newest else notices.c.number
        query = sa.select(notices).order_by(order).limit(max(1, min(limit, 1000)))
        if state is not None:
            query = query.where(notices.c.state == state)
        if incident is not None:
            query = query.where(notices.c.incident == incident)
        if unsettled:
            query = query.join(incidents, incidents.c.number == notices.c.incident).where(incidents.c.state != "closed")
        return self._records.read(lambda c: [notice_of(row) for row in c.execute(query).mappings()])

    def delivered(self, *, key: str) -> Notice:
        """It was sent.

        Raises:
            NotFound: There is no such notice.
        """

        def change(tx: Transaction) -> Notice:
            notice = _found(tx, key)
            if notice.state == "sent":
                return notice
            return _settle(tx, notice, state="sent", attempts=notice.attempts + 1, settled=tx.now, error="")

        return self._records.write(change)

    def failed(self, *, key: str, attempt: int, error: str) -> Notice:
        """Attempt number `attempt`, counted from 1, failed; the last one gives it up. Telling it again changes nothing.

        Raises:
            NotFound: There is no such notice.
        """

        def change(tx: Transaction) -> Notice:
            notice = _found(tx, key)
            if notice.state != "waiting" or attempt != notice.attempts + 1:
                return notice
            says = error[:MAX_ERROR]
            if attempt < MAX_ATTEMPTS:
                return _settle(tx, notice, state="waiting", attempts=attempt, settled=None, error=says)
            tx.event(
                "notice.given_up",
                f"incident/{notice.incident}",
                {"key": key, "target": notice.target, "attempts": attempt, "error": says},
            )
            return _settle(tx, notice, state="given up", attempts=attempt, settled=tx.now, error=says)

        return self._records.write(change)

    def retry(self, *, key: str) -> Notice:
        """Try a notice that was given up again, from the first attempt on.

        Raises:
            NotFound: There is no such notice.
            Conflict: It waits, or was sent.
        """

        def change(tx: Transaction) -> Notice:
            notice = _found(tx, key)
            if notice.state != "given up":
                raise Conflict(f"notice {key} was not given up: it is {notice.state}")
            tx.event("notice.retried", f"incident/{notice.incident}", {"key": key, "target": notice.target})
            return _settle(tx, notice, state="waiting", attempts=0, settled=None, error="")

        return self._records.write(change)


def put(tx: Transaction, incident: Incident, target: Target, message: Message) -> None:
    """Let a notice wait, within the transaction of what it tells."""
    number = (tx.connection.execute(sa.select(sa.func.max(notices.c.number))).scalar() or 0) + 1
    tx.connection.execute(
        sa.insert(notices).values(
            number=number,
            key=tx.new_id(),
            incident=incident.number,
            severity=incident.severity,
            target=target,
            message=msgspec.json.encode(message).decode(),
            state="waiting",
            attempts=0,
            created=tx.now,
            settled=None,
            error="",
        )
    )


def _found(tx: Transaction, key: str) -> Notice:
    row = tx.connection.execute(sa.select(notices).where(notices.c.key == key)).mappings().first()
    if row is None:
        raise NotFound(f"there is no notice {key!r}", remedy="perennial monitor notices lists them")
    return notice_of(row)


def _settle(
    tx: Transaction, notice: Notice, *, state: Delivery, attempts: int, settled: int | None, error: str
) -> Notice:
    values = {"state": state, "attempts": attempts, "settled": settled, "error": error}
    tx.connection.execute(sa.update(notices).where(notices.c.key == notice.key).values(values))
    return msgspec.structs.replace(notice, **values)


def notice_of(row: sa.RowMapping) -> Notice:
    """A row of the table as the value that it stands for."""
    values: dict[str, Any] = dict(row)
    values["message"] = msgspec.json.decode(row["message"], type=ready(Message))
    return Notice(**values)
