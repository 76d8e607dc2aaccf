"""How a version of a file or folder is written down: entries sorted by path, in pages, under one root.

A page ends where the checksum of a path says so, therefore a change rewrites the page that it falls into, and the root;
the other pages stay the objects that they are. The same entries give the same bytes, whatever came before. The format
is told in docs/decisions/0013.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import msgspec
from msgspec import Struct

from perennial.data.files.kinds import EXECUTABLE, FILE, FOLDER
from perennial.errors import Corrupt
from perennial.store.decoding import ready
from perennial.store.hashing import digest_of
from perennial.types import Digest

__all__ = [
    "Change",
    "Entry",
    "Get",
    "Page",
    "Stored",
    "Tree",
    "changes",
    "digests_of",
    "entries_of",
    "read_tree",
    "write_tree",
]

LEAST, MOST = 128, 4096  # entries of a page, at least and at most
CUT = 511  # a page ends behind a path whose checksum has none of these bits: after 512 entries on average

Get = Callable[[Digest], bytes]


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """One file, symbolic link or empty folder. `content`: the raw digest of a file, the target of a link."""

    path: bytes
    kind: int
    size: int
    content: bytes

    @property
    def digest(self) -> Digest | None:
        """The object that holds a file's bytes."""
        return Digest(self.content.hex()) if self.kind in (FILE, EXECUTABLE) else None


class Page(Struct, frozen=True, array_like=True, gc=False):
    """Where a run of entries lies: the first path, how many, their bytes together, and the raw digest of the page."""

    first: bytes
    entries: int
    size: int
    digest: bytes


class Tree(Struct, frozen=True, array_like=True):
    """The root. `is_file`: one file was added, whose name is the path of the one entry; else a folder."""

    format: str
    is_file: bool
    files: int
    size: int
    pages: list[Page]


@dataclass(frozen=True)
class Stored:
    """A tree in the object store: the digest of its root, the identity of its content, and the root."""

    manifest: Digest
    logical: Digest
    tree: Tree


@dataclass(frozen=True)
class Change:
    """What became of one path: `before` is None when it is new, `after` when it is gone."""

    path: bytes
    before: Entry | None
    after: Entry | None


FORMAT = "perennial tree 1"
_pages = msgspec.msgpack.Decoder(ready(list[Entry]))
_tree = msgspec.msgpack.Decoder(ready(Tree))
_encode = msgspec.msgpack.Encoder().encode


def write_tree(
    entries: Sequence[Entry], put_many: Callable[[Iterable[bytes]], list[Digest]], *, is_file: bool = False
) -> Stored:
    """Store entries, which are sorted by path; pages that are stored already cost nothing."""
    cuts = list(_cut(entries))
    payloads = [_encode(cut) for cut in cuts]
    pages = [
        Page(cut[0].path, len(cut), sum(entry.size for entry in cut), bytes.fromhex(digest_of(payload)))
        for cut, payload in zip(cuts, payloads, strict=True)
    ]
    files = sum(entry.kind != FOLDER for entry in entries)
    tree = Tree(FORMAT, is_file, files, sum(page.size for page in pages), pages)
    root = _encode(tree)
    manifest = put_many([*payloads, root])[-1]
    return Stored(manifest, digest_of(b"files\n" + root), tree)


def read_tree(root: bytes) -> Tree:
    """The tree of a root's bytes.

    Raises:
        Corrupt: These are not the bytes of a root.
    """
    try:
        tree = _tree.decode(root)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"this is not the manifest of a folder: {error}") from error
    if tree.format != FORMAT:
        raise Corrupt(f"this is a manifest of format {tree.format[:40]!r}", remedy="use a newer version of perennial")
    return tree


def entries_of(tree: Tree, get: Get) -> Iterator[Entry]:
    """All entries, in order.

    Raises:
        Corrupt: A page is not what the root says.
        NotFound: A page is missing.
    """
    last: bytes | None = None
    for page in tree.pages:
        for entry in _read_page(page, get):
            if last is not None and entry.path <= last:
                raise Corrupt("the manifest of a folder is not in order", where=repr(entry.path))
            last = entry.path
            yield entry


def digests_of(root: bytes, get: Get) -> Iterator[Digest]:
    """Every object that a tree names: its pages and the bytes of its files."""
    for page in read_tree(root).pages:
        yield Digest(page.digest.hex())
        yield from (entry.digest for entry in _read_page(page, get) if entry.digest is not None)


def changes(before: Tree | None, after: Tree, get: Get) -> Iterator[Change]:
    """What differs between two trees, by path; only pages that differ are read."""
    old, new = _apart(before, after, get), _apart(after, before, get)
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            yield Change(path, old.get(path), new.get(path))


def _apart(tree: Tree | None, other: Tree | None, get: Get) -> dict[bytes, Entry]:
    """The entries of the pages that the other tree has not."""
    if tree is None:
        return {}
    shared = {page.digest for page in other.pages} if other is not None else set[bytes]()
    pages = (page for page in tree.pages if page.digest not in shared)
    return {entry.path: entry for page in pages for entry in _read_page(page, get)}


def _cut(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    start = 0
    for index, entry in enumerate(entries, 1):
        length = index - start
        if length >= MOST or (length >= LEAST and not crc32(entry.path) & CUT):
            yield entries[start:index]
            start = index
    if start < len(entries):
        yield entries[start:]


def _read_page(page: Page, get: Get) -> list[Entry]:
    try:
        entries = _pages.decode(get(Digest(page.digest.hex())))
    except msgspec.MsgspecError as error:
        raise Corrupt(f"page {page.digest.hex()} of a folder's manifest cannot be read: {error}") from error
    if len(entries) != page.entries or not entries or entries[0].path != page.first:
        raise Corrupt(f"page {page.digest.hex()} of a folder's manifest is not the one that the root names")
    return entries
