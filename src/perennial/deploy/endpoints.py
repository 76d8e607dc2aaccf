"""What each endpoint serves, and the staged way of a version to live.

The desired state is in the records and is written to one spec file for the prediction service, which needs nothing
else. Every move compares the rollout's revision, so that of two who decide at once one wins and the other is told.
"""

from __future__ import annotations

import threading
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from perennial.deploy.adapting import declaration_of, failsafe_of, set_alpha
from perennial.deploy.history import LiveAt, live_at
from perennial.deploy.records import endpoints, rollouts, serving
from perennial.errors import Conflict, Invalid, NotFound, Refused
from perennial.models.guards.spec import FailSafe, Named
from perennial.registry.records import aliases, versions
from perennial.registry.test_sets import check_budget
from perennial.registry.trust import is_trusted
from perennial.registry.versions import no_package, point
from perennial.serve.spec import Arm, EndpointSpec, EndpointStatus, Spec, read_spec, read_status
from perennial.store.decoding import ready
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, Transaction
from perennial.store.workspace_folder import WorkspaceFolder
from perennial.types import Digest, canonical_json

__all__ = ["Endpoint", "Endpoints", "Rollout", "StageOptions"]

Move = Literal["next", "live", "refused", "rolled_back", "held"]


class StageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One declared stage: `kind` is shadow or canary, `options` what its judge needs."""

    kind: Literal["shadow", "canary"]
    options: dict[str, Any] = {}


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """The way of one version towards live; `against` is the version that was live when it began."""

    id: str
    endpoint: str
    version: int
    against: int | None
    stages: list[StageOptions]
    stage: int
    state: Literal["running", "held", "live", "refused", "rolled_back", "superseded"]
    because: str
    verdict: str
    evidence: list[dict[str, Any]]
    started: int
    stage_since: int
    ended: int | None
    revision: int


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is live under a name, what was before, and the rollout under way."""

    name: str
    live: int | None
    live_since: int | None
    previous: int | None
    pinned: str | None
    stopped: str | None
    rollout: Rollout | None


class Endpoints:
    """Endpoints and their rollouts. Safe for concurrent use."""

    def __init__(self, records: Records, objects: ObjectStore, folder: WorkspaceFolder) -> None:
        self._records = records
        self._objects = objects
        self._spec_path = folder.spec
        self._status_path = folder.serving_status
        self._publishing = threading.Lock()

    def list(self) -> list[Endpoint]:
        """Every endpoint, by name."""
        return self._records.read(_endpoints)

    def get(self, *, name: str) -> Endpoint:
        """One endpoint.

        Raises:
            NotFound: Nothing was ever deployed under this name.
        """
        return self._records.read(lambda connection: _endpoint(connection, name))

    def history(self, *, name: str) -> list[Rollout]:
        """All rollouts of an endpoint, oldest first."""
        query = sa.select(rollouts).where(rollouts.c.endpoint == name).order_by(rollouts.c.started, rollouts.c.version)
        return self._records.read(lambda connection: [_rollout(row) for row in connection.execute(query).mappings()])

    def running(self) -> dict[str, EndpointStatus]:
        """What the prediction service said last of each endpoint: versions, open breakers, problems. Empty before it
        ever ran."""
        status = read_status(self._status_path)
        return {} if status is None else status.endpoints

    def live_at(self, *, name: str, at: int) -> LiveAt:
        """What was live at a moment (microseconds since 1970), since when, and who let it.

        Raises:
            NotFound: Nothing was ever deployed under this name.
        """
        return self._records.read(lambda connection: live_at(connection, name, at))

    def start_rollout(
        self, *, name: str, version: int, stages: list[StageOptions], because: str, force: bool = False
    ) -> Rollout:
        """Send an approved version on its way; repeated while it is under way or live it returns what there is.

        The first version of an endpoint goes live at once: there is nothing to compare it with. `force` lets a person
        deploy although the endpoint is pinned, or in place of a rollout that is under way, which is then superseded.

        Raises:
            Refused: The version is not approved, or is one that a client registered and has no package.
            Conflict: Another rollout is under way, or the endpoint is pinned.
        """

        def change(tx: Transaction) -> Rollout:
            found = tx.connection.execute(
                sa.select(versions.c.state, versions.c.package).where(
                    versions.c.name == name, versions.c.version == version, versions.c.removed.is_(None)
                )
            ).one_or_none()
            if found is None:
                raise NotFound(f"there is no model {name} version {version}", remedy="perennial models list")
            if found.package is None:
                raise no_package(name, version)
            if found.state != "approved":
                raise Refused(
                    f"{name} version {version} is {found.state}, not approved",
                    remedy=f"perennial approve {name}@{version}",
                )
            check_budget(tx.connection, name, version)
            row = tx.connection.execute(sa.select(endpoints).where(endpoints.c.name == name)).first()
            if row is None:
                tx.connection.execute(sa.insert(endpoints).values(name=name))
            live = None if row is None else row.live
            under_way = _running(tx.connection, name)
            if force:
                for other in under_way:
                    self._finish(tx, other, "superseded", f"version {version} was deployed instead", other.evidence)
            elif under_way and under_way[0].version == version:
                return under_way[0]
            if version == live:
                return _brought_live(tx.connection, name, version)
            if row is not None and row.pinned is not None and not force:
                raise Conflict(f"endpoint {name} is pinned: {row.pinned}", remedy=f"perennial endpoints unpin {name}")
            if under_way and not force:
                raise Conflict(
                    f"version {under_way[0].version} of {name} is on its way (stage {under_way[0].stage + 1})",
                    remedy=f"wait for its end, or perennial deploy {name}@{version} --now",
                )
            rollout = Rollout(
                id=tx.new_id(),
                endpoint=name,
                version=version,
                against=live,
                stages=[] if live is None else stages,
                stage=0,
                state="running",
                because=because,
                verdict="",
                evidence=[],
                started=tx.now,
                stage_since=tx.now,
                ended=None,
                revision=1,
            )
            tx.connection.execute(sa.insert(rollouts).values(**_row(rollout)))
            tx.event("rollout.started", f"endpoint/{name}", {"version": version, "against": live, "because": because})
            point(tx, name, "candidate", version)
            if not rollout.stages:
                why = "there was no live version to compare with" if live is None else "deployed without stages"
                return self._finish(tx, rollout, "live", why, [])
            self._raise_revision(tx)
            return rollout

        return self._records.write(change)

    def advance(self, *, rollout_id: str, revision: int, to: Move, reason: str, evidence: dict[str, Any]) -> Rollout:
        """Move a rollout, if it still has the revision that the decision was made on.

        Raises:
            Conflict: It moved meanwhile.
        """

        def change(tx: Transaction) -> Rollout:
            row = tx.connection.execute(sa.select(rollouts).where(rollouts.c.id == rollout_id)).mappings().first()
            if row is None:
                raise NotFound(f"there is no rollout {rollout_id}")
            rollout = _rollout(row)
            if rollout.revision != revision or rollout.state not in {"running", "held"}:
                raise Conflict(
                    f"the rollout of {rollout.endpoint} version {rollout.version} moved meanwhile: it is "
                    f"{rollout.state} at revision {rollout.revision}"
                )
            trail = [*rollout.evidence, {"stage": rollout.stage, "at": tx.now, "to": to, "reason": reason, **evidence}]
            if to == "next" and rollout.stage + 1 < len(rollout.stages):
                moved = msgspec.structs.replace(
                    rollout,
                    stage=rollout.stage + 1,
                    stage_since=tx.now,
                    state="running",
                    verdict="",
                    evidence=trail,
                    revision=revision + 1,
                )
                self._save(tx, moved)
                tx.event(
                    "rollout.advanced",
                    f"endpoint/{rollout.endpoint}",
                    {"version": rollout.version, "stage": moved.stage, "reason": reason, "evidence": evidence},
                )
                self._raise_revision(tx)
                return moved
            if to == "held":
                return self._hold(tx, rollout, reason, trail, evidence)
            return self._finish(tx, rollout, "live" if to == "next" else to, reason, trail, evidence)

        return self._records.write(change)

    def rollback(self, *, name: str, reason: str = "") -> Endpoint:
        """Go back, at once: end the rollout under way, or else make the version live again that was live before.

        Twice goes back two versions, never forward again to the one that was just left.

        Raises:
            Conflict: No earlier version is known.
        """

        def change(tx: Transaction) -> Endpoint:
            endpoint = _endpoint(tx.connection, name)
            under_way = _running(tx.connection, name)
            for rollout in under_way:
                self._finish(tx, rollout, "rolled_back", reason or "rolled back by hand", rollout.evidence)
            if not under_way:
                if endpoint.previous is None:
                    raise Conflict(
                        f"endpoint {name} has no earlier version to go back to",
                        remedy=f"perennial deploy {name}@VERSION chooses one; perennial models list shows them",
                    )
                tx.connection.execute(
                    sa.update(endpoints)
                    .where(endpoints.c.name == name)
                    .values(
                        live=endpoint.previous,
                        previous=_before(tx.connection, name, endpoint.previous, left=endpoint.live),
                        live_since=tx.now,
                    )
                )
                tx.event(
                    "endpoint.rolled_back",
                    f"endpoint/{name}",
                    {"from": endpoint.live, "to": endpoint.previous, "reason": reason},
                )
                point(tx, name, "live", endpoint.previous)
                self._raise_revision(tx)
            return _endpoint(tx.connection, name)

        return self._records.write(change)

    def pin(self, *, name: str, reason: str | None) -> Endpoint:
        """Keep what is live until unpinned (None): no rollout starts by itself, and one under way is held."""

        def change(tx: Transaction) -> Endpoint:
            endpoint = _endpoint(tx.connection, name)
            if endpoint.pinned == reason:
                return endpoint
            tx.connection.execute(sa.update(endpoints).where(endpoints.c.name == name).values(pinned=reason))
            kind = "endpoint.unpinned" if reason is None else "endpoint.pinned"
            tx.event(kind, f"endpoint/{name}", {"reason": reason})
            if reason is not None and endpoint.rollout is not None and endpoint.rollout.state == "running":
                self._hold(tx, endpoint.rollout, f"the endpoint was pinned: {reason}", endpoint.rollout.evidence, {})
            return _endpoint(tx.connection, name)

        return self._records.write(change)

    def stop(self, *, name: str, reason: str | None) -> Endpoint:
        """Let the endpoint answer nobody until it is started again (None): callers are told why, with a 503."""

        def change(tx: Transaction) -> Endpoint:
            endpoint = _endpoint(tx.connection, name)
            if endpoint.stopped == reason:
                return endpoint
            tx.connection.execute(sa.update(endpoints).where(endpoints.c.name == name).values(stopped=reason))
            kind = "endpoint.started" if reason is None else "endpoint.stopped"
            tx.event(kind, f"endpoint/{name}", {"reason": reason})
            self._raise_revision(tx)
            return _endpoint(tx.connection, name)

        told = self._records.write(change)
        self.publish()
        return told

    def adapt(self, *, name: str, version: int, alpha: float, labels: int) -> bool:
        """Let the intervals of this version miss another share from now on; whether anything changed.

        `labels`: how many it has followed; repeated, or with fewer than before, nothing changes.
        """

        def change(tx: Transaction) -> bool:
            is_new = set_alpha(tx, name, version, alpha=alpha, labels=labels)
            if is_new:
                self._raise_revision(tx)
            return is_new

        return self._records.write(change)

    def publish(self) -> int:
        """Write the desired state for the prediction service unless it is there already; returns its revision.

        Called after a move was committed, never within it: the service must not see what may still be undone. The
        reconciler calls it at each pass, so a crash between the two costs one pass.
        """
        with self._publishing:  # of two who publish, the one with the older state must not write last
            spec = self._records.read(self._spec)
            try:
                published = read_spec(self._spec_path)
            except Invalid:  # damaged; it is made anew from the records
                published = Spec(revision=-1)
            # Of one revision they differ when an older program wrote it, or a person vouched for a package since.
            if published.revision < spec.revision or (published.revision == spec.revision and published != spec):
                LocalFiles().write_atomic(self._spec_path, msgspec.json.encode(spec))
            return spec.revision

    def _spec(self, connection: sa.Connection) -> Spec:
        revision = connection.execute(sa.select(serving.c.revision)).scalar_one_or_none() or 0
        return Spec(
            revision=revision,
            endpoints=[self._endpoint_spec(connection, endpoint) for endpoint in _endpoints(connection)],
        )

    def _endpoint_spec(self, connection: sa.Connection, endpoint: Endpoint) -> EndpointSpec:
        def arm(version: int | None) -> Arm | None:
            if version is None:
                return None
            package = connection.execute(
                sa.select(versions.c.package).where(versions.c.name == endpoint.name, versions.c.version == version)
            ).scalar_one()
            return Arm(version=version, package=package, trusted=is_trusted(connection, package))

        live = arm(endpoint.live)
        rollout = endpoint.rollout
        stage = None if rollout is None or rollout.state != "running" else rollout.stages[rollout.stage]
        # The shadow stays on during the canary, so that the two versions' answers can still be compared row by row.
        candidate = None if stage is None or rollout is None else arm(rollout.version)
        is_canary = stage is not None and stage.kind == "canary"
        signature = {} if live is None else _signature(self._objects, Digest(live.package))
        declared = None if live is None else declaration_of(connection, self._objects, endpoint.name, live.version)
        failsafe = None if live is None else failsafe_of(connection, declared, endpoint.name, live.version)
        return EndpointSpec(
            name=endpoint.name,
            task=str(signature.get("task", "")),
            signature=signature,
            live=live,
            canary=candidate if is_canary else None,
            share=float(stage.options["share"]) if stage is not None and is_canary else 0.0,
            shadow=candidate,
            fallback=arm(endpoint.previous),
            spare=None if failsafe is None else self._spare(connection, failsafe),
            salt=endpoint.name,
            stopped=endpoint.stopped or "",
            capture={} if declared is None else dict(declared.capture or {}),
            failsafe={} if failsafe is None else failsafe.to_builtins(),
        )

    def _spare(self, connection: sa.Connection, failsafe: FailSafe) -> Arm | None:
        """The version that the chain of fallbacks names; none where it names none, or there is no such version."""
        link = next((link for link in failsafe.fallbacks if isinstance(link, Named)), None)
        if link is None:
            return None
        name, _, told = link.version.partition("@")
        about = versions.c.name == name
        if told.isdigit():
            about &= versions.c.version == int(told)
        else:
            alias = sa.select(aliases.c.version).where(aliases.c.name == name, aliases.c.alias == told)
            about &= versions.c.version == alias.scalar_subquery()
        row = connection.execute(sa.select(versions.c.version, versions.c.package).where(about)).first()
        if row is None or row.package is None:
            return None
        return Arm(version=row.version, package=row.package, trusted=is_trusted(connection, row.package))

    def _finish(
        self,
        tx: Transaction,
        rollout: Rollout,
        state: Literal["live", "refused", "rolled_back", "superseded"],
        reason: str,
        trail: list[dict[str, Any]],
        evidence: dict[str, Any] | None = None,
    ) -> Rollout:
        ended = msgspec.structs.replace(
            rollout, state=state, verdict=reason, evidence=trail, ended=tx.now, revision=rollout.revision + 1
        )
        self._save(tx, ended)
        if state == "live":
            tx.connection.execute(
                sa.update(endpoints)
                .where(endpoints.c.name == rollout.endpoint)
                .values(live=rollout.version, previous=endpoints.c.live, live_since=tx.now)
            )
            point(tx, rollout.endpoint, "live", rollout.version)
        tx.event(
            f"rollout.{state}",
            f"endpoint/{rollout.endpoint}",
            {"version": rollout.version, "against": rollout.against, "reason": reason, "evidence": evidence or {}},
        )
        point(tx, rollout.endpoint, "candidate", None)
        self._raise_revision(tx)
        return ended

    def _hold(
        self, tx: Transaction, rollout: Rollout, reason: str, trail: list[dict[str, Any]], evidence: dict[str, Any]
    ) -> Rollout:
        held = msgspec.structs.replace(
            rollout, state="held", verdict=reason, evidence=trail, revision=rollout.revision + 1
        )
        self._save(tx, held)
        tx.event(
            "rollout.held",
            f"endpoint/{rollout.endpoint}",
            {"version": rollout.version, "reason": reason, "evidence": evidence},
        )
        self._raise_revision(tx)  # the candidate answers nothing while it is held
        return held

    def _save(self, tx: Transaction, rollout: Rollout) -> None:
        tx.connection.execute(sa.update(rollouts).where(rollouts.c.id == rollout.id).values(**_row(rollout)))

    def _raise_revision(self, tx: Transaction) -> None:
        changed = tx.connection.execute(sa.update(serving).values(revision=serving.c.revision + 1))
        if changed.rowcount == 0:
            tx.connection.execute(sa.insert(serving).values(id=1, revision=1))


def _signature(objects: ObjectStore, package: Digest) -> dict[str, Any]:
    manifest = msgspec.json.decode(objects.get(package))
    try:
        digest = manifest["files"]["signature.json"][0]
    except (KeyError, TypeError, IndexError) as error:
        raise Invalid(f"package {package[:12]} has no signature.json", remedy="import or train it again") from error
    return msgspec.json.decode(objects.get(digest))


def _brought_live(connection: sa.Connection, name: str, version: int) -> Rollout:
    """The newest rollout that made this version live; each version that is or was live has one."""
    query = sa.select(rollouts).where(
        rollouts.c.endpoint == name, rollouts.c.version == version, rollouts.c.state == "live"
    )
    return _rollout(connection.execute(query.order_by(rollouts.c.ended.desc()).limit(1)).mappings().one())


def _before(connection: sa.Connection, name: str, version: int, *, left: int | None) -> int | None:
    before = _brought_live(connection, name, version).against
    return None if before == left else before


def _row(rollout: Rollout) -> dict[str, Any]:
    values = msgspec.structs.asdict(rollout)
    values["stages"] = msgspec.json.encode(rollout.stages).decode()
    values["evidence"] = canonical_json(rollout.evidence).decode()
    return values


def _rollout(row: sa.RowMapping) -> Rollout:
    values: dict[str, Any] = dict(row)
    values["stages"] = msgspec.json.decode(values["stages"], type=ready(list[StageOptions]))
    values["evidence"] = msgspec.json.decode(values["evidence"])
    return Rollout(**values)


def _running(connection: sa.Connection, name: str) -> list[Rollout]:
    query = sa.select(rollouts).where(rollouts.c.endpoint == name, rollouts.c.state.in_(["running", "held"]))
    return [_rollout(row) for row in connection.execute(query.order_by(rollouts.c.started)).mappings()]


def _endpoints(connection: sa.Connection) -> list[Endpoint]:
    names = connection.execute(sa.select(endpoints.c.name).order_by(endpoints.c.name)).scalars().all()
    return [_endpoint(connection, name) for name in names]


def _endpoint(connection: sa.Connection, name: str) -> Endpoint:
    row = connection.execute(sa.select(endpoints).where(endpoints.c.name == name)).first()
    if row is None:
        raise NotFound(f"there is no endpoint {name}", remedy="perennial status shows what is served")
    under_way = _running(connection, name)
    return Endpoint(
        name=row.name,
        live=row.live,
        live_since=row.live_since,
        previous=row.previous,
        pinned=row.pinned,
        stopped=row.stopped,
        rollout=under_way[0] if under_way else None,
    )
