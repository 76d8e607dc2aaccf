"""Maintenance windows: spans of event time in which nobody is told and nothing is retrained; recording goes on.

A finding is muted when the window of time that it is about ends in a maintenance window, or lies in one by half or
more; when it was looked at does not matter, so that a late look, or a clock that jumps, mutes nothing else.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from perennial.clock import iso
from perennial.errors import Conflict, Invalid, NotFound
from perennial.monitor.records import maintenance
from perennial.store.actor import current_actor
from perennial.store.records import Records, Transaction
from perennial.types import Micros

__all__ = ["Maintenance", "MaintenanceWindow", "covering", "muting"]

HALF = 0.5
MAX_TEXT = 2000  # characters of a reason or comment


class MaintenanceWindow(msgspec.Struct, frozen=True, kw_only=True):
    """Event times in [since, until), microseconds, of one endpoint or (empty) of all; no `until`: not ended yet."""

    number: int
    endpoint: str
    since: int
    until: int | None
    reason: str
    by: str
    at: int
    ended_by: str | None

    @property
    def says(self) -> str:
        """Until when, and why."""
        end = "until it is ended" if self.until is None else f"until {iso(Micros(self.until))}"
        return f"maintenance {self.number} {end}: {self.reason}"


class Maintenance:
    """Maintenance windows. Safe for concurrent use."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def list(self, *, endpoint: str | None = None, active: bool = False) -> list[MaintenanceWindow]:
        """Windows, newest first: all, or those that hold for this endpoint, or only those that hold now."""
        query = sa.select(maintenance).order_by(maintenance.c.number.desc())
        if endpoint is not None:
            query = query.where(maintenance.c.endpoint.in_(("", endpoint)))
        if active:
            now = self._records.clock.now()
            query = query.where(
                maintenance.c.since <= now, sa.or_(maintenance.c.until.is_(None), maintenance.c.until > now)
            )
        return self._records.read(lambda c: [_window(row) for row in c.execute(query).mappings()])

    def start(
        self, *, reason: str, endpoint: str = "", since: int | None = None, until: int | None = None
    ) -> MaintenanceWindow:
        """Begin a window, in the name of the acting person.

        Args:
            reason: Why; shown wherever something is muted by it.
            endpoint: Of which it holds; empty: of all.
            since: Event time, microseconds; now when left out. What was told or decided before stays.
            until: Event time; None: until somebody ends it.

        Raises:
            Invalid: There is no reason, or it ends before it begins.
        """
        if not reason.strip() or len(reason) > MAX_TEXT:
            raise Invalid(
                f"a maintenance window needs a reason of at most {MAX_TEXT} characters",
                where="reason",
                remedy='perennial monitor maintenance start ENDPOINT --reason "..."',
            )

        def change(tx: Transaction) -> MaintenanceWindow:
            begins = tx.now if since is None else since
            if until is not None and until <= begins:
                raise Invalid(
                    f"it would end at {iso(Micros(until))}, before it begins at {iso(Micros(begins))}", where="until"
                )
            number = (tx.connection.execute(sa.select(sa.func.max(maintenance.c.number))).scalar() or 0) + 1
            made = MaintenanceWindow(
                number=number, endpoint=endpoint, since=begins, until=until, reason=reason.strip(),
                by=current_actor().person, at=tx.now, ended_by=None,
            )  # fmt: skip
            tx.connection.execute(sa.insert(maintenance).values(msgspec.structs.asdict(made)))
            told = {"number": number, "since": begins, "until": until, "reason": made.reason}
            tx.event("maintenance.started", _subject(endpoint), told)
            return made

        return self._records.write(change)

    def end(self, *, number: int) -> MaintenanceWindow:
        """End a window now, in the name of the acting person.

        Raises:
            NotFound: There is no such window.
            Conflict: It has ended already.
        """

        def change(tx: Transaction) -> MaintenanceWindow:
            row = tx.connection.execute(sa.select(maintenance).where(maintenance.c.number == number)).mappings().first()
            if row is None:
                raise NotFound(f"there is no maintenance window {number}", remedy="perennial monitor maintenance list")
            window = _window(row)
            if window.until is not None and window.until <= tx.now:
                raise Conflict(f"maintenance window {number} ended at {iso(Micros(window.until))}")
            ended = msgspec.structs.replace(window, until=max(tx.now, window.since), ended_by=current_actor().person)
            tx.connection.execute(
                sa.update(maintenance)
                .where(maintenance.c.number == number)
                .values(until=ended.until, ended_by=ended.ended_by)
            )
            tx.event("maintenance.ended", _subject(ended.endpoint), {"number": number, "until": ended.until})
            return ended

        return self._records.write(change)


def covering(windows: list[MaintenanceWindow], endpoint: str, moment: int) -> MaintenanceWindow | None:
    """The window that holds for an endpoint at a moment."""
    return next(
        (
            window
            for window in windows
            if window.endpoint in ("", endpoint)
            and window.since <= moment
            and (window.until is None or moment < window.until)
        ),
        None,
    )


def muting(connection: sa.Connection, endpoint: str, start: int, end: int) -> int | None:
    """The number of the maintenance window that mutes what is found about event times in [start, end), if any."""
    last = max(start, end - 1)
    query = (
        sa.select(maintenance)
        .where(
            maintenance.c.endpoint.in_(("", endpoint)),
            maintenance.c.since <= last,
            sa.or_(maintenance.c.until.is_(None), maintenance.c.until > start),
        )
        .order_by(maintenance.c.number)
    )
    for row in connection.execute(query).mappings():
        window = _window(row)
        until = end if window.until is None else min(window.until, end)
        inside = until - max(window.since, start)
        if covering([window], endpoint, last) is not None or inside >= HALF * (end - start) > 0:
            return window.number
    return None


def _window(row: sa.RowMapping) -> MaintenanceWindow:
    return MaintenanceWindow(**dict(row))


def _subject(endpoint: str) -> str:
    return f"endpoint/{endpoint}" if endpoint else "workspace"
