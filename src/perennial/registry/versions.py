"""Register, approve and find model versions.

A version is written once; afterwards only its state moves, each move by a named person or rule and with an event in
the same transaction. The aliases `live` and `candidate` belong to the rollout (`deploy`), which moves them with
`point` inside its own transaction; everybody else is refused.

Versions that MLflow's clients register (`model_versions`) stand in the same line, *unreviewed*: they have no package,
so they cannot be approved or deployed.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from perennial.errors import Conflict, Forbidden, Invalid, NotFound, Refused
from perennial.registry.names import RESERVED_ALIASES
from perennial.registry.numbering import next_version
from perennial.registry.records import aliases, versions
from perennial.store.actor import current_actor
from perennial.store.records import Records, Transaction
from perennial.types import Digest

__all__ = ["RESERVED_ALIASES", "ModelVersion", "Models", "Verdict", "no_package", "package_of", "point"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

State = Literal["candidate", "refused", "approved", "rejected", "unreviewed"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one requirement found. `passed` is None where it does not apply, for example without a live version."""

    kind: str
    sentence: str
    passed: bool | None
    says: str
    evidence: dict[str, Any] = {}


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model: what it is made of, how it came about and who let it pass.

    `package`, `bundle`, `declaration` and `evaluation` are object digests; `trained_until` is the newest moment in its
    training data, in microseconds; `at` is when it was registered. A version that a client registered has no package
    but a `source`, and `storage`, where its files lie; `stage` is what clients moved it to.
    """

    name: str
    version: int
    package: str | None
    origin: str
    state: State
    run_id: str | None
    dataset: str | None
    dataset_version: int | None
    bundle: str | None
    declaration: str | None
    evaluation: str | None
    verdicts: list[Verdict]
    trained_until: int | None
    reason: str
    at: int
    decided_by: str | None
    decided_at: int | None
    comment: str | None
    source: str | None = None
    storage: str | None = None
    model_id: str | None = None
    run_link: str | None = None
    description: str = ""
    stage: str = "None"
    updated: int = 0


class Models:
    """The registry. Safe for concurrent use; every write is one transaction with its event."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def register(
        self,
        *,
        name: str,
        package: str,
        origin: Literal["loop", "imported"],
        run_id: str | None = None,
        dataset: str | None = None,
        dataset_version: int | None = None,
        bundle: str | None = None,
        declaration: str | None = None,
        evaluation: str | None = None,
        verdicts: list[Verdict] | None = None,
        trained_until: int | None = None,
        reason: str = "",
    ) -> ModelVersion:
        """Add the next version of a model; the same run registers once, however often it asks.

        Its state is `refused` when a verdict failed, else `candidate`, which waits for approval.
        """
        if not _NAME.fullmatch(name):
            raise Invalid(
                f"{name!r} is not a name for a model",
                remedy="use up to 100 letters, digits, '_', '-' and '.', beginning with a letter or digit",
            )
        found = verdicts or []
        state: State = "refused" if any(verdict.passed is False for verdict in found) else "candidate"

        def change(tx: Transaction) -> ModelVersion:
            if run_id is not None:
                row = (
                    tx.connection.execute(
                        sa.select(versions).where(
                            versions.c.name == name, versions.c.run_id == run_id, versions.c.package.is_not(None)
                        )
                    )
                    .mappings()
                    .first()
                )
                if row is not None:
                    return _version(row)
            version = ModelVersion(
                name=name,
                version=next_version(tx, name),
                package=package,
                origin=origin,
                state=state,
                run_id=run_id,
                dataset=dataset,
                dataset_version=dataset_version,
                bundle=bundle,
                declaration=declaration,
                evaluation=evaluation,
                verdicts=found,
                trained_until=trained_until,
                reason=reason,
                at=tx.now,
                decided_by=None,
                decided_at=None,
                comment=None,
                updated=tx.now,
            )
            row_values = msgspec.structs.asdict(version) | {"verdicts": msgspec.json.encode(found).decode()}
            tx.connection.execute(sa.insert(versions).values(**row_values))
            failed = [verdict.kind for verdict in found if verdict.passed is False]
            tx.event(
                "model.registered" if state == "candidate" else "model.refused",
                f"model/{name}/{version.version}",
                {"package": package, "run": run_id, "origin": origin, "failed": failed, "reason": reason},
            )
            return version

        return self._records.write(change)

    def approve(self, *, name: str, version: int, comment: str = "") -> ModelVersion:
        """Let a candidate pass, in the name of the acting person.

        Raises:
            Refused: A requirement failed, the verdicts say which; or a client registered it, so it has no package.
            Conflict: It was rejected before.
        """
        return self._decide(name, version, "approved", current_actor().person, comment)

    def approve_by_rule(self, *, name: str, version: int, rule: str) -> ModelVersion:
        """Let a candidate pass because the loop declares automatic approval; recorded as the rule, not a person.

        Raises:
            Forbidden: The version was imported: only a person can vouch for code that came from elsewhere.
        """
        return self._decide(name, version, "approved", f"rule: {rule}", "", may_be_imported=False)

    def reject(self, *, name: str, version: int, comment: str = "") -> ModelVersion:
        """Refuse a candidate, in the name of the acting person.

        Raises:
            Refused: A client registered it: it has no package that could be decided on.
            Conflict: It was approved or failed its requirements before.
        """
        return self._decide(name, version, "rejected", current_actor().person, comment)

    def get(self, *, name: str, version: int | None = None, alias: str | None = None) -> ModelVersion:
        """One version, by number or alias; by default the newest.

        Raises:
            NotFound: No such model, version or alias.
        """

        def query(connection: sa.Connection) -> ModelVersion:
            return _find(connection, name, version, alias)

        return self._records.read(query)

    def list(self, *, name: str | None = None, state: str | None = None) -> list[ModelVersion]:
        """Versions, oldest first; all models' when no name is given."""
        query = sa.select(versions).where(versions.c.removed.is_(None)).order_by(versions.c.name, versions.c.version)
        if name is not None:
            query = query.where(versions.c.name == name)
        if state is not None:
            query = query.where(versions.c.state == state)
        return self._records.read(lambda connection: [_version(row) for row in connection.execute(query).mappings()])

    def aliases(self, *, name: str) -> dict[str, int]:
        """Which version each alias of this model points at."""
        return self._records.read(lambda connection: _aliases(connection, name))

    def set_alias(self, *, name: str, alias: str, version: int | None, expected: int | None = None) -> dict[str, int]:
        """Point an alias of your own at a version, or remove it with None.

        Args:
            name: The model.
            alias: Letters, digits, '_', '-' and '.', not a number alone: that would read as a version.
            version: Where it shall point.
            expected: Where it points now, 0 for nowhere; None moves it from wherever it is.

        Raises:
            Forbidden: `live` and `candidate` move only through a rollout.
            Conflict: It does not point at `expected` any more.
        """
        if not _NAME.fullmatch(alias) or alias.isdigit():
            raise Invalid(
                f"{alias!r} is not a name for an alias",
                remedy="use up to 100 letters, digits, '_', '-' and '.', and not a number alone",
            )
        if alias.lower() in RESERVED_ALIASES:
            raise Forbidden(
                f"the alias {alias!r} moves only through approval and rollout",
                remedy=f"perennial approve {name}@VERSION, or perennial deploy {name}@VERSION",
            )

        def change(tx: Transaction) -> dict[str, int]:
            _find(tx.connection, name, version, None)
            present = _aliases(tx.connection, name).get(alias, 0)
            if expected is not None and present != expected:
                raise Conflict(
                    f"{name}@{alias} points at {f'version {present}' if present else 'no version'} meanwhile",
                    remedy="look again, then decide",
                )
            point(tx, name, alias, version)
            return _aliases(tx.connection, name)

        return self._records.write(change)

    def is_trusted(self, *, package: str) -> bool:
        """Whether code in this package may run in a worker: it is ours, or a person approved exactly these bytes."""
        query = sa.select(versions.c.origin, versions.c.state).where(versions.c.package == package)
        return self._records.read(
            lambda connection: any(row.origin == "loop" or row.state == "approved" for row in connection.execute(query))
        )

    def _decide(
        self,
        name: str,
        version: int,
        state: Literal["approved", "rejected"],
        who: str,
        comment: str,
        *,
        may_be_imported: bool = True,
    ) -> ModelVersion:
        def change(tx: Transaction) -> ModelVersion:
            current = _find(tx.connection, name, version, None)
            package_of(current)
            if current.origin == "imported" and not may_be_imported:
                raise Forbidden(
                    f"{name} version {version} was imported, so a person must vouch for its code",
                    remedy=f"perennial approve {name}@{version}",
                )
            if current.state == state:
                return current
            if state == "approved" and current.state == "refused":
                failed = [verdict.says for verdict in current.verdicts if verdict.passed is False]
                raise Refused(
                    f"{name} version {version} failed its requirements: {'; '.join(failed)}",
                    remedy="train a better candidate, or change the requirement in the loop and run it again",
                )
            if current.state != "candidate":
                raise Conflict(
                    f"{name} version {version} is already {current.state}",
                    where=f"decided by {current.decided_by}" if current.decided_by else "",
                    remedy="use `perennial deploy` or `perennial rollback` to change what is live"
                    if current.state == "approved"
                    else "train another candidate: perennial run",
                )
            tx.connection.execute(
                sa.update(versions)
                .where(versions.c.name == name, versions.c.version == version)
                .values(state=state, decided_by=who, decided_at=tx.now, comment=comment, updated=tx.now)
            )
            tx.event(f"model.{state}", f"model/{name}/{version}", {"by": who, "comment": comment})
            return _find(tx.connection, name, version, None)

        return self._records.write(change)


def package_of(version: ModelVersion) -> Digest:
    """The package of a version.

    Raises:
        Refused: A client registered it, and it has none.
    """
    if version.package is None:
        raise no_package(version.name, version.version)
    return Digest(version.package)


def no_package(name: str, version: int) -> Refused:
    """Why nothing can be done with a version that only names files."""
    return Refused(
        f"{name} version {version} is unreviewed: a client registered it, and it has no package that could be tested "
        "and served",
        remedy=f"download its model (mlflow artifacts download -u models:/{name}/{version} -d FOLDER), then bring it "
        f"in with some rows of input: perennial deploy FOLDER/model.pkl --name {name} --sample ROWS.parquet",
    )


def point(tx: Transaction, name: str, alias: str, version: int | None) -> None:
    """Move an alias within a transaction; writes nothing, also no event, when it already points there."""
    where = (aliases.c.name == name) & (aliases.c.alias == alias)
    old = tx.connection.execute(sa.select(aliases.c.version).where(where)).scalar_one_or_none()
    if old == version:
        return
    tx.connection.execute(sa.delete(aliases).where(where))
    if version is not None:
        tx.connection.execute(sa.insert(aliases).values(name=name, alias=alias, version=version))
    tx.event("alias.moved", f"model/{name}", {"alias": alias, "from": old, "to": version})


def _aliases(connection: sa.Connection, name: str) -> dict[str, int]:
    query = sa.select(aliases.c.alias, aliases.c.version).where(aliases.c.name == name).order_by(aliases.c.alias)
    return {row.alias: row.version for row in connection.execute(query)}


def _find(connection: sa.Connection, name: str, version: int | None, alias: str | None) -> ModelVersion:
    query = sa.select(versions).where(versions.c.name == name, versions.c.removed.is_(None))
    if alias is not None:
        chosen = sa.select(aliases.c.version).where(aliases.c.name == name, aliases.c.alias == alias)
        query = query.where(versions.c.version == chosen.scalar_subquery())
    elif version is not None:
        query = query.where(versions.c.version == version)
    row = connection.execute(query.order_by(versions.c.version.desc()).limit(1)).mappings().first()
    if row is None:
        what = f"{name}@{alias}" if alias is not None else name if version is None else f"{name} version {version}"
        raise NotFound(f"there is no model {what}", remedy="perennial models list shows what there is")
    return _version(row)


def _version(row: sa.RowMapping) -> ModelVersion:
    values: dict[str, Any] = dict(row)
    del values["removed"]
    values["verdicts"] = msgspec.json.decode(values["verdicts"], type=list[Verdict])
    return ModelVersion(**values)
