"""Read everything that is stored and name whatever is not as it was written.

Objects are hashed, records checked by their database, the event chain recomputed, and every object that a record names
must be there. One bad thing never hides the others. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import sqlalchemy as sa
from blake3 import blake3

from perennial.errors import PerennialError
from perennial.store.events import Events
from perennial.store.hashing import new_hasher
from perennial.store.objects import ObjectStore, chunks_of
from perennial.store.packs import CHUNK, DEAD, LIST, OBJECT, has_cut_tail, scan
from perennial.store.records import Records
from perennial.store.tables import Expand, import_tables
from perennial.store.whole import read_blocks
from perennial.types import Digest

__all__ = ["Problem", "Verification", "check_objects", "check_records", "check_references", "verify"]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it was written. `digest` is the object that cannot be had, empty when not known."""

    kind: Literal["damaged", "empty", "swapped", "misnamed", "unreadable", "missing", "records", "events"]
    where: str
    says: str
    digest: str = ""


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and every problem. `unnamed` objects are named by no record: new ones, or leftovers."""

    objects: int
    unnamed: int
    events: int
    problems: list[Problem]

    @property
    def is_sound(self) -> bool:
        return not self.problems


def verify(records: Records, objects: ObjectStore) -> Verification:
    """Check everything that is stored.

    Raises:
        Unavailable: Garbage is being collected.
    """
    with objects.at_rest(shared=True):
        return _verify(records, objects)


def _verify(records: Records, objects: ObjectStore) -> Verification:
    stored = set(objects.digests())
    problems = list(check_objects(objects))
    problems += check_records(records)
    named: set[Digest] = set()
    problems += check_references(records, objects, named)
    chain = Events(records)
    problems += [Problem(kind="events", where="events", says=says) for says in chain.verify()]
    return Verification(objects=len(stored), unnamed=len(stored - named), events=chain.head(), problems=problems)


def check_objects(objects: ObjectStore) -> Iterator[Problem]:
    """Every packed and whole object whose bytes are not what its digest says."""
    yield from _check_packs(objects)
    yield from _check_whole(objects)


def check_records(records: Records) -> Iterator[Problem]:
    """What the database itself says about its pages, indexes and foreign keys."""
    if records.path is None:
        return  # PostgreSQL checks its pages when it reads them
    for pragma, fine in (("integrity_check", "ok"), ("foreign_key_check", "")):
        try:
            rows = records.read(lambda connection, name=pragma: connection.exec_driver_sql(f"PRAGMA {name}").all())
        except PerennialError as error:
            yield Problem(kind="records", where=str(records.path), says=error.what)
            return
        for row in rows:
            if (says := " ".join(str(value) for value in row)) != fine:
                yield Problem(kind="records", where=str(records.path), says=says)


def check_references(
    records: Records, objects: ObjectStore, named: set[Digest], *, tables: sa.MetaData | None = None
) -> Iterator[Problem]:
    """Every object that a record, or a manifest that a record names, speaks of and that is not there.

    Adds what is spoken of to `named`.
    """
    for table in (tables or import_tables()).sorted_tables:
        for column in table.columns:
            if not column.info.get("object"):
                continue
            where = f"{table.name}.{column.name}"
            expand: Expand | None = column.info.get("expand")
            query = sa.select(column).where(column.is_not(None)).distinct().order_by(column)
            try:
                digests = records.read(lambda connection, query=query: connection.execute(query).scalars().all())
            except PerennialError as error:
                yield Problem(kind="records", where=where, says=error.what)
                continue
            for digest in digests:
                named.add(digest)
                if not objects.has(digest):
                    yield Problem(kind="missing", where=where, says=f"names object {digest}", digest=digest)
                elif expand is not None:
                    yield from _check_inner(objects, digest, expand, where, named)


def _check_inner(
    objects: ObjectStore, digest: Digest, expand: Expand, where: str, named: set[Digest]
) -> Iterator[Problem]:
    try:
        inner = list(expand(objects.get(digest), objects.get))
    except Exception as error:  # noqa: BLE001  # the boundary of one manifest: it becomes a problem, the others are read
        yield Problem(kind="damaged", where=where, says=f"manifest {digest} cannot be read: {error}", digest=digest)
        return
    for name in inner:
        named.add(name)
        if not objects.has(name):
            yield Problem(kind="missing", where=where, says=f"manifest {digest} names object {name}", digest=name)


def _check_packs(objects: ObjectStore) -> Iterator[Problem]:
    lists: list[tuple[Path, bytes, bytes]] = []
    for pack in objects.packed.packs():
        for frame in scan(pack):
            payload = pack.payload(frame)
            name = frame.digest.hex()
            if frame.kind == LIST and payload is not None:
                lists.append((pack.path, frame.digest, payload))
            elif frame.kind in (OBJECT, CHUNK):
                if payload is None or blake3(payload).digest() != frame.digest:
                    yield Problem(kind="damaged", where=str(pack.path), says=f"object {name} is damaged", digest=name)
            elif frame.kind != DEAD:
                says = f"object {name} is marked as of kind {frame.kind!r}, which there is not"
                yield Problem(kind="damaged", where=str(pack.path), says=says, digest=name)
        if pack.size() > pack.scanned and not has_cut_tail(pack):
            pack.damage.append(f"bytes {pack.scanned} to {pack.size()} are not readable")
        for says in pack.damage:
            yield Problem(kind="unreadable", where=str(pack.path), says=says)
    for path, raw, payload in lists:
        hasher = new_hasher()
        for chunk, _ in chunks_of(payload):
            hasher.update((objects.packed.read(chunk) or (CHUNK, b""))[1])
        if hasher.digest() != raw:
            says = f"object {raw.hex()} is damaged, or one of its chunks is missing"
            yield Problem(kind="damaged", where=str(path), says=says, digest=raw.hex())


def _check_whole(objects: ObjectStore) -> Iterator[Problem]:
    for path in objects.whole.found():
        digest = path.name
        if not path.is_file() or len(digest) != 64 or path.parent.name != digest[:2]:
            yield Problem(kind="misnamed", where=str(path), says="this is not the name of an object")
            continue
        hasher = new_hasher()
        try:
            with open(path, "rb") as file:
                for block in read_blocks(file):
                    hasher.update(block)
        except OSError as error:
            says = f"object {digest} cannot be read: {error.strerror}"
            yield Problem(kind="unreadable", where=str(path), says=says, digest=digest)
            continue
        actual = Digest(hasher.hexdigest())
        if actual == digest:
            continue
        if path.stat().st_size == 0:
            yield Problem(kind="empty", where=str(path), says=f"object {digest} is empty", digest=digest)
        elif objects.has(actual):
            says = f"object {digest} holds the bytes of {actual}"
            yield Problem(kind="swapped", where=str(path), says=says, digest=digest)
        else:
            says = f"object {digest} is damaged or cut short"
            yield Problem(kind="damaged", where=str(path), says=says, digest=digest)
