from __future__ import annotations

import errno
import os
import random
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from perennial.errors import Corrupt, Invalid, NotFound, StoreError
from perennial.store import chunking
from perennial.store.chunking import split
from perennial.store.files import LocalFiles, SystemCalls
from perennial.store.objects import CHUNKED_BYTES, SMALL_BYTES, ObjectStore, digest_of
from perennial.store.packs import FULL_BYTES
from perennial.store.verify import check_objects
from perennial.testing.crash import Acknowledge, run_in_child
from perennial.testing.faults import FailingCalls
from perennial.types import Digest

# The first of random bytes, the last four of counted numbers.
LENGTHS = [
    *(350250, 545585, 478593, 444905, 743674, 571551, 929739, 382464, 263061, 357698, 276185, 365834, 343820, 580644),
    *(455339, 1309610, 1310742, 693191, 82875),
]


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


SIZES = {
    "nothing": 0,
    "small": 100,
    "largest small": SMALL_BYTES,
    "smallest whole": SMALL_BYTES + 1,
    "largest whole": CHUNKED_BYTES - 1,
    "chunked": CHUNKED_BYTES,
}


def stored_bytes(objects: ObjectStore) -> int:
    kinds = (objects.folder / "packs", objects.folder / "whole")
    return sum(path.stat().st_size for kind in kinds for path in kind.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_what_was_put_comes_back(objects: ObjectStore, tmp_path: Path, size: int) -> None:
    data = noise(size)
    (tmp_path / "source").write_bytes(data)
    digest = objects.put_file(tmp_path / "source")
    assert digest == objects.put(data) == digest_of(data) == blake3(data).hexdigest()
    assert objects.get(digest) == data
    assert objects.size(digest) == size
    assert objects.has(digest)
    objects.checkout(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    assert list(objects.digests()) == [digest]
    assert list(check_objects(objects)) == []
    assert (objects.open_path(digest) is not None) == (SMALL_BYTES < size < CHUNKED_BYTES)


@pytest.mark.parametrize("size", [100, SMALL_BYTES + 1, CHUNKED_BYTES])
def test_same_bytes_twice_keep_one_copy(objects: ObjectStore, size: int) -> None:
    objects.put(noise(size))
    before = stored_bytes(objects)
    objects.put(noise(size))
    assert stored_bytes(objects) == before


def test_many_are_put_with_one_flush_and_in_order(objects: ObjectStore) -> None:
    many = [noise(4096, seed) for seed in range(200)] + [noise(SMALL_BYTES + 5), noise(4096, 3)]
    digests = objects.put_many(many)
    assert [objects.get(digest) for digest in digests] == many
    assert len(list((objects.folder / "packs").iterdir())) == 1


def test_a_table_lies_whole_however_large(objects: ObjectStore) -> None:
    digest = objects.put(b"PAR1" + noise(CHUNKED_BYTES))
    assert objects.open_path(digest) is not None


def test_an_insertion_in_a_large_object_costs_what_it_adds(objects: ObjectStore) -> None:
    first = noise(24 << 20)
    objects.put(first)
    before = stored_bytes(objects)
    second = first[: 11 << 20] + noise(1 << 20, 2) + first[11 << 20 :]
    assert objects.get(objects.put(second)) == second
    assert stored_bytes(objects) - before < (1 << 20) + 3 * chunking.MAX_BYTES // 2


@pytest.mark.parametrize("data", [bytes(9 << 20), b"0,1\n" * (3 << 20), noise(9 << 20), b"", b"x"], ids=len)
def test_chunks_depend_on_content_only(data: bytes) -> None:
    chunks = [bytes(chunk) for chunk in split([data])]
    assert b"".join(chunks) == data
    assert all(chunking.MIN_BYTES <= len(chunk) <= chunking.MAX_BYTES for chunk in chunks[:-1])
    blocks = [data[at : at + 700_001] for at in range(0, len(data), 700_001)]
    assert [bytes(chunk) for chunk in split(blocks)] == chunks


def text_table() -> bytes:
    draw = random.Random(4)
    return "".join(f"{n},{draw.random():.6f},{draw.randint(0, 99)},abc\n" for n in range(400_000)).encode()


def small_integers() -> bytes:
    draw = random.Random(5)
    return b"".join(draw.randrange(1000).to_bytes(8, "little") for _ in range(1_000_000))


@pytest.mark.parametrize("make", [text_table, small_integers, lambda: noise(8 << 20)])
def test_after_an_insertion_the_cuts_find_back(make: Callable[[], bytes]) -> None:
    data, added = make(), noise(100_000)
    middle = len(data) // 2
    old = {bytes(chunk) for chunk in split([data])}
    new = {bytes(chunk) for chunk in split([data[:middle] + added + data[middle:]])}
    assert sum(len(chunk) for chunk in new - old) < len(added) + len(data) // 2


def test_what_is_not_there_is_not_found(objects: ObjectStore, tmp_path: Path) -> None:
    nothing = digest_of(b"never put")
    assert not objects.has(nothing)
    for ask in (objects.get, objects.size, lambda digest: objects.checkout(digest, tmp_path / "copy")):
        with pytest.raises(NotFound):
            ask(nothing)
    with pytest.raises(NotFound):
        objects.put_file(tmp_path / "nowhere")
    assert not (tmp_path / "copy").exists()
    assert not objects.delete(nothing)


@pytest.mark.parametrize("text", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", "\0" * 64])
def test_C01_text_that_is_no_digest_never_becomes_a_path(objects: ObjectStore, text: str) -> None:
    for ask in (objects.get, objects.has, objects.size, objects.open_path, objects.delete):
        with pytest.raises(Invalid):
            ask(Digest(text))


def test_readers_in_other_processes_find_what_was_just_put(objects: ObjectStore) -> None:
    other = ObjectStore(objects.folder)
    assert not other.has(digest_of(b"x"))
    for number in range(3):
        assert other.get(objects.put(b"%d" % number)) == b"%d" % number
    assert objects.get(other.put(noise(SMALL_BYTES + 1))) == noise(SMALL_BYTES + 1)
    other.close()


def test_a_deleted_object_is_gone_for_all_and_its_bytes_are_overwritten(objects: ObjectStore) -> None:
    marker = b"personal data, please erase"
    digest, other = objects.put(marker), ObjectStore(objects.folder)
    kept = objects.put(b"kept")
    assert other.get(digest) == marker
    other.put(b"a pack of its own")
    assert objects.delete(digest)
    for store in (objects, other, ObjectStore(objects.folder)):
        assert not store.has(digest)
        with pytest.raises(NotFound):
            store.get(digest)
        assert store.get(kept) == b"kept"
    assert all(marker not in path.read_bytes() for path in objects.folder.rglob("*.pack"))
    assert objects.put(marker) == digest
    assert other.get(digest) == marker
    assert list(check_objects(objects)) == []


def test_packs_are_used_again_by_the_next_process(tmp_path: Path) -> None:
    for number in range(5):
        with ObjectStore(tmp_path) as store:
            store.put(b"%d" % number)
    assert len(list((tmp_path / "packs").iterdir())) == 1


def test_a_full_pack_is_followed_by_another(objects: ObjectStore) -> None:
    many = [number.to_bytes(8, "big") * (SMALL_BYTES // 8) for number in range(FULL_BYTES // SMALL_BYTES + 8)]
    digests = objects.put_many(many)
    digests.append(objects.put(b"last"))
    assert len(list((objects.folder / "packs").iterdir())) == 2
    with ObjectStore(objects.folder) as again:
        assert [again.get(digest) for digest in digests] == [*many, b"last"]
        assert again.put_many(many) == digests[:-1]
    assert stored_bytes(objects) < FULL_BYTES + 10 * SMALL_BYTES


def test_put_mends_a_damaged_copy(objects: ObjectStore) -> None:
    small, whole = noise(500), noise(SMALL_BYTES + 1)
    digests = objects.put_many([small, whole])
    (pack,) = (objects.folder / "packs").iterdir()
    flip(pack, 200)
    path = objects.open_path(digests[1])
    assert path is not None
    path.chmod(0o644)
    flip(path, 77)
    for digest in digests:
        with pytest.raises(Corrupt):
            objects.get(digest)
    assert objects.put_many([small, whole]) == digests
    fresh = ObjectStore(objects.folder)
    assert [fresh.get(digest) for digest in digests] == [small, whole]
    assert list(check_objects(fresh)) == []


def test_P4_checkout_of_a_damaged_object_writes_nothing(objects: ObjectStore, tmp_path: Path) -> None:
    for size in (100, SMALL_BYTES + 1, CHUNKED_BYTES):
        digest = objects.put(noise(size, size))
        path = objects.open_path(digest) or next((objects.folder / "packs").iterdir())
        path.chmod(0o644)
        flip(path, path.stat().st_size - 40 - size // 2 if path.suffix == ".pack" else size // 2)
        with pytest.raises(Corrupt):
            objects.checkout(digest, tmp_path / "copy")
        assert [path.name for path in tmp_path.iterdir()] == ["objects"]


def test_many_threads_put_at_once(objects: ObjectStore) -> None:
    wrong: list[int] = []

    def work(worker: int) -> None:
        for number in range(50):
            data = b"%d" % (worker % 3 * 1000 + number)  # some bytes are put by several threads at once
            if objects.get(objects.put(data)) != data:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert list(check_objects(objects)) == []


def test_F10_eight_processes_put_at_once_and_each_finds_all(tmp_path: Path) -> None:
    def work(worker: int) -> None:
        with ObjectStore(tmp_path) as store:
            for number in range(40):
                store.put(b"%d" % (worker % 4 * 100 + number))
                store.put(noise(SMALL_BYTES + 1, number % 3))

    children = []
    for worker in range(8):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(worker)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    with ObjectStore(tmp_path) as store:
        expected = {digest_of(b"%d" % (group * 100 + number)) for group in range(4) for number in range(40)}
        expected |= {digest_of(noise(SMALL_BYTES + 1, seed)) for seed in range(3)}
        assert set(store.digests()) == expected
        assert list(check_objects(store)) == []


def test_what_a_killed_process_left_half_written_is_swept_later(tmp_path: Path) -> None:
    def work(acknowledge: Acknowledge) -> None:
        ObjectStore(tmp_path).put(noise(SMALL_BYTES + 1))

    assert run_in_child(work, "objects.whole.written=kill").was_killed
    (left,) = (tmp_path / "whole").glob("*.tmp")
    ObjectStore(tmp_path).put(noise(SMALL_BYTES + 2))
    assert left.exists()  # it might belong to a process that lives
    os.utime(left, (0, 0))
    ObjectStore(tmp_path).put(noise(SMALL_BYTES + 3))
    assert not left.exists()


def flip(path: Path, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


class CountedFlushes(SystemCalls):
    flushes = 0

    def fsync(self, descriptor: int) -> None:
        self.flushes += 1
        super().fsync(descriptor)


def test_what_a_dead_process_did_not_flush_is_flushed_before_it_is_promised(tmp_path: Path) -> None:
    def work(acknowledge: Acknowledge) -> None:
        ObjectStore(tmp_path).put(b"appended, never flushed")

    assert run_in_child(work, "objects.pack.appended=kill").was_killed
    calls = CountedFlushes()
    with ObjectStore(tmp_path, files=LocalFiles(calls)) as store:
        before = stored_bytes(store)
        for _ in range(2):
            store.put(b"appended, never flushed")
            assert calls.flushes == 1  # once is enough
        assert stored_bytes(store) == before


def test_a_pack_that_is_taken_over_is_known_to_its_end(tmp_path: Path) -> None:
    with ObjectStore(tmp_path) as first:
        first.put(b"one")
        second = ObjectStore(tmp_path)
        assert second.has(digest_of(b"one"))
        first.put(b"two")
    second.put(b"three")  # the first one has let go of its pack
    assert len(list((tmp_path / "packs").iterdir())) == 1
    assert set(second.packed._index) == {bytes.fromhex(digest_of(data)) for data in (b"one", b"two", b"three")}
    second.close()


def test_frames_that_were_given_up_are_never_promised_to_another_thread(tmp_path: Path) -> None:
    """One thread's flush fails while another has appended: the other is told too, whatever happens in between."""
    for fail_at in range(1, 12):
        calls = FailingCalls(fail_at, errno.ENOSPC)
        with ObjectStore(tmp_path / str(fail_at), files=LocalFiles(calls)) as store:
            outcomes: dict[bytes, bool] = {}

            def work(worker: int, store: ObjectStore = store, outcomes: dict[bytes, bool] = outcomes) -> None:
                for number in range(5):
                    data = b"%d %d" % (worker, number)
                    try:
                        store.put(data)
                        outcomes[data] = True
                    except StoreError:
                        outcomes[data] = False

            threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        with ObjectStore(tmp_path / str(fail_at)) as store:
            assert [data for data, promised in outcomes.items() if promised and not store.has(digest_of(data))] == []
            assert list(check_objects(store)) == []


def test_chunks_of_an_object_become_the_object_elsewhere_and_nothing_else(tmp_path: Path) -> None:
    data = random.Random(7).randbytes(3 << 20)
    source = ObjectStore(tmp_path / "source", chunked_bytes=1 << 20)
    digest = source.put(data)
    parts = [part for part, _ in source.parts(digest)]
    assert len(parts) > 1

    other = ObjectStore(tmp_path / "other")
    with pytest.raises(NotFound):
        other.put_parts(digest, parts)
    other.put_chunks(source.get(part) for part in parts)
    with pytest.raises(Corrupt):
        other.put_parts(digest, parts[:-1])
    assert list(other.digests()) == []

    other.put_parts(digest, parts)
    assert other.get(digest) == data
    assert other.parts(digest) == source.parts(digest)


def test_a_file_is_taken_only_when_it_holds_what_its_name_will_say(tmp_path: Path) -> None:
    objects, path = ObjectStore(tmp_path / "objects"), tmp_path / "file"
    path.write_bytes(b"PAR1" + bytes(1000))
    with pytest.raises(Corrupt):
        objects.take(digest_of(b"something else"), path)
    assert path.exists()

    objects.take(digest_of(path.read_bytes()), path)
    assert not path.exists()
    assert objects.get(digest_of(b"PAR1" + bytes(1000))) == b"PAR1" + bytes(1000)


def test_a_store_of_an_earlier_release_is_read_and_gone_on_with(tmp_path: Path) -> None:
    """The format as docs/decisions/0002 tells it, written here by hand."""
    first, second = noise(CHUNKED_BYTES, 1), noise(1000, 2)
    pack = b"PERPACK\x01"
    for kind, digest, payload in (
        (b"o", digest_of(b"small"), b"small"),
        (b"x", digest_of(b"dead"), bytes(4)),
        (b"c", digest_of(first), first),
        (b"c", digest_of(second), second),
        (
            b"l",
            digest_of(first + second),
            b"".join(bytes.fromhex(digest_of(part)) + struct.pack("<I", len(part)) for part in (first, second)),
        ),
    ):
        raw = bytes.fromhex(digest)
        checksum = zlib.crc32(raw, len(payload))  # the length is what it begins with
        pack += b"\xf5PF" + kind + struct.pack("<I", len(payload)) + raw + struct.pack("<I", checksum) + payload
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "0123456789abcdef.pack").write_bytes(pack)
    whole = noise(SMALL_BYTES + 1, 3)
    path = tmp_path / "whole" / digest_of(whole)[:2] / digest_of(whole)
    path.parent.mkdir(parents=True)
    path.write_bytes(whole)
    with ObjectStore(tmp_path) as store:
        assert store.get(digest_of(b"small")) == b"small"
        assert store.get(digest_of(first + second)) == first + second
        assert store.get(digest_of(whole)) == whole
        assert not store.has(digest_of(b"dead"))
        store.put(b"one more")
        assert len(list((tmp_path / "packs").iterdir())) == 1
        assert list(check_objects(store)) == []


def test_the_same_content_is_cut_at_the_same_places_as_ever() -> None:
    """Else a second version of what an earlier release stored would share nothing with the first."""
    random_bytes = random.Random(1).randbytes(6 << 20)
    numbers = b"".join(struct.pack("<q", number) for number in range(1 << 19))
    assert [len(chunk) for chunk in split([random_bytes, numbers])] == LENGTHS
    for block in (100_001, 1 << 20):
        data = random_bytes + numbers
        assert [len(chunk) for chunk in split(data[at : at + block] for at in range(0, len(data), block))] == LENGTHS


def test_usage_tells_what_lies_where(objects: ObjectStore) -> None:
    for size in SIZES.values():
        objects.put(noise(size))
    used = objects.usage()
    assert used.bytes == stored_bytes(objects)
    assert used.objects == len(set(objects.digests()))
    assert used.chunk_bytes >= CHUNKED_BYTES
    assert used.whole_bytes > SMALL_BYTES
    assert used.other_bytes < 10_000


def test_a_file_that_was_to_be_taken_can_be_gone_on_with_when_that_fails(tmp_path: Path) -> None:
    """A read-only one could not: an interrupted pull opens it to write, and its owner need not be the superuser."""
    data, fail_at, taken = noise(SMALL_BYTES + 1), 0, False
    while not taken:
        fail_at += 1
        path = tmp_path / f"unfinished{fail_at}"
        path.write_bytes(data)
        calls = FailingCalls(fail_at, errno.ENOSPC)
        try:
            ObjectStore(tmp_path / f"objects{fail_at}", files=LocalFiles(calls)).take(digest_of(data), path)
            taken = not calls.has_failed
        except StoreError:
            assert not path.exists() or path.stat().st_mode & 0o200, fail_at
    assert fail_at > 5
