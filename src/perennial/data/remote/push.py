"""Send dataset versions to a remote: what it lacks, in bundles, and last the record that makes a version visible.

Killed or cut off anywhere, nothing half is visible there, and the next push goes on with what is missing. Two pushes at
the same time do no harm: bytes are named by their content, and a record is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from blake3 import blake3
from msgspec import Struct

from perennial.data.datasets import DatasetVersion
from perennial.data.manifest import files_of, named_by
from perennial.data.remote.layout import (
    CHUNKS,
    MARKER,
    PIECE,
    WHOLE,
    Accepted,
    Entry,
    Marker,
    Pointer,
    Reference,
    opened,
    parts_payload,
    reference_path,
    schema_path,
    sealed,
    tag_path,
)
from perennial.data.remote.place import Place
from perennial.data.remote.stock import PARALLEL, Stock
from perennial.errors import Conflict, Corrupt
from perennial.store.failpoints import failpoint, register
from perennial.store.hashing import new_hasher
from perennial.types import Digest

if TYPE_CHECKING:
    from perennial.data.catalog import Catalog
    from perennial.store.objects import ObjectStore

__all__ = ["PIECE_BYTES", "Pushed", "push"]

PIECE_BYTES = 4 << 20  # what lies whole here and is larger travels in pieces of this size
BUNDLE_BYTES = 8 << 20  # a bundle is sent when it has as much
RECORD_BYTES = 64 << 20

_MARKED = register("push.marked", "the remote is marked as ours, nothing else is there")
_BUNDLE = register("push.bundle", "a bundle is there, without its index")
_INDEX = register("push.index", "a bundle is there with its index")
_OBJECTS = register("push.objects", "all objects are there, no version names them")
_VERSION = register("push.version", "a version is visible, its tags and schema are not sent")
_REACHED = {"bundle": _BUNDLE, "index": _INDEX}


class Pushed(Struct, frozen=True, kw_only=True):
    """What a push sent, or would send.

    Attributes:
        objects: Files, manifests and the like that the remote lacked.
        bytes: Of them that were sent: an object of which parts were there counts with the others.
        skipped: Objects that were there already.
        versions: Of datasets that the remote did not know.
    """

    objects: int
    bytes: int
    skipped: int
    versions: int


def push(
    catalog: Catalog,
    versions: Sequence[DatasetVersion],
    url: str,
    *,
    tell: Callable[[str], None] = lambda _: None,
    dry_run: bool = False,
) -> Pushed:
    """Make versions, their tags and the accepted schemas of their datasets available at a remote.

    Args:
        catalog: Where they are.
        versions: Accepted ones, not removed.
        url: Of the remote.
        tell: Is told how far it is.
        dry_run: Look, and send nothing.

    Raises:
        Conflict: A version is a draft, or something else lies at the remote.
        NotFound: A version was removed, an object is missing here, or there is no such bucket.
        Corrupt: An object is damaged here; it was not sent.
        Forbidden, Unavailable, StoreError, ConfigError: As for `Place`.
    """
    for version in versions:
        if version.state != "accepted":
            label = f"{version.name}@{version.version}"
            raise Conflict(f"{label} is a draft", remedy=f"accept it first: perennial data accept {label}")
    place = Place(url, make=not dry_run)
    is_new = not _is_marked(place)
    if is_new and not dry_run:
        place.put(MARKER, sealed(Marker()), once=True)
        failpoint(_MARKED)
    stock = Stock(place, catalog.scratch / "remote")
    known: set[str] = set()
    if not is_new:
        tell("looking what is there")
        stock.look()
        known = {name for name, _ in place.list("datasets")}
    with _Sending(catalog.objects, stock, tell, dry_run=dry_run) as sending:
        needs = {version.logical: _needs(version, catalog.objects) for version in versions}
        sending.send(dict.fromkeys(digest for need in needs.values() for digest in need))
        if not dry_run:
            failpoint(_OBJECTS)
            for version in versions:
                place.put(
                    reference_path(version.name, version.logical),
                    sealed(_reference(catalog, version, sending.bundles(needs[version.logical]))),
                    once=True,
                )
                failpoint(_VERSION)
            _send_names(catalog, versions, place)
    new = {reference_path(version.name, version.logical) for version in versions} - known
    return Pushed(objects=sending.objects, bytes=sending.sent_bytes, skipped=sending.skipped, versions=len(new))


class _Sending:
    """Bundles on their way. One thread reads and fills them, others send; what is sent is learned by `stock`."""

    def __init__(self, objects: ObjectStore, stock: Stock, tell: Callable[[str], None], *, dry_run: bool) -> None:
        self._objects = objects
        self._stock = stock
        self._tell = tell
        self._dry_run = dry_run
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="push")
        self._on_the_way: set[Future[tuple[str, list[Entry]]]] = set()
        self._entries: list[Entry] = []  # of the bundle that is being filled
        self._filled = bytearray()
        self._queued: set[bytes] = set()
        self._parts: dict[bytes, list[tuple[bytes, int]]] = {}
        self._total_bytes = 0
        self._passed_bytes = 0
        self.objects = 0
        self.sent_bytes = 0
        self.skipped = 0

    def __enter__(self) -> _Sending:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def send(self, digests: Iterable[Digest]) -> None:
        """Send what is lacking of these objects: first their bytes, then, when all have arrived, the lists."""
        wanted = {bytes.fromhex(digest): digest for digest in digests}
        self._parts = self._stock.lists(wanted)
        there = {raw for raw in wanted if self._is_there(raw)}
        lacking = [digest for raw, digest in wanted.items() if raw not in there]
        self.objects, self.skipped = len(lacking), len(there)
        self._total_bytes = sum(map(self._objects.size, lacking))
        lists = [made for digest in lacking if (made := self._send_object(digest)) is not None]
        self._arrived()
        for kind, raw, parts in lists:
            self._parts[raw] = parts
            self._add(kind, raw, parts_payload(parts))
        self._arrived()

    def bundles(self, digests: Iterable[Digest]) -> list[str]:
        """Where these objects lie, with their parts."""
        named = [bytes.fromhex(digest) for digest in digests]
        named += [part for raw in named for part, _ in self._parts.get(raw, ())]
        return sorted({found.bundle for raw in named if (found := self._stock.find(raw)) is not None})

    def _is_there(self, raw: bytes) -> bool:
        found = self._stock.find(raw)
        if found is None or found.entry.kind == PIECE:
            return found is not None
        return raw in self._parts and all(self._stock.find(part) is not None for part, _ in self._parts[raw])

    def _send_object(self, digest: Digest) -> tuple[bytes, bytes, list[tuple[bytes, int]]] | None:
        """Send an object's bytes; the list to send after them, if it travels in parts."""
        raw = bytes.fromhex(digest)
        if chunks := self._objects.parts(digest):
            parts = [(bytes.fromhex(chunk), length) for chunk, length in chunks]
            for chunk, (part, length) in zip(chunks, parts, strict=True):
                if self._lacks(part):
                    self._add(PIECE, part, self._objects.get(chunk[0]))
                self._pass(length)
            return CHUNKS, raw, parts
        if (size := self._objects.size(digest)) > PIECE_BYTES:
            parts = []
            for piece in self._cut(digest):
                part = blake3(piece).digest()
                parts.append((part, len(piece)))
                if self._lacks(part):
                    self._add(PIECE, part, piece)
                self._pass(len(piece))
            return WHOLE, raw, parts
        if self._lacks(raw):
            self._add(PIECE, raw, self._objects.get(digest))
        self._pass(size)
        return None

    def _cut(self, digest: Digest) -> Iterator[bytes]:
        """A large whole object in pieces; raises behind the last one when it is damaged."""
        path = self._objects.open_path(digest)
        hasher = new_hasher()
        if path is None:
            data = self._objects.get(digest)
            yield from (data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))
            return
        with open(path, "rb") as file:
            while piece := file.read(PIECE_BYTES):
                hasher.update(piece)
                yield piece
        if hasher.hexdigest() != digest:
            remedy = "see all damage with: perennial verify"
            raise Corrupt(f"object {digest} is damaged here; it was not pushed", where=str(path), remedy=remedy)

    def _lacks(self, raw: bytes) -> bool:
        return self._stock.find(raw) is None and raw not in self._queued

    def _add(self, kind: bytes, raw: bytes, payload: bytes) -> None:
        self._queued.add(raw)
        self.sent_bytes += len(payload)
        if self._dry_run:
            return
        self._entries.append(Entry(kind, raw, len(self._filled), len(payload)))
        self._filled += payload
        if len(self._filled) >= BUNDLE_BYTES:
            self._depart()

    def _pass(self, size: int) -> None:
        self._passed_bytes += size
        self._tell(f"pushing: {self._passed_bytes >> 20} of {self._total_bytes >> 20} MiB, {self.objects} objects")

    def _depart(self) -> None:
        """Send the bundle that is filled now, when there is room for one more on the way."""
        while len(self._on_the_way) >= PARALLEL:
            self._await(FIRST_COMPLETED)
        if self._entries:
            entries, filled, self._entries, self._filled = self._entries, self._filled, [], bytearray()
            self._on_the_way.add(self._pool.submit(self._send, entries, filled))

    def _send(self, entries: list[Entry], filled: bytearray) -> tuple[str, list[Entry]]:
        return self._stock.add(entries, filled, lambda what: failpoint(_REACHED[what])), entries

    def _arrived(self) -> None:
        """Return when all that was added is there."""
        self._depart()
        while self._on_the_way:
            self._await(FIRST_COMPLETED)

    def _await(self, when: str) -> None:
        done, self._on_the_way = wait(self._on_the_way, return_when=when)
        for future in done:
            self._stock.learn(*future.result())


def _is_marked(place: Place) -> bool:
    """Whether this remote is in use already.

    Raises:
        Conflict: Something else lies there.
        ConfigError: A newer program uses it.
    """
    marker = place.get(MARKER, limit=RECORD_BYTES)
    other = next(place.list(""), None) if marker is None else None
    if other is not None and other[0].startswith(MARKER):  # somebody else has marked it between our two looks
        marker = place.get(MARKER, limit=RECORD_BYTES)
    if marker is not None:
        opened(marker, Marker, f"{place.url}: {MARKER}")
        return True
    if other is not None:
        raise Conflict(
            f"this is no remote of ours: it holds {other[0]!r}",
            where=place.url,
            remedy="name an empty folder, or a prefix of its own in the bucket",
        )
    return False


def _needs(version: DatasetVersion, objects: ObjectStore) -> list[Digest]:
    """Every object of a version, manifests first: they are read together when it is pulled."""
    manifests: list[Digest] = [version.stored]

    def page(digest: Digest) -> bytes:
        manifests.append(digest)
        return objects.get(digest)

    named = list(named_by(objects.get(version.stored), page))
    if version.quarantine is not None:
        manifests.append(Digest(version.quarantine))
        named += files_of(objects.get(Digest(version.quarantine)))
    if version.statistics is not None:
        named.append(Digest(version.statistics))
    return list(dict.fromkeys((*manifests, *named)))


def _reference(catalog: Catalog, version: DatasetVersion, bundles: list[str]) -> Reference:
    parent = None
    if version.parent is not None:
        parent = catalog.datasets.get(name=version.name, version=version.parent).logical
    return Reference(version=version, parent=parent, bundles=bundles)


def _send_names(catalog: Catalog, versions: Sequence[DatasetVersion], place: Place) -> None:
    """Send the tags of these versions, unless the remote has newer ones, and the accepted schemas of their datasets."""
    logical = {(version.name, version.version): version.logical for version in versions}
    for name in dict.fromkeys(version.name for version in versions):
        for tag in catalog.datasets.tags(name=name):
            if (name, tag.version) not in logical:
                continue
            path = tag_path(name, tag.tag)
            there = place.get(path, limit=RECORD_BYTES)
            if there is None or opened(there, Pointer, f"{place.url}: {path}").at < tag.at:
                sent = Pointer(name=name, tag=tag.tag, logical=logical[name, tag.version], at=tag.at, by=tag.by)
                place.put(path, sealed(sent))
        schema = catalog.schemas.get(name=name)
        if schema is not None:
            by, at = schema.decided_by or schema.by, schema.decided_at or schema.at
            accepted = Accepted(name=name, schema=schema.schema, at=at, by=by)
            place.put(schema_path(name, schema.schema), sealed(accepted), once=True)
