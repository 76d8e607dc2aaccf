"""About the workspace itself: which one it is, its settings, its clock, and what needs a person now.

`status` looks at everything and survives a broken part: it tells what it could read and names what it could not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from typing import TypeVar

import msgspec

from perennial import __version__
from perennial.clock import Clock, MappedClock, parse_time
from perennial.config import Settings
from perennial.data.datasets import Datasets, DatasetVersion
from perennial.data.schemas import Schemas, SchemaVersion
from perennial.deploy.endpoints import Endpoint, Endpoints
from perennial.errors import Forbidden
from perennial.monitor.incidents.incidents import Incidents
from perennial.monitor.incidents.outbox import Notices
from perennial.registry.versions import Models
from perennial.renew.retraining import Retraining
from perennial.store.workspace_folder import WorkspaceFolder
from perennial.types import Micros

__all__ = ["Info", "Moment", "Need", "SettingValue", "Status", "System"]

T = TypeVar("T")


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """One workspace and the process that owns it."""

    id: str
    folder: str
    simulated: bool
    created: int
    version: str
    pid: int


class SettingValue(msgspec.Struct, frozen=True, kw_only=True):
    """One setting; `origin` is the file or variable that it came from."""

    name: str
    value: str | int | float
    unit: str
    origin: str
    says: str


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A reading of the workspace's clock, in microseconds."""

    now: int
    simulated: bool


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Something that waits for a person; `command` is one way to settle it."""

    kind: str
    subject: str
    says: str
    command: str
    since: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What needs a person, what is live, and which parts could not be read."""

    needs: list[Need]
    endpoints: list[Endpoint]
    problems: list[str]


class System:
    """Safe for concurrent use."""

    def __init__(
        self,
        folder: WorkspaceFolder,
        settings: Settings,
        clock: Clock,
        datasets: Datasets,
        schemas: Schemas,
        models: Models,
        endpoints: Endpoints,
        incidents: Incidents,
        notices: Notices,
        renew: Retraining,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._datasets = datasets
        self._schemas = schemas
        self._models = models
        self._endpoints = endpoints
        self._incidents = incidents
        self._notices = notices
        self._renew = renew

    def info(self) -> Info:
        """Which workspace this is, and who owns it."""
        return Info(
            id=self._folder.id,
            folder=str(self._folder.root),
            simulated=self._folder.simulated,
            created=self._folder.created,
            version=__version__,
            pid=os.getpid(),
        )

    def settings(self) -> list[SettingValue]:
        """Every setting with its value, unit and origin."""
        return [
            SettingValue(
                name=item.name,
                value=self._settings.shown(item.name),
                unit=item.metadata["unit"],
                origin=self._settings.origin.get(item.name, "default"),
                says=item.metadata["says"],
            )
            for item in fields(self._settings)
            if item.name != "origin"
        ]

    def clock(self) -> Moment:
        """The moment by the workspace's clock."""
        return Moment(now=self._clock.now(), simulated=self._clock.is_simulated)

    def set_clock(self, *, now: int) -> Moment:
        """Move the clock of a simulated workspace forwards; a moment in the past changes nothing.

        Raises:
            Forbidden: The time of this workspace is real.
        """
        if not isinstance(self._clock, MappedClock):
            raise Forbidden("the time of this workspace is real and cannot be set")
        self._clock.set(Micros(now))
        return self.clock()

    def status(self) -> Status:
        """What needs a person now, and what is live."""
        problems: list[str] = []

        def read(what: str, part: Callable[[], list[T]]) -> list[T]:
            try:
                return part()
            except Exception as error:  # noqa: BLE001  the boundary of one part: named, and the others are shown
                problems.append(f"{what} cannot be read: {error}")
                return []

        last = read("the reconciler", lambda: [self._renew.last_pass()])
        problems += [f"the reconciler: {held.problem}" for held in last if held and held.problem]
        needs = read("datasets", self._data) + read("model versions", self._approvals)
        needs += read("what is said of models", self._reviews)
        endpoints = read("endpoints", self._endpoints.list)
        needs += [need for endpoint in endpoints if (need := _held(endpoint))]
        needs += read("jobs", self._failed_jobs)
        needs += read("incidents", self._open_incidents) + read("notices", self._lost_notices)
        return Status(needs=sorted(needs, key=lambda need: need.since), endpoints=endpoints, problems=problems)

    def _data(self) -> list[Need]:
        """Drafts, and proposed schemas but those that are accepted with their draft."""
        drafts = self._datasets.waiting()
        shown = {(draft.name, draft.version) for draft in drafts}
        proposed = self._schemas.list(state="proposed")
        return [_draft(draft) for draft in drafts] + [
            _proposed(schema) for schema in proposed if (schema.name, schema.dataset_version) not in shown
        ]

    def _approvals(self) -> list[Need]:
        return [
            Need(
                kind="approval",
                subject=f"{version.name}@{version.version}",
                says="passed its requirements"
                if version.origin == "loop"
                else "is imported; approved, its code may run",
                command=f"perennial approve {version.name}@{version.version}",
                since=version.at,
            )
            for version in self._models.list(state="candidate")
        ]

    def _reviews(self) -> list[Need]:
        """Models that are live past the day on which somebody should have looked at them, or retired them."""
        now, needs = self._clock.now(), list[Need]()
        for model in self._models.inventory():
            live, facts = model.aliases.get("live"), model.facts
            due = (
                (facts.review_by, "review", "should have been looked at again by", "review-by"),
                (facts.retire_by, "retirement", "should not be used any more since", "retire-by"),
            )
            needs += [
                Need(
                    kind=kind,
                    subject=f"{facts.name}@{live}",
                    says=f"is live, and {says} {day}",
                    command=f"perennial models card {facts.name}@{live}, then perennial models describe {facts.name} "
                    f"--{option} DAY",
                    since=parse_time(day),
                )
                for day, kind, says, option in due
                if live is not None and day is not None and parse_time(day) <= now
            ]
        return needs

    def _open_incidents(self) -> list[Need]:
        """Those that nobody looks after yet, of which somebody was to be told."""
        return [
            Need(
                kind="incident",
                subject=f"incident/{incident.number}",
                says=f"{incident.severity}, {incident.endpoint}: {incident.says}",
                command=f"perennial monitor show {incident.number}, then acknowledge, explain, close or false-alarm",
                since=incident.opened,
            )
            for incident in self._incidents.list(state="open")
            if incident.told
        ]

    def _lost_notices(self) -> list[Need]:
        lost = self._notices.list(state="given up", unsettled=True)
        return [
            Need(
                kind="notice",
                subject=f"incident/{notice.incident}",
                says=f"its notice to {notice.target} did not arrive: {notice.error}",
                command=f"mend the cause, then perennial monitor notices --retry {notice.key}",
                since=notice.settled or notice.created,
            )
            for notice in lost
        ]

    def _failed_jobs(self) -> list[Need]:
        last = {job.loop: job for job in self._renew.jobs()}
        return [
            Need(
                kind="job",
                subject=job.loop,
                says=f"the last training failed: {job.error}",
                command="perennial log, then mend the cause and perennial run",
                since=job.ended or job.created,
            )
            for job in last.values()
            if job.state == "failed"
        ]


def _draft(version: DatasetVersion) -> Need:
    errors = [violation.says for violation in version.violations if violation.severity == "error"]
    more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
    name = f"{version.name}@{version.version}"
    return Need(
        kind="draft",
        subject=name,
        says=f"is a draft: {errors[0]}{more}" if errors else "is a draft",
        command=f"perennial data accept {name}, or mend its source and collect anew",
        since=version.at,
    )


def _proposed(schema: SchemaVersion) -> Need:
    breaking = sum(change.breaking for change in schema.changes)
    shown = f"{schema.name}@{schema.dataset_version}" if schema.dataset_version else schema.by
    count = f"{len(schema.changes)} change{'' if len(schema.changes) == 1 else 's'}"
    return Need(
        kind="schema",
        subject=schema.name,
        says=f"{shown} proposes schema {schema.version}: {count}, {breaking} breaking",
        command=f"perennial data schema diff {schema.name}, then accept or reject",
        since=schema.at,
    )


def _held(endpoint: Endpoint) -> Need | None:
    rollout = endpoint.rollout
    if rollout is None or rollout.state != "held":
        return None
    return Need(
        kind="rollout",
        subject=f"{endpoint.name}@{rollout.version}",
        says=f"its rollout is held: {rollout.verdict}",
        command=f"perennial deploy {endpoint.name}@{rollout.version} --now, or perennial rollback {endpoint.name}",
        since=rollout.stage_since,
    )
