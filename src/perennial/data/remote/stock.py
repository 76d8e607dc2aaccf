"""What lies in the bundles of a remote, and how it is fetched: many payloads with one request, each one hashed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from blake3 import blake3
from msgspec import Struct

from perennial.data.remote.layout import (
    PIECE,
    Entry,
    bundle_path,
    index_path,
    parts_of,
    read_index,
    write_index,
)
from perennial.data.remote.place import Place
from perennial.errors import Corrupt, NotFound
from perennial.store.files import LocalFiles, store_error
from perennial.store.hashing import digest_of

__all__ = ["PARALLEL", "Found", "Stock", "in_order"]

PARALLEL = 8  # requests at once; each holds a bundle in memory
SPAN_BYTES = 8 << 20  # fetched with one request, at most
GAP_BYTES = 256 << 10  # what is fetched for nothing is cheaper than another request
INDEX_BYTES = 256 << 20
RETURNS = 2  # how often a damaged answer is asked for again

A = TypeVar("A")
B = TypeVar("B")


class Found(Struct, frozen=True, gc=False):
    """Where a payload lies."""

    bundle: str
    entry: Entry


class Stock:
    """The payloads on a remote by digest. `learn` and `look` are for one thread; the rest may be called from many.

    Indexes never change, so that they are kept in a folder of this machine and fetched once.
    """

    def __init__(self, place: Place, cache: Path) -> None:
        self._place = place
        self._cache = cache
        self._found: dict[bytes, Found] = {}
        self._read: set[str] = set()
        self.unreadable: set[str] = set()  # paths of indexes that are missing or damaged

    def look(self) -> None:
        """Learn of every bundle that is there whole."""
        # The indexes first: a bundle is there before its index.
        indexes = {name.rpartition("/")[2]: size for name, size in self._place.list("index")}
        sizes = {name.rpartition("/")[2]: size for name, size in self._place.list("bundles")}
        self._found.clear()
        self._read.clear()
        for bundle, entries in self._all_entries(bundle for bundle in indexes if bundle in sizes):
            if indexes[bundle] != len(write_index(entries)):
                self.unreadable.add(index_path(bundle))
            elif sizes[bundle] == sum(entry.length for entry in entries):
                self.learn(bundle, entries)

    def look_at(self, bundles: Iterable[str]) -> None:
        """Learn of these bundles, if they are there."""
        for bundle, entries in self._all_entries(bundle for bundle in bundles if bundle not in self._read):
            self.learn(bundle, entries)

    def learn(self, bundle: str, entries: Iterable[Entry]) -> None:
        self._read.add(bundle)
        for entry in entries:
            self._found.setdefault(entry.digest, Found(bundle, entry))

    def find(self, digest: bytes) -> Found | None:
        return self._found.get(digest)

    def lists(self, digests: Iterable[bytes]) -> dict[bytes, list[tuple[bytes, int]]]:
        """The parts of objects that lie as lists; without those that lie otherwise, or whose list is damaged."""
        known = (found for digest in digests if (found := self.find(digest)) is not None and found.entry.kind != PIECE)
        fetched = ((found, parts_of(payload)) for batch in self._fetch(known, must=False) for found, payload in batch)
        return {found.entry.digest: parts for found, parts in fetched if parts is not None}

    def payloads(self, digests: Iterable[bytes]) -> Iterator[list[tuple[bytes, bytes]]]:
        """Digest and bytes of pieces, in batches, each hashed; in no order.

        Raises:
            NotFound: The remote lacks one.
            Corrupt: The remote holds other bytes.
        """
        for batch in self._fetch((self._must(digest) for digest in digests), must=True):
            yield [(found.entry.digest, payload) for found, payload in batch]

    def piece(self, digest: bytes) -> bytes:
        """One piece; raises as `payloads`."""
        return self._fetch_span([self._must(digest)], must=True)[0][1]

    def ahead(self, digest: bytes, most: int) -> dict[bytes, bytes]:
        """A piece and its neighbours behind it in the same bundle, up to so many bytes together."""
        found = self._must(digest)
        end = found.entry.offset + max(most, found.entry.length)
        near = (
            Found(found.bundle, entry)
            for entry in self._entries(found.bundle)
            if entry.kind == PIECE and found.entry.offset <= entry.offset and entry.offset + entry.length <= end
        )
        fetched = {one.entry.digest: payload for batch in self._fetch(near, must=False) for one, payload in batch}
        return fetched if digest in fetched else {digest: self.piece(digest)}

    def add(self, entries: Iterable[Entry], payload: bytearray, reached: Callable[[str], None]) -> str:
        """Send a bundle, then its index; `reached` is told of both. Gives the bundle's name."""
        data = write_index(entries)
        bundle = digest_of(data)
        self._place.put(bundle_path(bundle), payload)
        reached("bundle")
        self._place.put(index_path(bundle), data)
        reached("index")
        return bundle

    def _all_entries(self, bundles: Iterable[str]) -> Iterator[tuple[str, list[Entry]]]:
        return in_order(lambda bundle: (bundle, self._entries(bundle)), bundles)

    def _entries(self, bundle: str) -> list[Entry]:
        """What is in a bundle; nothing when its index is missing or damaged, so that the next push sends it anew."""
        kept = self._cache / bundle
        try:
            return read_index(kept.read_bytes(), bundle)
        except (FileNotFoundError, Corrupt):
            data = self._place.get(index_path(bundle), limit=INDEX_BYTES)
        try:
            entries = read_index(data or b"", bundle)
        except Corrupt:
            self.unreadable.add(index_path(bundle))
            return []
        try:
            LocalFiles().mkdirs(self._cache)
            LocalFiles().write_atomic(kept, data or b"")
        except OSError as error:
            raise store_error("the index of a remote was not kept", error, kept) from error
        return entries

    def _must(self, digest: bytes) -> Found:
        found = self.find(digest)
        if found is None:
            raise self._lacks(digest)
        return found

    def _lacks(self, digest: bytes) -> NotFound:
        first = f"remove {' and '.join(sorted(self.unreadable))} there, then " if self.unreadable else ""
        return NotFound(
            f"the remote lacks object {digest.hex()}",
            where=self._place.url,
            remedy=f"{first}push the version again from a workspace that holds it",
        )

    def _fetch(self, wanted: Iterable[Found], *, must: bool) -> Iterator[list[tuple[Found, bytes]]]:
        """Payloads by span, several spans at once. `must`: one that cannot be had is an error, else it is left out."""
        ordered = sorted(set(wanted), key=lambda found: (found.bundle, found.entry.offset))
        return in_order(lambda span: self._fetch_span(span, must), _spans(ordered))

    def _fetch_span(self, span: list[Found], must: bool) -> list[tuple[Found, bytes]]:
        start, last = span[0].entry.offset, span[-1].entry
        length = last.offset + last.length - start
        path = bundle_path(span[0].bundle)
        sound: list[tuple[Found, bytes]] = []
        for _ in range(RETURNS + 1):
            data = self._place.get_range(path, start, length) if length else b""
            if data is None:
                if must:
                    raise self._lacks(span[0].entry.digest)
                return []
            at = [(one, one.entry.offset - start) for one in span]
            cut = [(one, data[begin : begin + one.entry.length]) for one, begin in at]
            sound = [(one, payload) for one, payload in cut if _is_sound(one.entry, payload)]
            if len(sound) == len(span):
                return sound
        if must:
            good = {one.entry.digest for one, _ in sound}
            bad = next(one for one in span if one.entry.digest not in good)
            raise Corrupt(
                f"object {bad.entry.digest.hex()} is damaged on the remote: its bytes are not what was sent",
                where=f"{self._place.url}: {path}",
                remedy=f"remove {path} there, then push the version again from a workspace that holds it",
            )
        return sound


def _is_sound(entry: Entry, payload: bytes) -> bool:
    if entry.kind != PIECE:
        return len(payload) == entry.length and parts_of(payload) is not None
    return blake3(payload).digest() == entry.digest


def _spans(ordered: list[Found]) -> Iterator[list[Found]]:
    span: list[Found] = []
    for found in ordered:
        if span:
            end = span[-1].entry.offset + span[-1].entry.length
            gap = found.entry.offset - end
            size = found.entry.offset + found.entry.length - span[0].entry.offset
            if found.bundle != span[0].bundle or gap > GAP_BYTES or size > SPAN_BYTES:
                yield span
                span = []
        span.append(found)
    if span:
        yield span


def in_order(work: Callable[[A], B], items: Iterable[A], parallel: int = PARALLEL) -> Iterator[B]:
    """The results of work on items, in their order; some items ahead are worked on at the same time, never all."""
    with ThreadPoolExecutor(parallel, thread_name_prefix="remote") as pool:
        ahead: deque[Future[B]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) >= parallel:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
