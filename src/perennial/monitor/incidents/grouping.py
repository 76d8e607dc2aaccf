"""Put a finding into its incident, in the transaction that records the finding.

Which incident it is depends on event time: findings of one quiet period end up together in whatever order they come.
Nobody is told twice of the same: a notice is written when an incident opens and when it becomes worse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from perennial.monitor.incidents.incident import RANKS, Incident, group_of, incident_of
from perennial.monitor.incidents.maintenance import muting
from perennial.monitor.incidents.notices import Alarming, message_of
from perennial.monitor.incidents.outbox import put
from perennial.monitor.records import incident_findings, incidents
from perennial.store.records import Transaction
from perennial.types import canonical_json

if TYPE_CHECKING:
    from perennial.monitor.findings import NewFinding

__all__ = ["Placed", "close_by_itself", "place"]


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """Where a finding went: its incident (None where there is nothing to tell), and the maintenance that mutes it."""

    incident: int | None
    muted: int | None


def place(tx: Transaction, endpoint: str, finding: NewFinding, alarming: Alarming) -> Placed:
    """Let a finding that is not recorded yet open or join an incident."""
    muted = muting(tx.connection, endpoint, finding.window_from, finding.window_to)
    if RANKS[finding.severity] < RANKS["warn"]:
        return Placed(incident=None, muted=muted)
    known = _known(tx, endpoint, finding)
    home = _home(tx, known, finding)
    home = _opened(tx, endpoint, finding, alarming, muted) if home is None else _joined(tx, home, finding)
    values = {"endpoint": endpoint, "key": finding.key, "incident": home.number}
    tx.connection.execute(sa.insert(incident_findings).values(values))
    if muted is None and home.state != "closed":
        _tell(tx, home, alarming)
    return Placed(incident=home.number, muted=muted)


def close_by_itself(tx: Transaction, incident: Incident) -> Incident:
    """Close an incident because nothing was found for its quiet period."""
    says = f"nothing was found for {incident.quiet_us / 86_400e6:g} days"
    values: dict[str, Any] = {"state": "closed", "closed_at": tx.now, "closed_by": "", "comment": says}
    return _changed(tx, incident, values, "closed", {"by_itself": True, "says": says})


def _known(tx: Transaction, endpoint: str, finding: NewFinding) -> list[Incident]:
    query = (
        sa.select(incidents)
        .where(
            incidents.c.endpoint == endpoint,
            incidents.c.version == finding.version,
            incidents.c.kind_group == group_of(finding.kind),
            sa.or_(incidents.c.state != "closed", incidents.c.until >= finding.window_to),
        )
        .order_by(incidents.c.number.desc())
    )
    return [incident_of(row) for row in tx.connection.execute(query).mappings()]


def _home(tx: Transaction, known: list[Incident], finding: NewFinding) -> Incident | None:
    """The incident that is not closed, unless it was over before this; else a closed one that this came late for."""
    for incident in known:
        if incident.state != "closed":
            if finding.window_to <= max(incident.until, incident.last_at) + incident.quiet_us:
                return incident
            close_by_itself(tx, incident)  # nobody was there to do it in time
    for incident in known:
        is_covered = incident.since - incident.quiet_us <= finding.window_to <= incident.until
        if incident.state == "closed" and is_covered and RANKS[finding.severity] <= RANKS[incident.severity]:
            return incident
    return None


def _opened(tx: Transaction, endpoint: str, finding: NewFinding, alarming: Alarming, muted: int | None) -> Incident:
    number = (tx.connection.execute(sa.select(sa.func.max(incidents.c.number))).scalar() or 0) + 1
    promised = finding.evidence.get("promised")
    opened = Incident(
        number=number,
        endpoint=endpoint,
        version=finding.version,
        group=group_of(finding.kind),
        state="open",
        severity=finding.severity,
        kind=finding.kind,
        says=finding.says,
        since=finding.window_from,
        until=finding.window_to,
        opened=tx.now,
        last_at=tx.now,
        findings=1,
        quiet_us=alarming.quiet_us,
        muted=muted,
        promised=promised if isinstance(promised, dict) else None,
    )
    values = msgspec.structs.asdict(opened)
    values["kind_group"] = values.pop("group")
    values["promised"] = None if opened.promised is None else canonical_json(opened.promised).decode()
    tx.connection.execute(sa.insert(incidents).values(values))
    tx.event(
        "incident.opened",
        f"incident/{number}",
        {
            "endpoint": endpoint,
            "version": opened.version,
            "group": opened.group,
            "severity": opened.severity,
            "says": opened.says,
            "muted": muted,
        },
    )
    return opened


def _joined(tx: Transaction, incident: Incident, finding: NewFinding) -> Incident:
    values: dict[str, Any] = {
        "since": min(incident.since, finding.window_from),
        "until": max(incident.until, finding.window_to),
        "last_at": max(incident.last_at, tx.now),
        "findings": incident.findings + 1,
    }
    if RANKS[finding.severity] <= RANKS[incident.severity]:
        return _changed(tx, incident, values)
    worse = {"severity": finding.severity, "kind": finding.kind, "says": finding.says}
    told = {"from": incident.severity, "to": finding.severity, "says": finding.says}
    return _changed(tx, incident, values | worse, "escalated", told)


def _tell(tx: Transaction, incident: Incident, alarming: Alarming) -> None:
    """Write the notices, unless this severity, or a worse one, was told already."""
    if RANKS[incident.severity] < RANKS[alarming.least] or RANKS[incident.severity] <= RANKS[incident.told]:
        return
    message = message_of(incident, "escalated" if incident.told else "opened")
    for target in alarming.targets:
        put(tx, incident, target, message)
    _changed(tx, incident, {"told": incident.severity})


def _changed(
    tx: Transaction, incident: Incident, values: dict[str, Any], event: str = "", told: dict[str, Any] | None = None
) -> Incident:
    tx.connection.execute(sa.update(incidents).where(incidents.c.number == incident.number).values(values))
    if event:
        tx.event(f"incident.{event}", f"incident/{incident.number}", {"endpoint": incident.endpoint} | (told or {}))
    return msgspec.structs.replace(incident, **values)
