"""Dataset versions: a table by its logical digest, with its schema and what was unusual about it.

A version is written once. Content that is known already is the version it was; a draft, whose schema broke with the
one before, waits until a person accepts it. The bytes are put into the object store before they are committed here.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from perennial.data.records import versions
from perennial.data.schema import Schema, Violation
from perennial.errors import Invalid, NotFound
from perennial.store.actor import current_actor
from perennial.store.records import Records, Transaction

__all__ = ["DatasetVersion", "Datasets"]

State = Literal["draft", "accepted"]
_JSON = ("schema", "violations", "changes")  # columns that hold JSON


class DatasetVersion(Struct, frozen=True, kw_only=True):
    """One version of a dataset. `parent` is the version it was compared with; `changes` counts rows and columns."""

    name: str
    version: int
    logical: str
    manifest: str
    rows: int
    schema: Schema
    state: State
    parent: int | None
    run_id: str | None
    violations: list[Violation]
    changes: dict[str, int]
    at: int
    accepted_by: str | None


class Datasets:
    """The dataset versions of a workspace. Safe for concurrent use; every write is one transaction with its event."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def commit(
        self,
        *,
        name: str,
        logical: str,
        manifest: str,
        rows: int,
        schema: Schema,
        state: State = "accepted",
        parent: int | None = None,
        run_id: str | None = None,
        violations: list[Violation] | None = None,
        changes: dict[str, int] | None = None,
    ) -> DatasetVersion:
        """Add the next version, or give the one that holds this content already.

        Raises:
            Invalid: The name is empty or longer than 250 characters.
        """
        if not 0 < len(name) <= 250:
            raise Invalid(f"{name[:20]!r} is not a name for a dataset", remedy="use 1 to 250 characters")

        def change(tx: Transaction) -> DatasetVersion:
            same = sa.select(versions).where(versions.c.name == name, versions.c.logical == logical)
            known = tx.connection.execute(same).mappings().first()
            if known is not None:
                return _version(known)
            newest = sa.select(sa.func.max(versions.c.version)).where(versions.c.name == name)
            version = DatasetVersion(
                name=name,
                version=(tx.connection.execute(newest).scalar_one() or 0) + 1,
                logical=logical,
                manifest=manifest,
                rows=rows,
                schema=schema,
                state=state,
                parent=parent,
                run_id=run_id,
                violations=violations or [],
                changes=changes or {},
                at=tx.now,
                accepted_by=None,
            )
            tx.connection.execute(sa.insert(versions).values(**_row(version)))
            tx.event(
                "data.committed" if state == "accepted" else "data.drafted",
                f"dataset/{name}/{version.version}",
                {
                    "logical": logical,
                    "manifest": manifest,
                    "rows": rows,
                    "run": run_id,
                    "unusual": len(version.violations),
                },
            )
            return version

        return self._records.write(change)

    def accept(self, *, name: str, version: int) -> DatasetVersion:
        """Let a draft's schema be the dataset's from now on; accepting twice changes nothing.

        Raises:
            NotFound: There is no such version.
        """

        def change(tx: Transaction) -> DatasetVersion:
            where = (versions.c.name == name) & (versions.c.version == version)
            row = tx.connection.execute(sa.select(versions).where(where)).mappings().first()
            if row is None:
                raise _missing(name, version)
            found = _version(row)
            if found.state == "accepted":
                return found
            accepted = msgspec.structs.replace(found, state="accepted", accepted_by=current_actor().person)
            values = {"state": accepted.state, "accepted_by": accepted.accepted_by}
            tx.connection.execute(sa.update(versions).where(where).values(**values))
            tx.event("data.accepted", f"dataset/{name}/{version}", {"logical": found.logical})
            return accepted

        return self._records.write(change)

    def get(self, *, name: str, version: int | Literal["latest"] = "latest") -> DatasetVersion:
        """One version; "latest" is the newest that is accepted.

        Raises:
            NotFound: There is no such version.
        """
        query = sa.select(versions).where(versions.c.name == name)
        if version == "latest":
            query = query.where(versions.c.state == "accepted").order_by(versions.c.version.desc()).limit(1)
        else:
            query = query.where(versions.c.version == version)
        row = self._records.read(lambda connection: connection.execute(query).mappings().first())
        if row is None:
            raise _missing(name, version)
        return _version(row)

    def list(self, *, name: str | None = None, limit: int = 1000) -> list[DatasetVersion]:
        """Versions of one dataset or of all, newest first."""
        query = sa.select(versions).order_by(versions.c.at.desc(), versions.c.name, versions.c.version.desc())
        query = query.limit(limit) if name is None else query.where(versions.c.name == name).limit(limit)
        return self._records.read(lambda connection: [_version(row) for row in connection.execute(query).mappings()])


def _row(version: DatasetVersion) -> dict[str, Any]:
    values = msgspec.structs.asdict(version)
    return values | {name: msgspec.json.encode(values[name]) for name in _JSON}


def _version(row: Any) -> DatasetVersion:
    # A name that SQLAlchemy would quote comes back as its own kind of text, which msgspec does not take for one.
    values = {str(name): value for name, value in row.items()}
    return msgspec.convert(values | {name: msgspec.json.decode(values[name]) for name in _JSON}, DatasetVersion)


def _missing(name: str, version: int | str) -> NotFound:
    what = f"there is no dataset {name!r} version {version}"
    if version == "latest":
        what = f"there is no dataset {name!r} with an accepted version"
    return NotFound(what, remedy="see what there is: perennial data list")
