"""The service `incidents`: what is wrong now, who looks after it, what it turned out to be, and what was no alarm.

What a person does is recorded with their name, as an event as well. An incident moves forwards only: open,
acknowledged, explained, closed; what is found after it was closed is another incident.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from perennial.errors import Conflict, Invalid, NotFound
from perennial.monitor.incidents.grouping import close_by_itself
from perennial.monitor.incidents.incident import Cause, Group, Incident, State, incident_of
from perennial.monitor.incidents.maintenance import MAX_TEXT
from perennial.monitor.incidents.notices import DAY_US
from perennial.monitor.incidents.outbox import Notice, notice_of
from perennial.monitor.records import findings, incident_findings, incidents, notices
from perennial.monitor.watching.budget import Budget
from perennial.store.actor import current_actor
from perennial.store.events import Event, Events
from perennial.store.records import Records, Transaction

__all__ = ["Feedback", "FindingLine", "IncidentStory", "Incidents"]

SHOWN = 200  # findings of one incident that are listed; the newest


class FindingLine(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of an incident; `perennial monitor` shows its evidence in the page of the endpoint."""

    key: str
    at: int
    kind: str
    severity: str
    window_from: int
    window_to: int
    says: str
    muted: int | None


class IncidentStory(msgspec.Struct, frozen=True, kw_only=True):
    """An incident with its newest findings, all that happened to it, and whom it was told."""

    incident: Incident
    findings: list[FindingLine]
    events: list[Event]
    notices: list[Notice]


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What the alarms of one endpoint were worth, held against what its monitors promised.

    Attributes:
        days: The span that is counted: incidents opened in it.
        incidents: Of these days, muted ones left out.
        false_alarms: Those of them that a person called one.
        promised: At most so many false alarms in these days.
        says: As a sentence.
    """

    endpoint: str
    days: float
    incidents: int
    false_alarms: int
    promised: float
    says: str


class Incidents:
    """Incidents of a workspace. Safe for concurrent use; of two who decide one is told what the other did."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._events = Events(records)

    def get(self, *, number: int) -> IncidentStory:
        """One incident with everything about it.

        Raises:
            NotFound: There is no such incident.
        """
        key = (findings.c.endpoint == incident_findings.c.endpoint) & (findings.c.key == incident_findings.c.key)
        columns = [findings.c[name] for name in FindingLine.__struct_fields__]
        query = (
            sa.select(*columns)
            .join(incident_findings, key)
            .where(incident_findings.c.incident == number)
            .order_by(findings.c.window_to.desc(), findings.c.key)
            .limit(SHOWN)
        )
        told = sa.select(notices).where(notices.c.incident == number).order_by(notices.c.number)

        def read(connection: sa.Connection) -> IncidentStory:
            return IncidentStory(
                incident=_found(connection, number),
                findings=[FindingLine(**dict(row)) for row in connection.execute(query).mappings()],
                events=[],
                notices=[notice_of(row) for row in connection.execute(told).mappings()],
            )

        story = self._records.read(read)
        return msgspec.structs.replace(story, events=self._events.list(subject=f"incident/{number}"))

    def acknowledge(self, *, number: int, comment: str = "") -> Incident:
        """Say that the acting person looks after it.

        Raises:
            NotFound: There is no such incident.
            Conflict: Somebody else does already, or it is explained or closed.
        """

        def change(tx: Transaction, incident: Incident, who: str) -> Incident:
            if incident.state == "acknowledged" and incident.acknowledged_by == who:
                return incident
            _check(incident, "open")
            values = {"state": "acknowledged", "acknowledged_at": tx.now, "acknowledged_by": who}
            return _decided(tx, incident, "acknowledged", values, {"comment": comment})

        return self._change(number, comment, change)

    def explain(self, *, number: int, comment: str, cause: Cause = "other") -> Incident:
        """Say what is behind it; what is found further of the same severity joins it and is not told.

        Args:
            number: Of the incident.
            comment: What it is.
            cause: Of which kind, in the words of the diagnosis.

        Raises:
            NotFound: There is no such incident.
            Invalid: Nothing is said.
            Conflict: It is closed.
        """
        _say_something(comment, f'perennial monitor explain {number} --comment "..."')

        def change(tx: Transaction, incident: Incident, who: str) -> Incident:
            _check(incident, "open", "acknowledged", "explained")
            values = {
                "state": "explained",
                "explained_at": tx.now,
                "explained_by": who,
                "cause": cause,
                "explanation": comment.strip(),
            }
            return _decided(tx, incident, "explained", values, {"cause": cause, "comment": comment.strip()})

        return self._change(number, comment, change)

    def close(self, *, number: int, comment: str) -> Incident:
        """Say that it is over; what is found from now on is another incident.

        Raises:
            NotFound: There is no such incident.
            Invalid: There is no comment: whoever meets the like again must know how it ended.
            Conflict: It is closed already.
        """
        _say_something(comment, f'perennial monitor close {number} --comment "..."')

        def change(tx: Transaction, incident: Incident, who: str) -> Incident:
            _check(incident, "open", "acknowledged", "explained")
            values = {"state": "closed", "closed_at": tx.now, "closed_by": who, "comment": comment.strip()}
            return _decided(tx, incident, "closed", values, {"by_itself": False, "comment": comment.strip()})

        return self._change(number, comment, change)

    def false_alarm(self, *, number: int, comment: str) -> Incident:
        """Say that nothing was wrong: counted against what the monitors promised; closes it if it is not closed.

        Raises:
            NotFound: There is no such incident.
            Invalid: There is no comment.
            Conflict: Somebody said so already.
        """
        _say_something(comment, f'perennial monitor false-alarm {number} --comment "..."')

        def change(tx: Transaction, incident: Incident, who: str) -> Incident:
            if incident.false_alarm_by is not None:
                raise Conflict(f"incident {number} was called a false alarm by {incident.false_alarm_by} already")
            said = comment.strip()
            values: dict[str, Any] = {
                "false_alarm_at": tx.now, "false_alarm_by": who, "false_alarm_comment": said,
            }  # fmt: skip
            if incident.state != "closed":
                values |= {"state": "closed", "closed_at": tx.now, "closed_by": who, "comment": f"false alarm: {said}"}
            return _decided(tx, incident, "false_alarm", values, {"comment": said})

        return self._change(number, comment, change)

    def close_quiet(self) -> int:
        """Close what is over: nothing was found for the quiet period of the incident. How many were closed."""
        # What was found about the past a moment ago is not over yet: both times count.
        last = sa.case((incidents.c.until > incidents.c.last_at, incidents.c.until), else_=incidents.c.last_at)

        def due(connection: sa.Connection, now: int) -> list[Incident]:
            query = (
                sa.select(incidents)
                .where(incidents.c.state != "closed", last + incidents.c.quiet_us <= now)
                .order_by(incidents.c.number)
            )
            return [incident_of(row) for row in connection.execute(query).mappings()]

        if not self._records.read(lambda connection: due(connection, self._records.clock.now())):
            return 0

        def change(tx: Transaction) -> int:
            return len([close_by_itself(tx, incident) for incident in due(tx.connection, tx.now)])

        return self._records.write(change)

    def feedback(self, *, endpoint: str | None = None) -> list[Feedback]:
        """False alarms beside what was promised, of each endpoint that has had an incident, or of one."""
        query = sa.select(incidents).order_by(incidents.c.endpoint, incidents.c.number)
        if endpoint is not None:
            query = query.where(incidents.c.endpoint == endpoint)
        found = self._records.read(lambda c: [incident_of(row) for row in c.execute(query).mappings()])
        by_endpoint: dict[str, list[Incident]] = {}
        for incident in found:
            by_endpoint.setdefault(incident.endpoint, []).append(incident)
        now = self._records.clock.now()
        return [_feedback(name, of_one, now) for name, of_one in by_endpoint.items()]

    def list(
        self,
        *,
        endpoint: str | None = None,
        state: State | None = None,
        group: Group | None = None,
        unsettled: bool = False,
        limit: int = 100,
    ) -> list[Incident]:
        """Incidents, newest first.

        Args:
            endpoint: Only of this one.
            state: Only in this state.
            group: Only of this group.
            unsettled: Only those that are not closed.
            limit: At most so many, 1 to 1000.
        """
        query = sa.select(incidents).order_by(incidents.c.number.desc()).limit(max(1, min(limit, 1000)))
        for column, value in ((incidents.c.endpoint, endpoint), (incidents.c.state, state)):
            query = query if value is None else query.where(column == value)
        query = query if group is None else query.where(incidents.c.kind_group == group)
        query = query.where(incidents.c.state != "closed") if unsettled else query
        return self._records.read(lambda c: [incident_of(row) for row in c.execute(query).mappings()])

    def _change(self, number: int, comment: str, change: Callable[[Transaction, Incident, str], Incident]) -> Incident:
        if len(comment) > MAX_TEXT:
            raise Invalid(f"a comment has at most {MAX_TEXT} characters, not {len(comment)}", where="comment")
        who = current_actor().person
        return self._records.write(lambda tx: change(tx, _found(tx.connection, number), who))


def _found(connection: sa.Connection, number: int) -> Incident:
    row = connection.execute(sa.select(incidents).where(incidents.c.number == number)).mappings().first()
    if row is None:
        raise NotFound(f"there is no incident {number}", remedy="perennial monitor incidents --all lists them")
    return incident_of(row)


def _say_something(comment: str, remedy: str) -> None:
    if not comment.strip():
        raise Invalid("this needs a comment", where="comment", remedy=remedy)


def _check(incident: Incident, *may_be: State) -> None:
    if incident.state in may_be:
        return
    by = {
        "acknowledged": incident.acknowledged_by,
        "explained": incident.explained_by,
        "closed": incident.closed_by or "itself, as nothing more was found",
    }[incident.state]
    raise Conflict(
        f"incident {incident.number} is {incident.state} already, by {by}",
        remedy=f"perennial monitor show {incident.number}",
    )


def _decided(tx: Transaction, incident: Incident, event: str, values: dict[str, Any], told: dict[str, Any]) -> Incident:
    tx.connection.execute(sa.update(incidents).where(incidents.c.number == incident.number).values(values))
    tx.event(f"incident.{event}", f"incident/{incident.number}", {"endpoint": incident.endpoint} | told)
    return msgspec.structs.replace(incident, **values)


def _feedback(endpoint: str, found: list[Incident], now: int) -> Feedback:
    declared = next((incident.promised for incident in reversed(found) if incident.promised), None)
    budget = Budget() if declared is None else Budget(**declared)
    since = now - budget.days * DAY_US
    counted = [incident for incident in found if incident.opened >= since and incident.told]
    false = sum(incident.false_alarm_by is not None for incident in counted)
    alarms = "false alarm" if false == 1 else "false alarms"
    verb = "was" if budget.alarms <= 1 else "were"
    return Feedback(
        endpoint=endpoint,
        days=budget.days,
        incidents=len(counted),
        false_alarms=false,
        promised=budget.alarms,
        says=f"{false} {alarms} in {budget.days:g} days, {budget.alarms:g} {verb} promised",
    )
