"""Get dataset versions from a remote: what is lacking here, each object hashed, and last the commit.

Killed or cut off anywhere, nothing half is visible here, and the next pull goes on with what is missing. A version is
known by its content; it keeps its number when that is free here.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from blake3 import blake3
from msgspec import Struct

from perennial.data.datasets import DatasetVersion
from perennial.data.manifest import files_of, named_by
from perennial.data.remote.layout import (
    CHUNKS,
    MARKER,
    PIECE,
    Accepted,
    Marker,
    Pointer,
    Reference,
    escaped,
    opened,
    path_of,
)
from perennial.data.remote.place import Place
from perennial.data.remote.stock import Stock, in_order
from perennial.errors import Conflict, Corrupt, NotFound
from perennial.store.failpoints import failpoint, register
from perennial.store.files import LocalFiles, store_error
from perennial.types import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from perennial.data.catalog import Catalog
    from perennial.store.objects import ObjectStore

T = TypeVar("T", Reference, Pointer, Accepted)

__all__ = ["Listed", "listed", "pull"]

RECORD_BYTES = 64 << 20
UNFINISHED_S = 7 * 86_400
AHEAD_BYTES = 1 << 20  # of a folder's manifest, fetched with one request

_STORED = register("pull.stored", "some pieces are stored here")
_PART = register("pull.part", "a piece of a large whole object lies in its unfinished file")
_OBJECTS = register("pull.objects", "all objects of a version are here, nothing is committed")
_COMMITTED = register("pull.committed", "a version is committed, its tags and schema are not")


class Listed(Struct, frozen=True, kw_only=True):
    """A version as it lies on a remote. `version`: its number where it was pushed from."""

    name: str
    version: int
    logical: str
    kind: str
    rows: int
    files: int
    size_bytes: int
    at: int
    note: str
    tags: list[str]


def listed(url: str, *, tell: Callable[[str], None] = lambda _: None) -> list[Listed]:
    """The versions on a remote, by name, newest first. `tell` is told of records that are damaged.

    Raises:
        NotFound: There is no remote at this address.
        Forbidden, Unavailable, ConfigError: As for `Place`.
    """
    place, damaged = _opened(url), list[Corrupt]()
    tags = _records(place, "tags", Pointer, damaged)
    found = [reference.version for reference in _records(place, "datasets", Reference, damaged)]
    for error in damaged:
        tell(f"{error.what}: {error.where}")
    return [
        Listed(
            name=version.name,
            version=version.version,
            logical=version.logical,
            kind=version.kind,
            rows=version.rows,
            files=version.files,
            size_bytes=version.size_bytes,
            at=version.at,
            note=version.note,
            tags=sorted(tag.tag for tag in tags if (tag.name, tag.logical) == (version.name, version.logical)),
        )
        for version in sorted(found, key=lambda version: (version.name, -version.version, -version.at))
    ]


def pull(
    catalog: Catalog,
    url: str,
    name: str | None = None,
    version: int | str | None = "latest",
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> list[DatasetVersion]:
    """Make versions of a remote available here, with their tags and the accepted schemas of their datasets.

    A schema that differs from the one accepted here is proposed, not accepted.

    Args:
        catalog: Where they shall be.
        url: Of the remote.
        name: Of one dataset; None: of each.
        version: Number where it was pushed from, tag, "latest" or the beginning of its digest; None: all.
        tell: Is told how far it is.

    Returns:
        The versions as they are here, oldest first.

    Raises:
        NotFound: There is no remote, dataset or version like this, or the remote lacks an object.
        Conflict: Several versions have this number.
        Corrupt: The remote holds other bytes than were sent; nothing of that version is visible, all others are.
        Forbidden, Unavailable, ConfigError: As for `Place`.
        StoreError: The disk here is full, or would not do it.
    """
    place, damaged = _opened(url), list[Corrupt]()
    tell("looking what is there")
    below = "" if name is None else f"/{escaped(name)}"
    tags = _records(place, f"tags{below}", Pointer, damaged)
    names: dict[str, list[Reference]] = {}
    for reference in _records(place, f"datasets{below}", Reference, damaged):
        names.setdefault(reference.version.name, []).append(reference)
    if name is not None and name not in names and not damaged:
        remedy = f"see what is there: perennial data remote show {url}"
        raise NotFound(f"there is no dataset {name!r} on the remote", where=url, remedy=remedy)
    stock = Stock(place, catalog.scratch / "remote")
    _sweep(catalog.scratch / "pull")
    pulled: list[DatasetVersion] = []
    for one, found in sorted(names.items()):
        chosen = found if version is None else _chosen(found, tags, one, version, url)
        if not chosen and not damaged:
            remedy = f"see what is there: perennial data remote show {url}"
            raise NotFound(f"there is no {one}@{version} on the remote", where=url, remedy=remedy)
        here: dict[str, DatasetVersion] = {}
        for reference in sorted(chosen, key=lambda reference: (reference.version.version, reference.version.at)):
            try:
                here[reference.version.logical] = _Getting(catalog, place, stock, tell).version(reference)
                failpoint(_COMMITTED)
            except Corrupt as error:
                damaged.append(error)
        for pointer in tags:
            if pointer.name == one and pointer.logical in here:
                _tag(catalog, pointer, here[pointer.logical])
        _take_schema(catalog, one, _records(place, f"schemas/{escaped(one)}", Accepted, damaged))
        pulled += here.values()
    if damaged:
        raise damaged[0]
    return pulled


class _Getting:
    """One version on its way here."""

    def __init__(self, catalog: Catalog, place: Place, stock: Stock, tell: Callable[[str], None]) -> None:
        self._catalog = catalog
        self._objects: ObjectStore = catalog.objects
        self._place = place
        self._stock = stock
        self._tell = tell
        self._ahead: dict[bytes, bytes] = {}
        self._pages: list[bytes] = []  # those that were read and are not stored yet
        self._label = ""
        self._got_bytes = 0

    def version(self, reference: Reference) -> DatasetVersion:
        """Get what is lacking of a version, then commit it."""
        version = reference.version
        known = self._catalog.datasets.list(name=version.name, limit=1_000_000)
        here = next((one for one in known if one.logical == version.logical), None)
        if here is not None and here.manifest not in (None, version.manifest):
            return here  # the same content, stored in its own way
        self._label = f"pulling {version.name}@{version.version}"
        try:
            with self._objects.until_committed():
                self._stock.look_at(reference.bundles)
                try:
                    self._get_all(version)
                except (NotFound, Corrupt):  # a damaged bundle may have been replaced by another since
                    self._stock.look()
                    self._get_all(version)
                failpoint(_OBJECTS)
                parent = next((one.version for one in known if one.logical == reference.parent), None)
                return self._commit(version, parent)
        except OSError as error:
            raise store_error("the version was not pulled", error, self._objects.folder) from error

    def _get_all(self, version: DatasetVersion) -> None:
        manifests = [version.stored, *([Digest(version.quarantine)] if version.quarantine else ())]
        self._get(manifests)
        named = list(named_by(self._objects.get(manifests[0]), self._page))
        self._put_pages()
        for quarantine in manifests[1:]:
            named += files_of(self._objects.get(quarantine))
        self._get([*named, *([Digest(version.statistics)] if version.statistics else ())])

    def _page(self, digest: Digest) -> bytes:
        """A page of the manifest, fetched with those behind it: they were sent together."""
        raw = bytes.fromhex(digest)
        if raw in self._ahead:
            self._pages.append(self._ahead[raw])
            return self._ahead[raw]
        if not self._objects.pin([digest]):
            return self._objects.get(digest)
        found = self._stock.find(raw)
        if found is None or found.entry.kind != PIECE:
            self._get([digest])
            return self._objects.get(digest)
        self._put_pages()
        self._ahead = self._stock.ahead(raw, AHEAD_BYTES)
        self._pages.append(self._ahead[raw])
        return self._ahead[raw]

    def _put_pages(self) -> None:
        self._objects.put_many(self._pages)
        self._pages.clear()

    def _get(self, digests: Iterable[Digest]) -> None:
        """Get those of these objects that are not here."""
        lacking = [bytes.fromhex(digest) for digest in self._objects.pin(dict.fromkeys(digests))]
        lists = self._stock.lists(lacking)
        chunks: dict[Digest, None] = {}
        whole: list[bytes] = []
        for raw in lacking:
            found = self._stock.find(raw)
            if found is None or found.entry.kind == PIECE:
                continue
            if raw not in lists:
                raise Corrupt(
                    f"the list of the parts of object {raw.hex()} is damaged on the remote",
                    where=f"{self._place.url}: bundles/{found.bundle}",
                    remedy=f"remove bundles/{found.bundle} there, then push the version again",
                )
            if found.entry.kind == CHUNKS:
                chunks.update((Digest(part.hex()), None) for part, _ in lists[raw])
            else:
                whole.append(raw)
        self._get_pieces([raw for raw in lacking if raw not in lists], self._put_small)
        self._get_pieces(map(bytes.fromhex, self._objects.pin(chunks)), self._objects.put_chunks)
        for raw, parts in lists.items():
            if raw not in whole:
                try:
                    self._objects.put_parts(Digest(raw.hex()), [Digest(part.hex()) for part, _ in parts])
                except Corrupt:
                    raise self._not_the(Digest(raw.hex())) from None
        for raw in whole:
            self._get_whole(Digest(raw.hex()), lists[raw])

    def _get_pieces(self, digests: Iterable[bytes], put: Callable[[list[bytes]], object]) -> None:
        for batch in self._stock.payloads(digests):
            put([payload for _, payload in batch])
            failpoint(_STORED)
            self._count(sum(len(payload) for _, payload in batch))

    def _put_small(self, payloads: list[bytes]) -> None:
        self._objects.put_many(payloads)

    def _get_whole(self, digest: Digest, parts: Sequence[tuple[bytes, int]]) -> None:
        """A large object, piece by piece into a file that goes on where an earlier pull broke off."""
        path = self._catalog.scratch / "pull" / f"{digest}.part"
        files = LocalFiles()
        files.mkdirs(path.parent)
        with files.append(path) as file:
            fcntl.flock(file.descriptor, fcntl.LOCK_EX)
            if self._objects.has(digest):  # another process got it while we waited: the file is in its place now
                return
            done, size = _sound(path, parts)
            file.truncate(size)
            for piece in in_order(self._stock.piece, [part for part, _ in parts[done:]]):
                file.write(piece)
                failpoint(_PART)
                self._count(len(piece))
            self._take(digest, path)

    def _take(self, digest: Digest, path: Path) -> None:
        try:
            self._objects.take(digest, path)
        except Corrupt:
            LocalFiles().discard(path)
            raise self._not_the(digest) from None

    def _not_the(self, digest: Digest) -> Corrupt:
        return Corrupt(
            f"object {digest} is damaged on the remote: its parts are sound, together they are another object",
            where=self._place.url,
            remedy="pull from another remote, and look who can write there",
        )

    def _count(self, size: int) -> None:
        self._got_bytes += size
        self._tell(f"{self._label}: {self._got_bytes >> 20} MiB")

    def _commit(self, version: DatasetVersion, parent: int | None) -> DatasetVersion:
        return self._catalog.datasets.commit(
            name=version.name,
            logical=version.logical,
            manifest=version.stored,
            rows=version.rows,
            schema=version.schema,
            kind=version.kind,
            files=version.files,
            size_bytes=version.size_bytes,
            parent=parent,
            violations=version.violations,
            changes=version.changes,
            source={"kind": "remote", "url": self._place.url, "run": version.run_id, "of": version.source},
            note=version.note,
            quarantine=version.quarantine,
            statistics=version.statistics,
            number=version.version,
        )


def _sweep(folder: Path) -> None:
    """Remove unfinished files that no pull has gone on with for long."""
    for path in folder.glob("*.part"):
        if time.time() - path.stat().st_mtime > UNFINISHED_S:
            LocalFiles().remove(path)


def _opened(url: str) -> Place:
    place = Place(url)
    marker = place.get(MARKER, limit=RECORD_BYTES)
    if marker is None:
        raise NotFound("nothing was ever pushed here", where=url, remedy="mend the address, or push to it first")
    opened(marker, Marker, f"{url}: {MARKER}")
    return place


def _records(place: Place, below: str, kind: type[T], damaged: list[Corrupt]) -> list[T]:
    """The sound records below a prefix; `damaged` gets an error for each of the others."""
    names = [name for name, _ in place.list(below)]
    found: list[T] = []
    for name, data in in_order(lambda name: (name, place.get(name, limit=RECORD_BYTES)), names):
        if data is None:
            continue
        try:
            record = opened(data, kind, f"{place.url}: {name}")
            if path_of(record) != name:
                raise Corrupt("a record on the remote is not the one that its name says", where=f"{place.url}: {name}")
            found.append(record)
        except Corrupt as error:
            damaged.append(error)
    return found


def _chosen(found: list[Reference], tags: list[Pointer], name: str, which: int | str, url: str) -> list[Reference]:
    """The one version that is meant, if it is there.

    Raises:
        Conflict: Several have this number.
    """
    if which == "latest":
        return [max(found, key=lambda one: (one.version.version, one.version.at))] if found else []
    if isinstance(which, int):
        some = [one for one in found if one.version.version == which]
    else:
        meant = {tag.logical for tag in tags if tag.tag == which} or {which}
        some = [one for one in found if one.version.logical in meant or one.version.logical.startswith(which)]
    if len(some) > 1:
        raise Conflict(
            f"{len(some)} versions of {name} were pushed as {which}, from different workspaces",
            where=url,
            remedy="name one by its digest: " + ", ".join(f"{name}@{one.version.logical[:16]}" for one in some),
        )
    return some


def _sound(path: Path, parts: Sequence[tuple[bytes, int]]) -> tuple[int, int]:
    """How many pieces, and bytes, an unfinished file holds."""
    done = size = 0
    with open(path, "rb") as file:
        for raw, length in parts:
            if blake3(file.read(length)).digest() != raw:
                break
            done, size = done + 1, size + length
    return done, size


def _tag(catalog: Catalog, pointer: Pointer, target: DatasetVersion) -> None:
    """Let the tag point where it points on the remote, unless it was moved here since."""
    here = {tag.tag: tag for tag in catalog.datasets.tags(name=pointer.name)}.get(pointer.tag)
    if here is None or (here.version != target.version and here.at < pointer.at):
        catalog.datasets.tag(name=pointer.name, tag=pointer.tag, version=target.version)


def _take_schema(catalog: Catalog, name: str, accepted: list[Accepted]) -> None:
    """Propose the newest schema that was accepted elsewhere, once; as the first one here it is accepted."""
    if not accepted:
        return
    schema = max(accepted, key=lambda one: one.at).schema
    if not any(known.schema == schema for known in catalog.schemas.list(name=name)):
        catalog.schemas.propose(name=name, schema=schema)
