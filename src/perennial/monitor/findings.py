"""What the monitors found, each finding once, and how far each detector has read.

A detector's step, what it found, the incident that this belongs to and the notices of it are one transaction that
compares the cursor, so that a watcher killed between two steps neither skips an observation nor counts one twice.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from perennial.config import Settings
from perennial.errors import Conflict
from perennial.loop.watched import Monitored
from perennial.monitor.incidents.grouping import place
from perennial.monitor.incidents.notices import Alarming
from perennial.monitor.records import detectors, findings
from perennial.monitor.remembered import NewWindow, WatchedWindow, remember, remembered
from perennial.store.records import Records, Transaction
from perennial.types import canonical_json

__all__ = ["DetectorState", "Finding", "Kind", "Monitor", "NewFinding"]

Kind = Monitored
Severity = Literal["info", "warn", "critical"]


class DetectorState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a detector stands: `cursor` is the last observation it has read, `state` its own numbers."""

    endpoint: str
    version: int
    name: str
    cursor: int
    state: dict[str, Any]


class NewFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Something found in [window_from, window_to); `key` names it, so that finding it again changes nothing."""

    key: str
    version: int
    kind: Kind
    severity: Severity
    window_from: int
    window_to: int
    says: str
    evidence: dict[str, Any]


class Finding(NewFinding, frozen=True, kw_only=True):
    """A finding as it was recorded at `at`. `muted` is the maintenance window in which it lies, if it lies in one."""

    endpoint: str
    at: int
    muted: int | None = None


class Monitor:
    """Findings and detector states. Safe for concurrent use."""

    def __init__(self, records: Records, settings: Settings | None = None) -> None:
        self._records = records
        self._alarming = Alarming.of(settings or Settings(), is_simulated=records.clock.is_simulated)

    def detector(self, *, endpoint: str, version: int, name: str) -> DetectorState | None:
        """Where this detector stands; None before its first step."""
        where = (detectors.c.endpoint == endpoint) & (detectors.c.version == version) & (detectors.c.name == name)
        row = self._records.read(lambda connection: connection.execute(sa.select(detectors).where(where)).first())
        if row is None:
            return None
        return DetectorState(
            endpoint=endpoint, version=version, name=name, cursor=row.cursor, state=msgspec.json.decode(row.state)
        )

    def step(
        self,
        *,
        endpoint: str,
        version: int,
        name: str,
        cursor_from: int,
        cursor_to: int,
        state: dict[str, Any],
        found: list[NewFinding],
        window: NewWindow | None = None,
    ) -> DetectorState:
        """Move a detector from one cursor to the next and record what it found on the way, and the window it looked at.

        Raises:
            Conflict: It does not stand at `cursor_from` any more.
        """

        def change(tx: Transaction) -> DetectorState:
            where = (detectors.c.endpoint == endpoint) & (detectors.c.version == version) & (detectors.c.name == name)
            present = tx.connection.execute(sa.select(detectors.c.cursor).where(where)).scalar_one_or_none()
            if (present if present is not None else 0) != cursor_from:
                raise Conflict(
                    f"detector {name} of {endpoint} version {version} stands at {present}, not {cursor_from}"
                )
            tx.connection.execute(sa.delete(detectors).where(where))
            tx.connection.execute(
                sa.insert(detectors).values(
                    endpoint=endpoint,
                    version=version,
                    name=name,
                    cursor=cursor_to,
                    state=canonical_json(state).decode(),
                )
            )
            _record(tx, endpoint, found, self._alarming)
            if window is not None:
                remember(tx, endpoint, version, window)
            return DetectorState(endpoint=endpoint, version=version, name=name, cursor=cursor_to, state=state)

        return self._records.write(change)

    def windows(self, *, endpoint: str, version: int, before: int | None = None) -> list[WatchedWindow]:
        """Windows of a version that were looked at, those that end at or before a moment, oldest first."""
        return self._records.read(lambda connection: remembered(connection, endpoint, version, before))

    def list(self, *, endpoint: str, kind: Kind | None = None, version: int | None = None) -> list[Finding]:
        """Findings of an endpoint, oldest first."""
        query = sa.select(findings).where(findings.c.endpoint == endpoint).order_by(findings.c.at, findings.c.key)
        if kind is not None:
            query = query.where(findings.c.kind == kind)
        if version is not None:
            query = query.where(findings.c.version == version)
        return self._records.read(lambda connection: [_finding(row) for row in connection.execute(query).mappings()])


def _record(tx: Transaction, endpoint: str, found: list[NewFinding], alarming: Alarming) -> None:
    for finding in found:
        where = (findings.c.endpoint == endpoint) & (findings.c.key == finding.key)
        if tx.connection.execute(sa.select(findings.c.key).where(where)).first() is not None:
            continue
        values = msgspec.structs.asdict(finding) | {"evidence": canonical_json(finding.evidence).decode()}
        tx.event(
            f"found.{finding.kind}",
            f"endpoint/{endpoint}",
            {"key": finding.key, "version": finding.version, "severity": finding.severity, "says": finding.says},
        )
        placed = place(tx, endpoint, finding, alarming)
        tx.connection.execute(sa.insert(findings).values(endpoint=endpoint, at=tx.now, muted=placed.muted, **values))


def _finding(row: sa.RowMapping) -> Finding:
    values: dict[str, Any] = dict(row)
    values["evidence"] = msgspec.json.decode(values["evidence"])
    return Finding(**values)
