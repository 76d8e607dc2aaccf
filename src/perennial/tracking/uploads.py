"""Files that come in parts: each part is an object, and the file appears when all are there and put together.

Nothing is visible before. A part may come again; completing twice is the same as once; what nobody completes is
forgotten after a week, and its parts are garbage.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from perennial.errors import Corrupt, DataError, Invalid, NotFound
from perennial.store.objects import ObjectStore
from perennial.store.prepared import upserting
from perennial.store.records import Records, Transaction
from perennial.tracking.artifacts import Artifacts, keep, refuse_closed
from perennial.tracking.body import Body
from perennial.tracking.bytes import NamedLocks
from perennial.tracking.records import upload_parts, uploads
from perennial.tracking.tree import checked
from perennial.types import Digest

__all__ = ["MAX_PARTS", "Part", "Upload", "Uploads", "complete", "keep_part"]

MAX_PARTS = 10_000
FORGET_S = 7 * 86_400
_UPSERT = upserting(upload_parts)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part that is there; numbers begin at 1."""

    number: int
    digest: str
    size: int


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A file on its way in `parts` parts; `have` are those that are there, by number."""

    id: str
    path: str
    parts: int
    is_complete: bool
    have: list[Part]


class Uploads:
    """The uploads in parts of a workspace. Safe for concurrent use."""

    def __init__(self, records: Records, objects: ObjectStore) -> None:
        self.records = records
        self.objects = objects
        self.locks = NamedLocks()

    def begin(self, *, path: str, parts: int) -> Upload:
        """Begin an upload of a file in so many parts.

        Raises:
            Invalid: The path leads elsewhere or lies below a deleted run; or there are no or too many parts.
        """
        checked(path)
        if not 1 <= parts <= MAX_PARTS:
            raise Invalid(f"Invalid value {parts} for parameter 'num_parts' supplied", remedy=f"use 1 to {MAX_PARTS}")

        def change(tx: Transaction) -> Upload:
            refuse_closed(tx.connection, path)
            _forget(tx, sa.select(uploads.c.id).where(uploads.c.at < tx.now - FORGET_S * 1_000_000))
            made = Upload(id=tx.new_id(), path=path, parts=parts, is_complete=False, have=[])
            tx.connection.execute(sa.insert(uploads).values(id=made.id, path=path, parts=parts, at=tx.now))
            return made

        return self.records.write(change)

    def get(self, *, upload_id: str) -> Upload:
        """One upload with the parts that are there.

        Raises:
            NotFound: There is no such upload: it was given up, or forgotten after a week.
        """
        return self.records.read(lambda connection: _get(connection, upload_id))

    def add_part(self, *, upload_id: str, number: int, digest: str, size: int) -> Part:
        """Name an object as a part; one that is there is replaced. Of a complete upload nothing changes.

        Raises:
            NotFound: There is no such upload or object.
            Invalid: It has no part of this number.
        """
        with self.objects.until_committed():
            if self.objects.pin([Digest(digest)]):
                raise NotFound(f"there is no object {digest}", remedy="put the bytes into the object store first")
            return _add_part(self, upload_id, Part(number=number, digest=digest, size=size))

    def abort(self, *, upload_id: str) -> None:
        """Give up an upload. One that is complete stays, one that is not there is fine."""
        self.records.write(lambda tx: _forget(tx, sa.select(uploads.c.id).where(_is_open(upload_id))))


def keep_part(service: Uploads, upload_id: str, number: int, body: Body) -> Part:
    """Store a body and let it be a part.

    Raises:
        NotFound, Invalid: As for `Uploads.add_part`.
    """
    with service.objects.until_committed():
        put = service.objects.put(body.data) if body.path is None else service.objects.put_file(body.path)
        if put != body.digest:
            raise Corrupt("the part changed on the way through the disk", where=str(body.path or put))
        return _add_part(service, upload_id, Part(number=number, digest=put, size=body.size))


def complete(
    service: Uploads, artifacts: Artifacts, *, upload_id: str, path: str, told: Iterable[tuple[int, str]]
) -> None:
    """Put the parts together and let the path name the file. The second time nothing is done.

    Args:
        service: Knows the upload.
        artifacts: Where the file appears.
        upload_id: Of the upload.
        path: For which it was begun.
        told: Number and digest of each part as its sender has them, in any order.

    Raises:
        NotFound: There is no such upload.
        Invalid: It is for another path, or parts are missing.
        DataError: A part is not what its sender means.
    """
    told = sorted(told)
    with service.locks.holding(upload_id):  # a client that was not answered asks again while we are at it
        upload = service.get(upload_id=upload_id)
        if upload.path != path:
            raise Invalid(f"upload {upload_id} is for another path")
        if upload.is_complete:
            return
        wanted = list(range(1, upload.parts + 1))
        if [part.number for part in upload.have] != wanted or [number for number, _ in told] != wanted:
            says = f"upload {upload_id} needs parts 1 to {upload.parts}; {len(upload.have)} came, {len(told)} are named"
            raise Invalid(says, remedy="send and name every part once")
        for part, (number, digest) in zip(upload.have, told, strict=True):
            if part.digest != digest:
                raise DataError(f"part {number} of upload {upload_id} is not the one that is named: send it again")
        with Body(artifacts.scratch) as body:
            for part in upload.have:
                for block in service.objects.blocks(Digest(part.digest)):
                    body.write(block)
            keep(artifacts, path, body, also=lambda tx: _finish(tx, upload_id))


def _get(connection: sa.Connection, upload_id: str) -> Upload:
    row = connection.execute(sa.select(uploads).where(uploads.c.id == upload_id)).first()
    if row is None:
        raise NotFound("there is no such upload", where=upload_id[:100], remedy="begin it again")
    query = sa.select(upload_parts).where(upload_parts.c.upload == upload_id).order_by(upload_parts.c.number)
    have = [Part(number=part.number, digest=part.digest, size=part.size) for part in connection.execute(query)]
    return Upload(id=row.id, path=row.path, parts=row.parts, is_complete=not row.parts, have=have)


def _add_part(service: Uploads, upload_id: str, part: Part) -> Part:
    def change(tx: Transaction) -> Part:
        upload = _get(tx.connection, upload_id)
        if not upload.is_complete:
            if not 1 <= part.number <= upload.parts:
                raise Invalid(f"upload {upload_id} has no part {part.number}", remedy=f"it has {upload.parts}")
            _UPSERT.many(tx.connection, [(upload_id, part.number, part.digest, part.size)])
        return part

    return service.records.write(change)


def _finish(tx: Transaction, upload_id: str) -> None:
    """A complete upload is remembered as one without parts, so that completing it again is known for what it is.

    Raises:
        NotFound: It was given up meanwhile.
    """
    _get(tx.connection, upload_id)
    tx.connection.execute(sa.delete(upload_parts).where(upload_parts.c.upload == upload_id))
    tx.connection.execute(sa.update(uploads).where(uploads.c.id == upload_id).values(parts=0))


def _is_open(upload_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(uploads.c.id == upload_id, uploads.c.parts > 0)


def _forget(tx: Transaction, which: sa.Select[tuple[str]]) -> None:
    for found in tx.connection.scalars(which).all():
        tx.connection.execute(sa.delete(upload_parts).where(upload_parts.c.upload == found))
        tx.connection.execute(sa.delete(uploads).where(uploads.c.id == found))
