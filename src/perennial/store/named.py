"""Which objects the records name: what every digest column of every room holds, and what the manifests there name.

A column says how its manifests are read (`expand`). So that a reference that nobody declared is no loss, every digest
that stands in a named object of JSON counts as well. Only ever too much is named, never too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import sqlalchemy as sa

from perennial.errors import Corrupt, PerennialError
from perennial.store.objects import ObjectStore
from perennial.store.packs import OBJECT
from perennial.store.records import Records
from perennial.store.tables import Expand, import_tables
from perennial.types import Digest

__all__ = ["Named"]

JSON_BYTES = 64 << 20  # larger than this is somebody's data, not a manifest
_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class Named:
    """The digests that are named, as of the last `look`. Never forgets one: objects do not change."""

    def __init__(self, records: Records, objects: ObjectStore) -> None:
        self.digests: set[bytes] = set()
        self._records = records
        self._objects = objects
        self._expanded: set[tuple[str, Digest]] = set()
        self._searched: set[bytes] = set()
        self._columns = [
            column for table in import_tables().sorted_tables for column in table.columns if column.info.get("object")
        ]

    def look(self) -> None:
        """Take in what the records name now.

        Raises:
            Corrupt: A manifest cannot be read, so that nobody knows what it names.
        """
        columns = self._records.read(self._read)
        self._objects.packed.look()  # later: then all is known that these lead to
        for column, held in zip(self._columns, columns, strict=True):
            where = f"{column.table.name}.{column.name}"
            expand: Expand | None = column.info.get("expand")
            for digest in held:
                if (where, digest) not in self._expanded:
                    self._name((digest, *(self._expand(digest, expand, where) if expand else ())))
                    self._search(bytes.fromhex(digest))
                    self._expanded.add((where, digest))

    def _read(self, connection: sa.Connection) -> list[list[Digest]]:
        """All columns at one moment."""
        queries = [sa.select(column).where(column.is_not(None)).distinct() for column in self._columns]
        return [[Digest(digest) for digest in connection.execute(query).scalars()] for query in queries]

    def _name(self, digests: Iterable[Digest]) -> None:
        self.digests.update(bytes.fromhex(digest) for digest in digests)

    def _expand(self, digest: Digest, expand: Expand, where: str) -> list[Digest]:
        try:
            return list(expand(self._objects.get(digest), self._objects.get))
        except Exception as error:  # whatever a damaged manifest leads to
            says = error.what if isinstance(error, PerennialError) else str(error)
            raise Corrupt(
                f"manifest {digest} cannot be read, so what it names is not known: {says}",
                where=where,
                remedy="mend it first: perennial verify tells what is wrong, perennial restore brings a backup",
            ) from error

    def _search(self, raw: bytes) -> None:
        """Name what stands in this object and in those it leads to, if it is JSON."""
        waiting = [raw]
        while waiting:
            raw = waiting.pop()
            if raw not in self._searched:
                self._searched.add(raw)
                found = [bytes.fromhex(text.decode()) for text in _DIGEST.findall(self._json(raw))]
                self.digests.update(found)
                waiting += found

    def _json(self, raw: bytes) -> bytes:
        """The object if it may be JSON, else nothing."""
        place = self._objects.packed.known(raw)
        if place is not None:
            is_json = place[1].kind == OBJECT and place[0].first_byte(place[1]) in (b"{", b"[")
        else:
            path = self._objects.open_path(Digest(raw.hex()))
            if path is None or path.stat().st_size > JSON_BYTES:
                return b""
            with open(path, "rb") as file:
                is_json = file.read(1) in (b"{", b"[")
        return self._objects.get(Digest(raw.hex())) if is_json else b""
