"""The schema of a dataset, in versions: proposed with what it changes, then accepted or rejected.

The accepted one is what new data are checked against. What a proposal changes is worked out here, in the transaction
that records it, so that nobody can call a change compatible that is not. A proposal speaks of the schema that was
accepted when it was made: when another is accepted, those that still wait are superseded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from perennial.data.datasets import check_name
from perennial.data.evolution import SchemaChange, accepted_by_rule, changes
from perennial.data.forms.sound import check_sound
from perennial.data.records import schemas
from perennial.data.schema import Schema
from perennial.errors import Conflict, NotFound
from perennial.store.actor import current_actor
from perennial.store.decoding import ready
from perennial.store.records import Records, Transaction

__all__ = ["SchemaVersion", "Schemas"]

State = Literal["proposed", "accepted", "rejected", "superseded"]
_JSON = ("schema", "changes")


class SchemaVersion(Struct, frozen=True, kw_only=True):
    """One version of a dataset's schema.

    Attributes:
        name: Of the dataset.
        version: Counts from 1.
        schema: The whole of it.
        state: A proposed one waits for a person; a superseded one waited while another was accepted.
        changes: What it does differently from the one that was accepted when it was proposed.
        is_compatible: None of them is breaking.
        dataset_version: The version of the data that showed the change; None when a person wrote it.
        at: Moment of the proposal.
        by: Who proposed it.
        decided_at: Moment of the decision.
        decided_by: The person, or the rule as "rule: compatible changes".
    """

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
        self, *, name: str, schema: Schema, dataset_version: int | None = None, base: int | None = None
    ) -> SchemaVersion:
        """Add the next schema version, with what it changes.

        The first schema of a dataset is accepted at once, and so is what new data show when the accepted schema's rule
        allows it. What equals the accepted schema, a waiting proposal, or (from data) a rejected one, is that one.

        Args:
            name: Of the dataset.
            schema: The whole schema.
            dataset_version: The version that showed the change; None for a person's own words.
            base: The schema version that is accepted, as the proposer knows it; 0 for none. None: whichever it is.

        Raises:
            Invalid: The schema contradicts itself, or this is no name for a dataset.
            Conflict: Another schema than `base` is accepted by now.
        """
        check_name(name)
        check_sound(schema)

        def change(tx: Transaction) -> SchemaVersion:
            since = _since(tx.connection, name)
            accepted = since[0] if since else None
            current = accepted.version if accepted else 0
            if base not in (None, current):
                raise Conflict(
                    f"schema {current} of {name!r} was accepted meanwhile",
                    remedy=f"look at it and propose anew: perennial data schema show {name}",
                )
            answered = ("accepted", "proposed") if dataset_version is None else ("accepted", "proposed", "rejected")
            same = [found for found in since if found.schema == schema and found.state in answered]
            if same:
                return same[-1]
            made = SchemaVersion(
                name=name,
                version=since[-1].version + 1 if since else 1,
                schema=schema,
                state="proposed",
                changes=changes(accepted.schema, schema) if accepted else [],
                is_compatible=True,
                dataset_version=dataset_version,
                at=tx.now,
                by=current_actor().person,
            )
            made = replace(made, is_compatible=not any(change.breaking for change in made.changes))
            tx.connection.execute(sa.insert(schemas).values(**_row(made)))
            tx.event(
                "schema.proposed", _subject(made), {"compatible": made.is_compatible, "changes": len(made.changes)}
            )
            if accepted is None:
                return _decided(tx, made, "accepted", "rule: first schema")
            if dataset_version is None:
                return made
            if accepted_by_rule(accepted.schema, made.changes):
                return _decided(tx, made, "accepted", f"rule: {accepted.schema.accept_by_rule} changes")
            _supersede(tx, made, lambda waiting: waiting.dataset_version is not None)
            return made

        return self._records.write(change)

    def decide(self, *, name: str, version: int, accept: bool) -> SchemaVersion:
        """Accept or reject a proposed schema; the same answer twice changes nothing.

        Raises:
            NotFound: There is no such schema version.
            Conflict: The other answer was given already, or another schema was accepted since it was proposed.
        """

        def change(tx: Transaction) -> SchemaVersion:
            found = _read(tx.connection, (schemas.c.name == name) & (schemas.c.version == version))
            if found is None:
                raise _missing(name, version)
            wanted: State = "accepted" if accept else "rejected"
            if found.state == wanted:
                return found
            if found.state != "proposed":
                who = f" by {found.decided_by}" if found.decided_by else ""
                raise Conflict(
                    f"schema {version} of {name!r} is {found.state}{who}",
                    remedy=f"write it anew: perennial data schema show {name} --version {version} --toml, then edit",
                )
            return _decided(tx, found, wanted, current_actor().person)

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


def _decided(tx: Transaction, found: SchemaVersion, state: State, by: str) -> SchemaVersion:
    decided = _settle(tx, found, state, by)
    tx.event("schema.decided", _subject(found), {"accepted": state == "accepted", "by": by})
    if state == "accepted":
        _supersede(tx, decided, lambda waiting: True)
    return decided


def _supersede(tx: Transaction, by: SchemaVersion, which: Callable[[SchemaVersion], bool]) -> None:
    waiting = (schemas.c.name == by.name) & (schemas.c.state == "proposed") & (schemas.c.version != by.version)
    rows = tx.connection.execute(sa.select(schemas).where(waiting)).mappings().all()
    for other in filter(which, map(_schema, rows)):
        _settle(tx, other, "superseded", f"version {by.version}")
        tx.event("schema.superseded", _subject(other), {"by": by.version})


def _settle(tx: Transaction, found: SchemaVersion, state: State, by: str) -> SchemaVersion:
    where = (schemas.c.name == found.name) & (schemas.c.version == found.version)
    tx.connection.execute(sa.update(schemas).where(where).values(state=state, decided_at=tx.now, decided_by=by))
    return replace(found, state=state, decided_at=tx.now, decided_by=by)


def _since(connection: sa.Connection, name: str) -> list[SchemaVersion]:
    """The accepted schema and what was proposed after it, oldest first. The newest accepted one has the highest number,
    as accepting one supersedes all that wait."""
    query = sa.select(schemas).where(schemas.c.name == name).order_by(schemas.c.version)
    found = [_schema(row) for row in connection.execute(query).mappings()]
    accepted = [index for index, version in enumerate(found) if version.state == "accepted"]
    return found[accepted[-1] :] if accepted else found


def _read(connection: sa.Connection, where: Any) -> SchemaVersion | None:
    query = sa.select(schemas).where(where).order_by(schemas.c.version.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else _schema(row)


def _row(version: SchemaVersion) -> dict[str, Any]:
    values = msgspec.structs.asdict(version)
    return values | {name: msgspec.json.encode(values[name]) for name in _JSON}


def _schema(row: Any) -> SchemaVersion:
    values = {str(name): value for name, value in row.items()}
    return msgspec.convert(values | {name: msgspec.json.decode(values[name]) for name in _JSON}, ready(SchemaVersion))


def _subject(found: SchemaVersion) -> str:
    return f"schema/{found.name}/{found.version}"


def _missing(name: str, version: int) -> NotFound:
    return NotFound(
        f"there is no schema {version} of {name!r}", remedy=f"see them with: perennial data schema list {name}"
    )
