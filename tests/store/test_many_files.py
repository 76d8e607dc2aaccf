"""Many files in and out at once: what is stored is what was there, and one bad file never hides the others."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from perennial.errors import Corrupt, DataError, NotFound, StoreError
from perennial.store.files import LocalFiles
from perennial.store.objects import SMALL_BYTES, Copy, ObjectStore, digest_of
from perennial.store.source import Unread, read_steadily
from perennial.store.verify import check_objects
from perennial.testing.crash import Acknowledge, run_in_child
from perennial.testing.faults import FailingCalls
from perennial.types import Digest

CHUNKED_BYTES = 4 * SMALL_BYTES
SIZES = (0, 1, 4096, SMALL_BYTES, SMALL_BYTES + 1, CHUNKED_BYTES - 1, CHUNKED_BYTES, 3 * CHUNKED_BYTES)


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[ObjectStore]:
    with open_store(tmp_path) as store:
        yield store


def open_store(folder: Path, files: LocalFiles | None = None) -> ObjectStore:
    return ObjectStore(folder / "objects", files=files, chunked_bytes=CHUNKED_BYTES)


def write_files(folder: Path, count: int = 40) -> dict[bytes, bytes]:
    """Files of every kind of size, with names that are no text among them."""
    folder.mkdir()
    made = random.Random(3)
    contents = [made.randbytes(SIZES[number % len(SIZES)]) for number in range(count)]
    names = [b"plain %d" % number if number % 3 else b"new\nline \xff %d" % number for number in range(count)]
    files = {os.fsencode(folder) + b"/" + name: data for name, data in zip(names, contents, strict=True)}
    for path, data in files.items():
        with open(path, "wb") as file:
            file.write(data)
    return files


def copies(files: dict[bytes, bytes], target: Path, mode: int = 0o666) -> list[Copy]:
    target.mkdir(exist_ok=True)
    top = os.fsencode(target) + b"/"
    return [Copy(digest_of(data), top + os.path.basename(path), mode) for path, data in files.items()]


def holds(items: list[Copy], files: dict[bytes, bytes]) -> bool:
    return all(content(item.path) == data for item, data in zip(items, files.values(), strict=True))


def content(path: bytes) -> bytes:
    return Path(os.fsdecode(path)).read_bytes()


def test_what_was_put_is_told_with_what_it_was_when_it_was_read(objects: ObjectStore, tmp_path: Path) -> None:
    files = write_files(tmp_path / "files")
    stored = list(objects.put_files(files))
    for one, (path, data) in zip(stored, files.items(), strict=True):
        told = os.stat(path)
        assert (one.path, one.digest, one.size) == (path, digest_of(data), len(data))
        assert (one.mtime_ns, one.ctime_ns, one.inode, one.mode) == (
            told.st_mtime_ns,
            told.st_ctime_ns,
            told.st_ino,
            told.st_mode,
        )
        assert objects.get(one.digest) == data
    assert list(check_objects(objects)) == []


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("link", [True, False])
def test_what_is_written_out_is_what_was_put(objects: ObjectStore, tmp_path: Path, is_new: bool, link: bool) -> None:
    files = write_files(tmp_path / "files")
    list(objects.put_files(files))
    items = copies(files, tmp_path / "out", 0o444 if link else 0o666)
    if not is_new:
        for item in items[::2]:
            with open(item.path, "wb") as file:
                file.write(b"in its place")
    objects.checkout_many(items, is_new=is_new, link=link)
    assert holds(items, files)
    assert len(os.listdir(tmp_path / "out")) == len(files)
    is_whole = [objects.open_path(item.digest) is not None for item in items]
    assert any(is_whole)
    for item, whole in zip(items, is_whole, strict=True):
        assert (os.stat(item.path).st_nlink > 1) == (link and whole)
        assert bool(os.stat(item.path).st_mode & 0o222) != link


def test_a_file_that_may_be_run_is_copied_not_linked(objects: ObjectStore, tmp_path: Path) -> None:
    digest = objects.put(bytes(SMALL_BYTES + 1))
    objects.checkout_many([Copy(digest, os.fsencode(tmp_path / "run"), 0o555)], link=True)
    assert os.stat(tmp_path / "run").st_nlink == 1
    assert os.stat(tmp_path / "run").st_mode & 0o777 == 0o555


def test_bad_files_are_named_and_the_good_ones_are_stored(objects: ObjectStore, tmp_path: Path) -> None:
    files = write_files(tmp_path / "files")
    os.mkfifo(tmp_path / "pipe")
    paths = [os.fsencode(tmp_path / "missing"), *files, os.fsencode(tmp_path / "pipe"), os.fsencode(tmp_path)]
    with pytest.raises(DataError) as raised:
        list(objects.put_files(paths))
    assert "3 of the files" in raised.value.what
    for word in ("missing", "No such file", "pipe", "not a file"):
        assert word in raised.value.where
    with open_store(tmp_path) as other:
        assert all(other.get(digest_of(data)) == data for data in files.values())


@pytest.mark.parametrize("size", [100, SMALL_BYTES + 1, CHUNKED_BYTES])
@pytest.mark.parametrize("change", ["grows", "shrinks", "changes"])
def test_a_file_that_changes_while_it_is_read_is_read_again_or_named(tmp_path: Path, size: int, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    times = clock = 0

    def read(descriptor: int, expected: int) -> bytes:
        nonlocal times, clock
        times += 1
        data = os.pread(descriptor, expected, 0)
        if times <= until:
            with open(path, "r+b") as writer:
                writer.truncate({"grows": expected + 1, "shrinks": expected - 1, "changes": expected}[change])
                writer.write(b"x")
            os.utime(path, ns=(clock := clock + 1, clock))
        return data

    until = 1
    data, told = read_steadily(os.fsencode(path), read)
    assert times == 2
    assert data == path.read_bytes()
    assert told.st_size == len(data)
    times, until = 0, 9
    with pytest.raises(Unread, match="changes while it is read"):
        read_steadily(os.fsencode(path), read)


def test_a_file_that_somebody_keeps_writing_to_is_never_stored_by_half(objects: ObjectStore, tmp_path: Path) -> None:
    """Whatever is told to be stored was the whole content at some moment."""
    path, stop = tmp_path / "log", threading.Event()
    path.write_bytes(b"0" * CHUNKED_BYTES)

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with open(path, "ab") as file:
                file.write(b"%d" % (number % 10) * 100)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            try:
                (stored,) = objects.put_files((path,))
            except DataError as error:
                assert "it changes while it is read" in error.where or "cut short" in error.where  # noqa: PT017
            else:
                assert objects.size(stored.digest) == stored.size
    finally:
        stop.set()
        writer.join()


def test_F04_a_disk_that_is_full_in_the_middle_leaves_what_is_whole(tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", len(SIZES))
    number = 0
    while True:
        number += 1
        calls = FailingCalls(number, errno.ENOSPC, lasting=True)
        folder = tmp_path / str(number)
        folder.mkdir()
        with open_store(folder, LocalFiles(calls)) as objects:
            try:
                list(objects.put_files(files))
            except StoreError as error:
                assert "the disk is full" in error.what  # noqa: PT017
                assert calls.has_failed
            assert list(check_objects(objects)) == []
            calls.mend()
            assert len(list(objects.put_files(files))) == len(files)
        with open_store(folder) as objects:
            assert all(objects.get(digest_of(data)) == data for data in files.values())
        if not calls.has_failed:
            break
    assert number > 20


def test_F01_kill_9_at_every_failpoint_of_many_files_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", len(SIZES))

    def work(folder: Path, acknowledge: Acknowledge) -> None:
        with open_store(folder) as objects:
            for stored in objects.put_files(files):
                acknowledge(f"told {stored.digest}")
            acknowledge("all")
            objects.checkout_many(copies(files, folder / "out"))
            acknowledge("out")

    undisturbed = run_in_child(lambda acknowledge: work(tmp_path / "whole", acknowledge), "*=count")
    assert undisturbed.acknowledged[-1] == "out"
    for name, hits in undisturbed.hits.items():
        for turn in range(1, hits + 1):
            folder = tmp_path / f"{name}@{turn}"
            outcome = run_in_child(lambda told, folder=folder: work(folder, told), f"{name}=kill@{turn}")
            assert outcome.was_killed
            with open_store(folder) as objects:
                assert list(check_objects(objects)) == []
                if "all" in outcome.acknowledged:
                    assert all(objects.get(digest_of(data)) == data for data in files.values())
                list(objects.put_files(files))
                items = copies(files, folder / "out")
                objects.checkout_many(items)
                assert holds(items, files)


@pytest.mark.parametrize("size", [100, SMALL_BYTES + 1, 2 * CHUNKED_BYTES])
def test_F06_a_damaged_object_is_never_written_out(objects: ObjectStore, tmp_path: Path, size: int) -> None:
    digest, good = objects.put(random.Random(size).randbytes(size)), objects.put(b"good")
    damaged = objects.open_path(digest) or next((objects.folder / "packs").glob("*.pack"))
    damaged.chmod(0o644)
    with open(damaged, "r+b") as file:
        flip(file, 60, 2)
    target = os.fsencode(tmp_path / "target")
    (tmp_path / "target").write_bytes(b"as it was")
    for link in (True, False):
        with pytest.raises(Corrupt, match=digest):
            objects.checkout_many([Copy(digest, target, 0o444), Copy(good, target + b"2")], link=link)
        assert content(target) == b"as it was"
    with pytest.raises(NotFound):
        objects.checkout_many([Copy(Digest("0" * 64), target)])


def test_F06_a_thousand_flipped_bits_are_found(objects: ObjectStore, tmp_path: Path) -> None:
    """In packs (headers and payloads, lists and chunks) and in whole objects, each flipped alone."""
    made = random.Random(6)
    many = [made.randbytes(made.choice((30, 400, 3000))) for _ in range(60)]
    many += [made.randbytes(SMALL_BYTES + 1), made.randbytes(CHUNKED_BYTES)]
    objects.put_many(many)
    objects.packed.release()
    paths = sorted(path for path in objects.folder.rglob("*") if path.is_file() and path.parent.name != "pins")
    paths = [path for path in paths if path.suffix == ".pack" or path.parent.parent.name == "whole"]
    assert len(paths) == 2
    assert list(check_objects(objects)) == []
    found = 0
    for _ in range(1000):
        path = made.choice(paths)
        path.chmod(0o644)
        # Most of a pack is one large object: look at the small ones and their headers as often.
        at = made.randrange(min(path.stat().st_size, made.choice((60_000, 1 << 40))))
        with open(path, "r+b") as file:
            flip(file, at, bit := made.randrange(8))
            file.flush()
            with open_store(tmp_path) as other:
                found += bool(list(check_objects(other)))
            flip(file, at, bit)
    assert found == 1000
    assert list(check_objects(objects)) == []


def flip(file: BinaryIO, at: int, bit: int) -> None:
    file.seek(at)
    byte = file.read(1)[0]
    file.seek(at)
    file.write(bytes([byte ^ (1 << bit)]))
