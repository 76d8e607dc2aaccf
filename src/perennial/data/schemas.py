"""The schema of a dataset, in versions: proposed with what it changes, then accepted or rejected.

The accepted one is what new data are checked against. Who proposes what, and which changes are compatible, is decided
in `evolution`; here is only the record of it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from perennial.data.records import schemas
from perennial.data.schema import Schema
from perennial.errors import Conflict, NotFound
from perennial.store.actor import current_actor
from perennial.store.records import Records, Transaction

__all__ = ["SchemaChange", "SchemaVersion", "Schemas"]

State = Literal["proposed", "accepted", "rejected"]
_JSON = ("schema", "changes")


class SchemaChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a schema version does differently; `breaking`: what worked before may fail after it."""

    column: str
    says: str
    breaking: bool


class SchemaVersion(Struct, frozen=True, kw_only=True):
    """One version of a dataset's schema. `dataset_version` showed the change; None when a person wrote it."""

    name: str
    version: int
    schema: Schema
    state: State
    changes: list[SchemaChange]
    is_compatible: bool
    dataset_version: int | None
    at: int
    by: str
    decided_at: int | None = None
    decided_by: str | None = None


class Schemas:
    """The schema versions of a workspace. Safe for concurrent use."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def propose(
        self,
        *,
        name: str,
        schema: Schema,
        changes: list[SchemaChange],
        dataset_version: int | None = None,
        accept: bool = False,
    ) -> SchemaVersion:
        """Add the next schema version, accepted at once when `accept`; equal to the newest one it is that one.

        Args:
            name: Of the dataset.
            schema: The whole schema.
            changes: What it does differently from the accepted one.
            dataset_version: The version that showed the change.
            accept: For the first schema, a rule that accepts what is compatible, or a person's own edit.
        """

        def change(tx: Transaction) -> SchemaVersion:
            newest = _read(tx.connection, schemas.c.name == name)
            if newest is not None and newest.schema == schema and newest.state != "rejected":
                return _decided(tx, newest, accept=True) if accept and newest.state == "proposed" else newest
            made = SchemaVersion(
                name=name,
                version=newest.version + 1 if newest else 1,
                schema=schema,
                state="proposed",
                changes=changes,
                is_compatible=not any(change.breaking for change in changes),
                dataset_version=dataset_version,
                at=tx.now,
                by=current_actor().person,
            )
            values = msgspec.structs.asdict(made)
            tx.connection.execute(
                sa.insert(schemas).values(**values | {key: msgspec.json.encode(values[key]) for key in _JSON})
            )
            tx.event("schema.proposed", _subject(made), {"compatible": made.is_compatible, "changes": len(changes)})
            return _decided(tx, made, accept=True) if accept else made

        return self._records.write(change)

    def decide(self, *, name: str, version: int, accept: bool) -> SchemaVersion:
        """Accept or reject a proposed schema; the same answer twice changes nothing.

        Raises:
            NotFound: There is no such schema version.
            Conflict: The other answer was given already, or a later schema is accepted.
        """

        def change(tx: Transaction) -> SchemaVersion:
            found = _read(tx.connection, (schemas.c.name == name) & (schemas.c.version == version))
            if found is None:
                raise _missing(name, version)
            wanted: State = "accepted" if accept else "rejected"
            if found.state == wanted:
                return found
            accepted = _read(tx.connection, (schemas.c.name == name) & (schemas.c.state == "accepted"))
            if found.state != "proposed" or (accept and accepted is not None and accepted.version > version):
                raise Conflict(
                    f"schema {version} of {name!r} is {found.state}"
                    + (f", and version {accepted.version} is accepted" if accepted else ""),
                    remedy=f"propose it anew: perennial data schema edit {name}",
                )
            return _decided(tx, found, accept=accept)

        return self._records.write(change)

    def get(self, *, name: str, version: int | None = None) -> SchemaVersion | None:
        """One schema version; without a number the newest accepted one, None when there is none yet.

        Raises:
            NotFound: There is no version of this number.
        """
        which = schemas.c.state == "accepted" if version is None else schemas.c.version == version
        found = self._records.read(lambda connection: _read(connection, (schemas.c.name == name) & which))
        if found is None and version is not None:
            raise _missing(name, version)
        return found

    def list(self, *, name: str | None = None, state: State | None = None) -> list[SchemaVersion]:
        """Schema versions of one dataset or of all, in one state or any, newest first."""
        query = sa.select(schemas).order_by(schemas.c.at.desc(), schemas.c.name, schemas.c.version.desc())
        query = query if name is None else query.where(schemas.c.name == name)
        query = query if state is None else query.where(schemas.c.state == state)
        return self._records.read(lambda connection: [_schema(row) for row in connection.execute(query).mappings()])


def _decided(tx: Transaction, found: SchemaVersion, *, accept: bool) -> SchemaVersion:
    state: State = "accepted" if accept else "rejected"
    decided = msgspec.structs.replace(found, state=state, decided_at=tx.now, decided_by=current_actor().person)
    where = (schemas.c.name == found.name) & (schemas.c.version == found.version)
    values = {"state": state, "decided_at": decided.decided_at, "decided_by": decided.decided_by}
    tx.connection.execute(sa.update(schemas).where(where).values(**values))
    tx.event("schema.decided", _subject(found), {"accepted": accept})
    return decided


def _read(connection: sa.Connection, where: Any) -> SchemaVersion | None:
    query = sa.select(schemas).where(where).order_by(schemas.c.version.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else _schema(row)


def _schema(row: Any) -> SchemaVersion:
    values = {str(name): value for name, value in row.items()}
    return msgspec.convert(values | {name: msgspec.json.decode(values[name]) for name in _JSON}, SchemaVersion)


def _subject(found: SchemaVersion) -> str:
    return f"schema/{found.name}/{found.version}"


def _missing(name: str, version: int) -> NotFound:
    return NotFound(
        f"there is no schema {version} of {name!r}", remedy=f"see them with: perennial data schema list {name}"
    )
