"""A workspace's records with a clock that a test moves, and findings to put into them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perennial.clock import FixedClock
from perennial.config import Settings
from perennial.ids import SeededIds
from perennial.monitor.findings import Monitor, NewFinding
from perennial.monitor.incidents.incident import Incident
from perennial.monitor.incidents.incidents import Incidents
from perennial.monitor.incidents.maintenance import Maintenance
from perennial.monitor.incidents.outbox import Notices
from perennial.store.actor import acting
from perennial.store.events import Event, Events
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.types import Micros

DAY = 86_400_000_000
NOON = 1_700_000_000_000_000


class RealFixedClock(FixedClock):
    """Real time as far as the program knows, moved by the test alone; it can jump back."""

    is_simulated = False

    def set(self, now: Micros) -> None:
        self._now = now


class House:
    """The services of monitoring over one database."""

    def __init__(self, records: Records, clock: FixedClock, settings: Settings) -> None:
        self.records, self.clock = records, clock
        self.monitor = Monitor(records, settings)
        self.incidents, self.maintenance, self.notices = Incidents(records), Maintenance(records), Notices(records)
        self._cursors: dict[tuple[str, int, str], int] = {}

    def find(self, *found: NewFinding, endpoint: str = "wages", name: str = "a") -> None:
        """What one step of a detector found."""
        version = found[0].version
        cursor = self._cursors.get((endpoint, version, name), 0)
        self.monitor.step(
            endpoint=endpoint, version=version, name=name, cursor_from=cursor, cursor_to=cursor + 1, state={},
            found=list(found),
        )  # fmt: skip
        self._cursors[endpoint, version, name] = cursor + 1

    def one(self) -> Incident:
        (incident,) = self.incidents.list()
        return incident

    def events(self, *kinds: str) -> list[Event]:
        return [event for event in Events(self.records).list() if event.kind in kinds or not kinds]

    def told(self, target: str = "log") -> list[tuple[int, str]]:
        """Whom what was written for: incident and severity of the notices to one target, in their order."""
        return [(n.incident, n.severity) for n in self.notices.list(limit=1000) if n.target == target]


@contextmanager
def house(folder: Path, *, settings: Settings | None = None, simulated: bool = False) -> Iterator[House]:
    clock = (FixedClock if simulated else RealFixedClock)(Micros(NOON))
    url = f"sqlite:///{folder / 'records.db'}"
    with Records.open(url, clock=clock, ids=SeededIds(1)) as records:
        create_tables(records, import_tables())
        with acting("reconciler", "reconciler"):
            yield House(records, clock, settings or Settings())


def shift(day: float, *, days: float = 1.0, **changes: Any) -> NewFinding:
    """Inputs that shifted in the window that begins so many days after NOON."""
    start = NOON + round(day * DAY)
    values: dict[str, Any] = {
        "key": f"shift/3/{start}",
        "version": 3,
        "kind": "covariate_shift",
        "severity": "warn",
        "window_from": start,
        "window_to": start + round(days * DAY),
        "says": f"inputs shifted on day {day:g}",
        "evidence": {"columns": {"age": {"psi": 0.3}}},
    }
    return NewFinding(**{**values, **changes})


def drop(day: float, **changes: Any) -> NewFinding:
    """A performance that dropped."""
    evidence = {"e_value": 2e5, "threshold": 1e5, "detector": "loss", "recent_mean_loss": 0.4}
    values: dict[str, Any] = {
        "key": f"drop/3/{day}",
        "kind": "performance_drop",
        "severity": "critical",
        "says": "version 3 is wrong more than when it was tested",
        "evidence": evidence | {"held_out_mean_loss": 0.2},
    }
    return shift(day, **{**values, **changes})
