"""Garbage collection: what nothing names goes and its space returns, what anything names or is about to name stays."""

from __future__ import annotations

import json
import os
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.errors import Corrupt, NotFound, StoreError, Unavailable
from perennial.store.failpoints import FAILPOINTS
from perennial.store.gc import Garbage, collect_garbage
from perennial.store.objects import SMALL_BYTES, ObjectStore, digest_of
from perennial.store.records import Records, Transaction, create_tables
from perennial.store.tables import import_tables
from perennial.store.verify import check_objects, verify
from perennial.testing.crash import Acknowledge, run_in_child
from perennial.types import Digest

CHUNKED_BYTES = 4 * SMALL_BYTES


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Records.open(f"sqlite:///{tmp_path}/records.db") as opened:
        create_tables(opened, import_tables())
        yield opened


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[ObjectStore]:
    with open_store(tmp_path) as store:
        yield store


def open_store(folder: Path) -> ObjectStore:
    return ObjectStore(folder / "objects", chunked_bytes=CHUNKED_BYTES)


def name(records: Records, digest: Digest, run: str = "run", column: str = "git_diff") -> None:
    """Let a record of a run name this object."""
    runs, experiments = import_tables().tables["runs"], import_tables().tables["experiments"]

    def change(tx: Transaction) -> None:
        connection = tx.connection
        row = plain(runs) | {"id": run, "experiment": 1, "bundle": None, "git_diff": None, "environment": None}
        if not connection.execute(sa.select(experiments.c.id)).all():
            connection.execute(sa.insert(experiments).values(plain(experiments) | {"id": 1}))
        connection.execute(sa.insert(runs).values(row | {column: digest}))

    records.write(change)


def plain(table: sa.Table) -> dict[str, object]:
    """A row with something in every column."""
    values: dict[str, object] = {}
    for column in table.columns:
        kind = column.type.python_type
        values[column.name] = {str: "x", bytes: b"{}", int: 1, bool: True, float: 1.0}[kind]
    return values


def forget(records: Records, run: str = "run") -> None:
    runs = import_tables().tables["runs"]
    records.write(lambda tx: tx.connection.execute(sa.delete(runs).where(runs.c.id == run)))


def stored_bytes(objects: ObjectStore) -> int:
    kinds = (objects.folder / "packs", objects.folder / "whole")
    return sum(path.stat().st_size for kind in kinds for path in kind.rglob("*") if path.is_file())


def put_committed(objects: ObjectStore, *many: bytes) -> list[Digest]:
    with objects.until_committed():
        return objects.put_many(many)


KINDS = {"small": 100, "whole": SMALL_BYTES + 1, "chunked": CHUNKED_BYTES + 1}


@pytest.mark.parametrize("size", KINDS.values(), ids=KINDS.keys())
def test_what_nothing_names_goes_and_its_space_returns(objects: ObjectStore, records: Records, size: int) -> None:
    (gone,) = put_committed(objects, noise(size))
    before = stored_bytes(objects)
    told = collect_garbage(records, objects, dry_run=True)
    assert (told.objects, told.kept, told.young) == (1, 0, 0)
    assert told.freed_bytes >= size
    assert objects.get(gone) == noise(size)

    freed = collect_garbage(records, objects)
    assert (freed.objects, freed.freed_bytes) == (told.objects, told.freed_bytes)
    assert freed.returned_bytes == before
    assert stored_bytes(objects) == 0
    assert not objects.has(gone)
    with pytest.raises(NotFound):
        objects.get(gone)
    assert objects.put(noise(size)) == gone
    assert objects.get(gone) == noise(size)
    assert verify(records, objects).problems == []


@pytest.mark.parametrize("size", KINDS.values(), ids=KINDS.keys())
def test_what_a_record_names_stays(objects: ObjectStore, records: Records, size: int) -> None:
    kept, _ = put_committed(objects, noise(size, 1), noise(size, 2))
    name(records, kept)
    assert collect_garbage(records, objects).objects == 1
    assert list(objects.digests()) == [kept]
    assert objects.get(kept) == noise(size, 1)
    assert collect_garbage(records, objects) == Garbage(
        objects=0, chunks=0, freed_bytes=0, returned_bytes=0, waiting_bytes=0, kept=1, young=0, young_bytes=0
    )


def test_chunks_that_a_living_list_shares_stay(objects: ObjectStore, records: Records) -> None:
    first = noise(3 * CHUNKED_BYTES)
    second = first[:CHUNKED_BYTES] + noise(1000, 5) + first[CHUNKED_BYTES:]
    old, new = put_committed(objects, first, second)
    name(records, new)
    before = stored_bytes(objects)
    freed = collect_garbage(records, objects)
    assert freed.objects == 1
    assert 0 < freed.chunks < 6
    assert objects.get(new) == second
    assert not objects.has(old)
    assert stored_bytes(objects) == before - freed.returned_bytes < len(second) + CHUNKED_BYTES


COLUMNS = [
    f"{table.name}.{column.name}"
    for table in import_tables().sorted_tables
    for column in table.columns
    if column.info.get("object")
]


@pytest.mark.parametrize("column", COLUMNS)
def test_F35_what_each_column_names_stays_with_what_that_names(
    objects: ObjectStore, records: Records, column: str
) -> None:
    """Also where nobody declared how the named object names others, as long as it is JSON."""
    table_name, _, column_name = column.partition(".")
    table = import_tables().tables[table_name]
    far, near, _ = put_committed(objects, b"far", b"near", b"gone")
    (middle,) = put_committed(objects, json.dumps({"file": far}).encode())
    row = plain_without_objects(table)
    for other in table.columns:
        if other.name == column_name or (other.info.get("object") and not other.nullable):
            (row[other.name],) = put_committed(objects, manifest(other, near, middle))
    plant(records, table, row)
    collect_garbage(records, objects)
    assert {far, near, middle} <= set(objects.digests()) == {far, near, middle, *filter(is_digest, row.values())}


def manifest(column: sa.Column[str], near: Digest, middle: Digest) -> bytes:
    """What this column may name: itself it names `near` where it is declared, and `middle` in passing."""
    files: object = {"a.py": near}
    if column.table.name == "dataset_versions":
        files = [{"digest": near, "rows": 1, "logical": near}]
    if column.name == "package":
        files = {"a.bin": [near, 4]}
    told = {"format": 1, "kind": "python", "rows": 1, "ordered": True, "logical": near, "answers": near}
    return json.dumps(told | {"files": files, "see": middle}).encode()


def is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def plant(records: Records, table: sa.Table, row: dict[str, object]) -> None:
    """Insert a row, and the rows it points at."""
    assert records.path is not None
    for key in table.foreign_keys:
        plant(records, key.column.table, plain_without_objects(key.column.table))
        row |= {key.parent.name: plain(key.column.table)[key.column.name]}
    records.write(lambda tx: tx.connection.execute(sa.insert(table).values(row)))


def plain_without_objects(table: sa.Table) -> dict[str, object]:
    return plain(table) | {column.name: None for column in table.columns if column.info.get("object")}


def test_F04_chunks_of_a_sound_list_stay_while_a_damaged_copy_of_it_lies_behind_it(
    tmp_path: Path, records: Records
) -> None:
    """What is left when a damaged list is put again and the process is killed before it takes the damaged one away."""
    data = noise(CHUNKED_BYTES)
    with open_store(tmp_path) as objects:
        digest = objects.put(data)
        name(records, digest)
        parts = [part for part, _ in objects.parts(digest)]
        found = objects.packed.find(bytes.fromhex(digest))
        assert found is not None
        pack, frame = found
        with open(pack.path, "r+b") as file:
            file.seek(frame.end - frame.length)
            file.write(b"?")  # in the digest of the first chunk

        def put_again(acknowledge: Acknowledge) -> None:
            open_store(tmp_path).put(data)  # into a pack of its own: the first is in use

        assert run_in_child(put_again, "objects.pack.synced=kill@1").was_killed
    (other,) = (path for path in pack.path.parent.glob("*.pack") if path != pack.path)
    other.rename(other.with_name("a.pack"))
    pack.path.rename(pack.path.with_name("b.pack"))
    for notes in (tmp_path / "objects" / "pins").glob("*.pins"):
        notes.unlink()  # as after an hour
    with open_store(tmp_path) as objects:
        collect_garbage(records, objects)
        assert all(objects.has(part) for part in parts)


def test_a_manifest_that_cannot_be_read_stops_the_collection(objects: ObjectStore, records: Records) -> None:
    (manifest, gone) = put_committed(objects, b"no manifest of a bundle", b"gone")
    name(records, manifest, column="bundle")
    with pytest.raises(Corrupt, match="what it names is not known") as raised:
        collect_garbage(records, objects)
    assert raised.value.where == "runs.bundle"
    assert objects.has(gone)


def test_F35_what_is_put_is_kept_until_it_is_committed(objects: ObjectStore, records: Records) -> None:
    with objects.until_committed():
        digests = objects.put_many([noise(100), noise(SMALL_BYTES + 1), noise(CHUNKED_BYTES)])
        told = collect_garbage(records, objects)
        assert (told.objects, told.chunks, told.kept, told.young) == (0, 0, 3, 3)
        assert told.young_bytes == 100 + SMALL_BYTES + 1 + CHUNKED_BYTES
        for digest in digests:
            assert digest_of(objects.get(digest)) == digest
    assert collect_garbage(records, objects).objects == 3


def test_F35_what_is_there_already_is_kept_for_who_puts_or_pins_it(objects: ObjectStore, records: Records) -> None:
    old, other, missing = *put_committed(objects, b"put before", b"pinned"), digest_of(b"missing")
    with objects.until_committed():
        assert objects.put(b"put before") == old
        assert objects.pin([other, missing]) == [missing]
        assert collect_garbage(records, objects).objects == 0
    assert collect_garbage(records, objects).objects == 2


def test_F35_what_a_process_put_is_kept_while_it_lives_and_an_hour_after(tmp_path: Path, records: Records) -> None:
    def work(acknowledge: Acknowledge) -> None:
        open_store(tmp_path).put(b"put by a process that died")

    run_in_child(work, "")
    with open_store(tmp_path) as objects:
        (notes,) = (objects.folder / "pins").glob("*.pins")
        assert collect_garbage(records, objects).young == 1
        hour = notes.stat().st_mtime - 3601
        os.utime(notes, (hour, hour))
        assert collect_garbage(records, objects).objects == 1
        assert not notes.exists()

        objects.put(b"put by this one")
        (notes,) = (objects.folder / "pins").glob("*.pins")
        os.utime(notes, (hour, hour))
        assert collect_garbage(records, objects).young == 1


def test_F35_notes_that_were_swept_while_a_machine_slept_are_begun_anew(tmp_path: Path, records: Records) -> None:
    with open_store(tmp_path) as objects, open_store(tmp_path) as other:
        objects.put(b"put before the machine slept for eight days")
        (notes,) = (objects.folder / "pins").glob("*.pins")
        long_ago = notes.stat().st_mtime - 8 * 86_400
        os.utime(notes, (long_ago, long_ago))
        other.put(b"the first put of another process sweeps what is dead")
        assert notes.exists()
        assert collect_garbage(records, other).objects == 1
        assert not notes.exists()
        kept = objects.put(b"about to be committed")
        assert collect_garbage(records, other).objects == 0
        assert other.has(kept)


def test_an_inner_block_keeps_what_the_outer_one_has_not_committed(objects: ObjectStore, records: Records) -> None:
    with objects.until_committed():
        with objects.until_committed():
            objects.put(b"inner")
        assert collect_garbage(records, objects).young == 1


def test_one_collection_at_a_time_and_none_during_a_backup(objects: ObjectStore, records: Records) -> None:
    with objects.at_rest(shared=True):
        assert verify(records, objects).is_sound  # it does not delete either
        with pytest.raises(Unavailable, match="at work"), objects.at_rest(patience_s=0.1):
            pass
    with objects.at_rest(), pytest.raises(Unavailable), objects.at_rest(shared=True, patience_s=0.1):
        pass


@pytest.mark.parametrize("size", KINDS.values(), ids=KINDS.keys())
def test_another_process_sees_what_is_gone_and_finds_what_moved(tmp_path: Path, records: Records, size: int) -> None:
    """A store that was opened and read before the collection is never fooled by what it remembers."""
    with open_store(tmp_path) as objects, open_store(tmp_path) as other:
        kept, gone, back = put_committed(objects, *(noise(size, seed) for seed in range(3)))
        name(records, kept)
        for digest in (kept, gone, back):
            assert digest_of(other.get(digest)) == digest
        assert collect_garbage(records, objects).objects == 2
        assert digest_of(other.get(kept)) == kept
        assert not other.has(gone)
        with pytest.raises(NotFound):
            other.get(gone)
        assert other.put(noise(size, 2)) == back
        assert digest_of(objects.get(back)) == back
        assert {kept, back} == set(objects.digests()) == set(other.digests())
        assert verify(records, objects).problems == []


def test_bytes_that_a_rewritten_pack_still_shows_are_not_taken_for_stored(tmp_path: Path, records: Records) -> None:
    """Another process has the old pack open; what it sees there may be gone from the new one."""
    with open_store(tmp_path) as objects, open_store(tmp_path) as other:
        first, second, _ = put_committed(objects, *(noise(1000, seed) for seed in range(3)))
        assert other.has(second)
        (pack,) = (objects.folder / "packs").iterdir()
        os.link(pack, tmp_path / "somebody's backup")  # so that the old one is not emptied either
        name(records, first, "first")
        name(records, second, "second")
        assert collect_garbage(records, objects).objects == 1
        forget(records, "second")
        assert collect_garbage(records, objects).objects == 1
        assert other.pin([first, second]) == [second]
        assert other.put(noise(1000, 1)) == second
        assert objects.get(second) == noise(1000, 1)


def test_a_pack_that_another_process_writes_is_cleaned_later(tmp_path: Path, records: Records) -> None:
    with open_store(tmp_path) as objects, open_store(tmp_path) as other:
        (gone,) = put_committed(other, noise(10_000))
        told = collect_garbage(records, objects)
        assert (told.objects, told.returned_bytes) == (1, 0)
        assert told.waiting_bytes > 10_000
        assert not other.has(gone)
        other.packed.release()
        assert collect_garbage(records, objects).returned_bytes > 10_000


def test_a_damaged_pack_is_left_for_verify_to_tell(objects: ObjectStore, records: Records) -> None:
    first, _, third = put_committed(objects, *(noise(1000, seed) for seed in range(3)))
    name(records, first, "1")
    name(records, third, "3")
    (pack,) = (objects.folder / "packs").iterdir()
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.write_bytes(data)
    told = collect_garbage(records, objects)
    assert (told.objects, told.returned_bytes) == (1, 0)
    assert objects.get(first) == noise(1000)
    assert [problem.digest for problem in verify(records, objects).problems] == [third]


def test_leftovers_of_dead_processes_go(objects: ObjectStore, records: Records) -> None:
    put_committed(objects, noise(SMALL_BYTES + 1))
    whole, packs = objects.folder / "whole/left.tmp", objects.folder / "packs/left.pack.tmp"
    packs.parent.mkdir()
    whole.write_bytes(b"left")
    packs.write_bytes(b"left")
    os.utime(whole, (0, 0))
    collect_garbage(records, objects)
    assert not whole.exists()
    assert not packs.exists()


GC_FAILPOINTS = [name for name in FAILPOINTS if name.startswith("gc.")]


@pytest.mark.parametrize("action", ["kill", "full", "error"])
def test_F35_a_collection_that_ends_anywhere_loses_nothing_and_is_repeated(tmp_path: Path, action: str) -> None:
    for point in GC_FAILPOINTS:
        folder = tmp_path / point
        kept: dict[Digest, bytes] = {}
        with lived_in(folder, kept):
            pass

        def work(acknowledge: Acknowledge, folder: Path = folder) -> None:
            with open_store(folder) as objects, Records.open(f"sqlite:///{folder}/records.db") as records:
                try:
                    collect_garbage(records, objects)
                except StoreError:
                    acknowledge("failed")

        outcome = run_in_child(work, f"{point}={action}@1")
        assert outcome.was_killed if action == "kill" else outcome.acknowledged == ["failed"], point
        with open_store(folder) as objects, Records.open(f"sqlite:///{folder}/records.db") as records:
            assert verify(records, objects).problems == []
            for digest, data in kept.items():
                assert objects.get(digest) == data
            collect_garbage(records, objects)
            assert set(objects.digests()) == set(kept)
            assert verify(records, objects).problems == []
            assert stored_bytes(objects) < 1.4 * sum(map(len, kept.values()))
            assert not list(objects.folder.rglob("*.tmp"))


@contextmanager
def lived_in(folder: Path, kept: dict[Digest, bytes]) -> Iterator[tuple[ObjectStore, Records]]:
    """A store of each kind of object, half of them named."""
    folder.mkdir()
    with open_store(folder) as objects, Records.open(f"sqlite:///{folder}/records.db") as records:
        create_tables(records, import_tables())
        many = [noise(size, seed) for size in (100, 10_000, *KINDS.values()) for seed in range(4)]
        shared = noise(2 * CHUNKED_BYTES, 9)
        many += [shared + noise(1000, 10), shared + noise(CHUNKED_BYTES, 11)]
        for number, digest in enumerate(put_committed(objects, *many)):
            if number % 2:
                name(records, digest, str(number))
                kept[digest] = many[number]
        yield objects, records


def test_F35_collections_race_puts_reads_and_commits_of_other_processes(tmp_path: Path) -> None:
    """Four processes put, commit what they put through files of records, and remove; nothing committed is ever lost."""
    with open_store(tmp_path):
        pass

    def work(worker: int) -> None:
        random_ = random.Random(worker)
        with (
            Records.open(f"sqlite:///{tmp_path}/records{worker}.db") as records,
            open_store(tmp_path) as objects,
        ):
            create_tables(records, import_tables())
            named: dict[str, bytes] = {}
            for number in range(60):
                size = random_.choice([50, 5000, SMALL_BYTES + 1, CHUNKED_BYTES])
                data = noise(size, random_.randrange(6))  # the others put the same
                with objects.until_committed():
                    name(records, objects.put(data), str(number))
                named[str(number)] = data
                if len(named) > 3:
                    gone = random_.choice(list(named))
                    forget(records, gone)
                    del named[gone]
                for data in named.values():
                    assert objects.get(digest_of(data)) == data

    children: list[int] = []
    for worker in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(worker)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    ended = dict.fromkeys(children)
    rounds = 0
    with open_store(tmp_path) as objects:
        while None in ended.values():
            collect_garbage(_Several(tmp_path), objects)  # type: ignore[arg-type]
            rounds += 1
            for child in [child for child, status in ended.items() if status is None]:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    ended[child] = status
        assert set(ended.values()) == {0}
        assert rounds > 3
        assert list(check_objects(objects)) == []


class _Several:
    """The records of all workers, read as if they were one database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, query: Callable[[sa.Connection], list[list[Digest]]]) -> list[list[Digest]]:
        found: list[list[list[Digest]]] = []
        for path in sorted(self._folder.glob("records?.db")):
            with Records.open(f"sqlite:///{path}", read_only=True) as records:
                try:
                    found.append(records.read(query))
                except StoreError:  # its tables are just being made
                    continue
        return [list(chain(*held)) for held in zip(*found, strict=True)] if found else [[] for _ in COLUMNS]
