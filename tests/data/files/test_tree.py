"""The manifest of a folder: the same files give the same bytes, and a small change costs little."""

from __future__ import annotations

import random
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.data.files.kinds import EXECUTABLE, FILE, FOLDER, LINK
from perennial.data.files.tree import (
    MOST,
    Entry,
    changes,
    digests_of,
    entries_of,
    read_tree,
    write_tree,
)
from perennial.errors import Corrupt
from perennial.store.hashing import digest_of
from perennial.store.objects import ObjectStore
from perennial.types import Digest


class Memory:
    """Objects in memory that count what is put."""

    def __init__(self) -> None:
        self.objects: dict[Digest, bytes] = {}
        self.read: list[Digest] = []

    def put_many(self, many: Iterable[bytes]) -> list[Digest]:
        made = {digest_of(data): data for data in many}
        self.objects |= made
        return list(made)

    def get(self, digest: Digest) -> bytes:
        self.read.append(digest)
        return self.objects[digest]


def entry(path: bytes, content: bytes = b"") -> Entry:
    return Entry(path, FILE, 4096, sha256(path + content).digest())


def many(count: int) -> list[Entry]:
    return [entry(b"images/%02d/%06d.png" % (index % 50, index)) for index in range(count)]


def by_path(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda found: found.path)


paths = st.binary(min_size=1, max_size=255).filter(lambda path: b"\0" not in path)


@given(st.sets(paths, max_size=300), st.randoms())
def test_a_tree_gives_back_its_entries_whatever_their_names_are(names: set[bytes], shuffle: random.Random) -> None:
    kinds = (FILE, EXECUTABLE, LINK, FOLDER)
    entries = by_path(Entry(name, shuffle.choice(kinds), 7, b"x" * 32) for name in names)
    memory = Memory()
    stored = write_tree(entries, memory.put_many)
    assert list(entries_of(read_tree(memory.objects[stored.manifest]), memory.get)) == entries
    assert stored.tree.size == 7 * len(entries)


def test_one_change_among_100_000_files_stores_one_page_and_the_root() -> None:
    memory = Memory()
    entries = by_path(many(100_000))
    write_tree(entries, memory.put_many)
    before = set(memory.objects)
    entries[31_415] = entry(entries[31_415].path, b"edited")
    write_tree(entries, memory.put_many)
    new = set(memory.objects) - before
    assert len(new) == 2
    assert sum(len(memory.objects[digest]) for digest in new) < 250_000


def test_what_came_before_leaves_no_trace_in_the_root() -> None:
    memory, draw = Memory(), random.Random(7)
    entries = many(5_000)
    for _ in range(3):
        part = draw.sample(entries, 4_000)
        write_tree(by_path(part), memory.put_many)
    again, other = write_tree(by_path(entries), memory.put_many), write_tree(by_path(many(5_000)), Memory().put_many)
    assert (again.manifest, again.logical) == (other.manifest, other.logical)


def test_an_entry_more_shifts_no_other_page() -> None:
    memory = Memory()
    write_tree(by_path(many(20_000)), memory.put_many)
    before = len(memory.objects)
    write_tree(by_path([*many(20_000), entry(b"images/00/000000.jpg")]), memory.put_many)
    assert len(memory.objects) - before <= 4  # the page grows, or parts into two; then the old cuts come again


def test_a_comparison_reads_only_pages_that_differ() -> None:
    memory = Memory()
    entries = by_path(many(20_000))
    first = write_tree(entries, memory.put_many)
    edited, gone, new = entry(entries[500].path, b"edited"), entries[501], entry(entries[502].path + b"x")
    later = by_path([*entries[:500], edited, *entries[502:], new])
    second = write_tree(later, memory.put_many)
    memory.read.clear()
    told = [(change.path, change.before, change.after) for change in changes(first.tree, second.tree, memory.get)]
    assert told == [
        (edited.path, entries[500], edited),
        (gone.path, gone, None),
        (new.path, None, new),
    ]
    assert len(memory.read) <= 4 < len(first.tree.pages)


def test_no_page_is_larger_than_its_limit_even_for_names_that_never_cut() -> None:
    from zlib import crc32

    names = [name for name in (b"%08d" % index for index in range(20_000)) if crc32(name) & 511]
    stored = write_tree([entry(name) for name in names], Memory().put_many)
    assert max(page.entries for page in stored.tree.pages) == MOST


def test_every_object_of_a_tree_is_named(tmp_path: Path) -> None:
    objects = ObjectStore(tmp_path)
    entries = [*by_path(many(2_000)), Entry(b"link", LINK, 0, b"images"), Entry(b"void", FOLDER, 0, b"")]
    stored = write_tree(entries, objects.put_many)
    named = set(digests_of(objects.get(stored.manifest), objects.get))
    files = {found.digest for found in entries if found.digest is not None}
    pages = {Digest(page.digest.hex()) for page in stored.tree.pages}
    assert named == files | pages
    assert all(objects.has(page) for page in pages)


def test_an_empty_folder_is_a_tree() -> None:
    memory = Memory()
    stored = write_tree([], memory.put_many)
    assert list(entries_of(read_tree(memory.objects[stored.manifest]), memory.get)) == []
    assert stored.tree.files == 0


def test_a_file_and_a_folder_with_that_file_are_two_things() -> None:
    one, memory = [entry(b"a.csv")], Memory()
    assert write_tree(one, memory.put_many, is_file=True).logical != write_tree(one, memory.put_many).logical


@pytest.mark.parametrize("damage", [b"", b"{}", b"\x93\x01\x02\x03", b"\x95\xb0perennial tree 9\xc2\x00\x00\x90"])
def test_foreign_bytes_are_no_tree(damage: bytes) -> None:
    with pytest.raises(Corrupt):
        read_tree(damage)


def test_a_page_that_belongs_elsewhere_is_refused() -> None:
    memory = Memory()
    stored = write_tree(by_path(many(3_000)), memory.put_many)
    first, second = (Digest(page.digest.hex()) for page in stored.tree.pages[:2])
    memory.objects[first] = memory.objects[second]
    with pytest.raises(Corrupt, match="not the one"):
        list(entries_of(stored.tree, memory.get))
