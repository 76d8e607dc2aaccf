"""Dataset versions: content by its logical digest, with its schema and what was unusual about it.

A dataset is a table or a set of files. A version is written once: content that is known already is the version it was;
a draft waits until a person accepts it. A removed version keeps its line, so that what was trained on it can still say
so; its bytes go with the next garbage collection. Bytes are put into the object store before they are committed here.
"""

from __future__ import annotations

import builtins
import re
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from perennial.data.records import tags, versions
from perennial.data.schema import Schema, Violation
from perennial.errors import Conflict, Invalid, NotFound
from perennial.store.actor import current_actor
from perennial.store.decoding import ready
from perennial.store.records import Records, Transaction
from perennial.types import Digest

__all__ = ["DatasetVersion", "Datasets", "Tag", "check_name"]

Kind = Literal["table", "files"]
State = Literal["draft", "accepted"]
_JSON = ("schema", "violations", "changes", "source")  # columns that hold JSON
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}")  # begins with a letter, so that it is never taken for a number
_RESERVED = ("latest",)


class DatasetVersion(Struct, frozen=True, kw_only=True):
    """One version of a dataset.

    Attributes:
        name: Of the dataset; the one of a loop's collect step is called `loop.step`.
        version: Counts from 1.
        kind: "table" (rows) or "files" (a file or a folder as it was, byte for byte).
        logical: Digest of the content, however it is stored.
        manifest: Object that names the stored files; None when the version was removed.
        rows: Of the table, or of the one table that the files hold; 0 when they hold none.
        files: How many files were added, or hold the table.
        size_bytes: Of the content as it was given: of all files.
        schema: As this version shows it; without columns when it is no table.
        state: A draft waits for a person.
        parent: The version it was compared with.
        run_id: The run that collected it.
        violations: What breaks with the accepted schema.
        changes: Counts, for example of rows more than in the parent.
        source: Where it came from: {"kind": "path", "path": ...}, a query, the cursor's value, ...
        note: A person's words about it.
        quarantine: Manifest of a table of the bad rows that were kept out, each with its reasons.
        statistics: Object with the metrics of this batch (`history`).
        at: Moment of the commit.
        accepted_by: The person who accepted a draft.
        removed_at: Moment of removal.
    """

    name: str
    version: int
    kind: Kind = "table"
    logical: str
    manifest: str | None
    rows: int
    files: int = 0
    size_bytes: int = 0
    schema: Schema
    state: State
    parent: int | None
    run_id: str | None
    violations: list[Violation]
    changes: dict[str, int]
    source: dict[str, Any] | None = None
    note: str = ""
    quarantine: str | None = None
    statistics: str | None = None
    at: int
    accepted_by: str | None
    removed_at: int | None = None

    @property
    def stored(self) -> Digest:
        """The manifest's digest.

        Raises:
            NotFound: The version was removed.
        """
        if self.manifest is None:
            raise NotFound(
                f"{self.name}@{self.version} was removed",
                remedy="add or collect the same data again, or get it with: perennial data pull",
            )
        return Digest(self.manifest)


class Tag(Struct, frozen=True, kw_only=True):
    """A name for a version. It may be moved to another one."""

    name: str
    tag: str
    version: int
    at: int
    by: str


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
        kind: Kind = "table",
        files: int = 0,
        size_bytes: int = 0,
        state: State = "accepted",
        parent: int | None = None,
        run_id: str | None = None,
        violations: list[Violation] | None = None,
        changes: dict[str, int] | None = None,
        source: dict[str, Any] | None = None,
        note: str = "",
        quarantine: str | None = None,
        statistics: str | None = None,
        number: int | None = None,
    ) -> DatasetVersion:
        """Add the next version, or give the one that holds this content already; a removed one is back then.

        `number` is the one it has elsewhere, which it keeps when it is free here.

        Raises:
            Invalid: The name is empty, longer than 250 characters, or holds @ or a control character.
        """
        check_name(name)

        def change(tx: Transaction) -> DatasetVersion:
            same = sa.select(versions).where(versions.c.name == name, versions.c.logical == logical)
            known = tx.connection.execute(same).mappings().first()
            if known is not None:
                found = _version(known)
                return found if found.manifest is not None else _revive(tx, found, manifest)
            version = DatasetVersion(
                name=name,
                version=_number(tx.connection, name, number),
                kind=kind,
                logical=logical,
                manifest=manifest,
                rows=rows,
                files=files,
                size_bytes=size_bytes,
                schema=schema,
                state=state,
                parent=parent,
                run_id=run_id,
                violations=violations or [],
                changes=changes or {},
                source=source,
                note=note,
                quarantine=quarantine,
                statistics=statistics,
                at=tx.now,
                accepted_by=None,
            )
            tx.connection.execute(sa.insert(versions).values(**_row(version)))
            tx.event(
                "data.committed" if state == "accepted" else "data.drafted",
                _subject(version),
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
        """Let a draft be a version like any other; accepting twice changes nothing.

        Raises:
            NotFound: There is no such version.
        """

        def change(tx: Transaction) -> DatasetVersion:
            found = _read(tx.connection, name, version)
            if found.state == "accepted":
                return found
            accepted = msgspec.structs.replace(found, state="accepted", accepted_by=current_actor().person)
            _update(tx, found, state=accepted.state, accepted_by=accepted.accepted_by)
            tx.event("data.accepted", _subject(found), {"logical": found.logical})
            return accepted

        return self._records.write(change)

    def get(self, *, name: str, version: int | str = "latest") -> DatasetVersion:
        """One version by number or tag; "latest" is the newest that is accepted and not removed.

        Raises:
            NotFound: There is no such version.
        """
        return self._records.read(lambda connection: _read(connection, name, version))

    def tags(self, *, name: str | None = None) -> list[Tag]:
        """The tags of one dataset or of all, by name."""
        query = sa.select(tags).order_by(tags.c.name, tags.c.tag)
        query = query if name is None else query.where(tags.c.name == name)
        return self._records.read(
            lambda connection: [
                Tag(**{str(key): value for key, value in row.items()}) for row in connection.execute(query).mappings()
            ]
        )

    def list(self, *, name: str | None = None, limit: int = 1000) -> list[DatasetVersion]:
        """Versions of one dataset or of all, newest first, with those that were removed."""
        query = sa.select(versions).order_by(versions.c.at.desc(), versions.c.name, versions.c.version.desc())
        query = query.limit(limit) if name is None else query.where(versions.c.name == name).limit(limit)
        return self._records.read(lambda connection: [_version(row) for row in connection.execute(query).mappings()])

    def waiting(self) -> builtins.list[DatasetVersion]:
        """Of each dataset the newest draft, where nothing newer is accepted: those that wait for a person."""
        newer = versions.alias()
        same = (newer.c.name == versions.c.name) & (newer.c.version > versions.c.version)
        query = sa.select(versions).where(
            versions.c.state == "draft", versions.c.removed_at.is_(None), ~sa.exists().where(same)
        )
        query = query.order_by(versions.c.at, versions.c.name)
        return self._records.read(lambda connection: [_version(row) for row in connection.execute(query).mappings()])

    def remove(self, *, name: str, version: int) -> DatasetVersion:
        """Give up a version's bytes; its line stays. Removing twice changes nothing.

        Raises:
            NotFound: There is no such version.
            Conflict: A tag points at it.
        """

        def change(tx: Transaction) -> DatasetVersion:
            found = _read(tx.connection, name, version)
            if found.manifest is None:
                return found
            pointing = sa.select(tags.c.tag).where(tags.c.name == name, tags.c.version == version)
            if tagged := tx.connection.execute(pointing).scalars().all():
                raise Conflict(
                    f"{name}@{version} is tagged {', '.join(tagged)}",
                    remedy=f"take the tag away first: perennial data tag {name} {tagged[0]} --delete",
                )
            _update(tx, found, manifest=None, quarantine=None, statistics=None, removed_at=tx.now)
            tx.event("data.removed", _subject(found), {"logical": found.logical})
            return _read(tx.connection, name, version)

        return self._records.write(change)

    def tag(self, *, name: str, tag: str, version: int) -> Tag:
        """Let `tag` point at this version, wherever it pointed before.

        Raises:
            NotFound: There is no such version, or it was removed.
            Invalid: Not a name for a tag.
        """
        if not _TAG.fullmatch(tag) or tag in _RESERVED:
            raise Invalid(f"{tag[:120]!r} is not a tag", remedy="use letters, digits, . _ and -, a letter first")

        def change(tx: Transaction) -> Tag:
            found = _read(tx.connection, name, version)
            if found.manifest is None:
                raise NotFound(f"{name}@{version} was removed", remedy="tag a version that is there")
            made = Tag(name=name, tag=tag, version=version, at=tx.now, by=current_actor().person)
            here = (tags.c.name == name) & (tags.c.tag == tag)
            before = tx.connection.execute(sa.select(tags.c.version).where(here)).scalar()
            tx.connection.execute(sa.delete(tags).where(here))
            tx.connection.execute(sa.insert(tags).values(**msgspec.structs.asdict(made)))
            tx.event("data.tagged", _subject(found), {"tag": tag, "before": before})
            return made

        return self._records.write(change)

    def untag(self, *, name: str, tag: str) -> None:
        """Take a tag away; without one nothing changes."""

        def change(tx: Transaction) -> None:
            here = (tags.c.name == name) & (tags.c.tag == tag)
            before = tx.connection.execute(sa.select(tags.c.version).where(here)).scalar()
            if before is not None:
                tx.connection.execute(sa.delete(tags).where(here))
                tx.event("data.untagged", f"dataset/{name}/{before}", {"tag": tag})

        self._records.write(change)


def check_name(name: str) -> None:
    """Refuse what is no name for a dataset.

    Raises:
        Invalid: Empty, longer than 250 characters, or with @ or a control character.
    """
    if not 0 < len(name) <= 250 or "@" in name or any(ord(character) < 32 for character in name):
        raise Invalid(f"{name[:20]!r} is not a name for a dataset", remedy="use 1 to 250 characters, without @")


def _number(connection: sa.Connection, name: str, wanted: int | None) -> int:
    """The wanted number when it is free, else the next."""
    taken = sa.select(versions.c.version).where(versions.c.name == name, versions.c.version == wanted)
    if wanted is not None and wanted > 0 and connection.execute(taken).first() is None:
        return wanted
    newest = sa.select(sa.func.max(versions.c.version)).where(versions.c.name == name)
    return (connection.execute(newest).scalar_one() or 0) + 1


def _revive(tx: Transaction, found: DatasetVersion, manifest: str) -> DatasetVersion:
    _update(tx, found, manifest=manifest, removed_at=None)
    tx.event("data.restored", _subject(found), {"logical": found.logical, "manifest": manifest})
    return msgspec.structs.replace(found, manifest=manifest, removed_at=None)


def _read(connection: sa.Connection, name: str, version: int | str) -> DatasetVersion:
    query = sa.select(versions).where(versions.c.name == name)
    if version == "latest":
        usable = (versions.c.state == "accepted") & versions.c.removed_at.is_(None)
        query = query.where(usable).order_by(versions.c.version.desc()).limit(1)
    elif isinstance(version, str):
        query = query.join(tags, (tags.c.name == versions.c.name) & (tags.c.version == versions.c.version))
        query = query.where(tags.c.tag == version)
    else:
        query = query.where(versions.c.version == version)
    row = connection.execute(query).mappings().first()
    if row is None:
        which = "with an accepted version" if version == "latest" else f"version {version}"
        raise NotFound(f"there is no dataset {name!r} {which}", remedy="see what there is: perennial data list")
    return _version(row)


def _update(tx: Transaction, found: DatasetVersion, **values: Any) -> None:
    where = (versions.c.name == found.name) & (versions.c.version == found.version)
    tx.connection.execute(sa.update(versions).where(where).values(**values))


def _subject(version: DatasetVersion) -> str:
    return f"dataset/{version.name}/{version.version}"


def _row(version: DatasetVersion) -> dict[str, Any]:
    values = msgspec.structs.asdict(version)
    return values | {name: msgspec.json.encode(values[name]) for name in _JSON if values[name] is not None}


def _version(row: Any) -> DatasetVersion:
    # A name that SQLAlchemy would quote comes back as its own kind of text, which msgspec does not take for one.
    values = {str(name): value for name, value in row.items()}
    decoded = {name: msgspec.json.decode(values[name]) for name in _JSON if values[name] is not None}
    for violation in decoded["violations"]:
        if (first := violation.pop("first_row", None)) is not None:  # written before violations told several rows
            violation["rows"] = [first]
    return msgspec.convert(values | decoded, ready(DatasetVersion))
