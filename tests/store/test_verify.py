"""`verify` is the oracle of the crash tests, so it is tested by damaging what it looks at."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.errors import Corrupt, NotFound
from perennial.store.events import events
from perennial.store.leases import leases
from perennial.store.objects import CHUNKED_BYTES, SMALL_BYTES, ObjectStore, digest_of
from perennial.store.packs import HEADER, MAGIC
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.store.verify import check_objects, check_records, check_references, verify
from perennial.types import Digest

WHOLE = random.Random(3).randbytes(SMALL_BYTES + 1)


def test_F06_each_of_a_thousand_flipped_bits_is_found_and_the_object_refused(tmp_path: Path) -> None:
    draw = random.Random(11)
    with ObjectStore(tmp_path / "sound") as store:
        digests = store.put_many(draw.randbytes(draw.randrange(1, 300)) for _ in range(40))
    (sound,) = (tmp_path / "sound" / "packs").iterdir()
    pack = tmp_path / "flipped" / "packs" / sound.name
    pack.parent.mkdir(parents=True)
    data = sound.read_bytes()
    for _ in range(1000):
        at, bit = draw.randrange(len(data)), 1 << draw.randrange(8)
        pack.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
        with ObjectStore(tmp_path / "flipped") as store:
            assert list(check_objects(store)), f"bit {bit} of byte {at}"
            unreadable = 0
            for digest in digests:  # one bad object hides no other
                try:
                    assert digest_of(store.get(digest)) == digest
                except (Corrupt, NotFound):
                    unreadable += 1
            assert unreadable <= 1
            assert unreadable == 1 or at < len(MAGIC)


def test_F06_a_flipped_bit_in_a_whole_object_or_a_chunk_is_found(tmp_path: Path) -> None:
    draw = random.Random(12)
    for number in range(20):
        with ObjectStore(tmp_path / str(number)) as store:
            data = draw.randbytes(CHUNKED_BYTES) if number < 3 else WHOLE
            digest = store.put(data)
            path = store.open_path(digest) or next((store.folder / "packs").iterdir())
            path.chmod(0o644)
            with open(path, "r+b") as file:
                at = draw.randrange(len(MAGIC), len(data))
                file.seek(at)
                (byte,) = file.read(1)
                file.seek(at)
                file.write(bytes([byte ^ (1 << draw.randrange(8))]))
        with ObjectStore(tmp_path / str(number)) as store:
            assert digest in {problem.digest for problem in check_objects(store)}
            with pytest.raises(Corrupt):
                store.get(digest)
        shutil.rmtree(tmp_path / str(number))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def swap(path: Path) -> None:
    path.write_bytes(WHOLE[::-1])


def misname(path: Path) -> None:
    path.rename(path.with_name("notes.txt"))


@pytest.mark.parametrize(
    "damage, kind",
    [(empty, "empty"), (cut, "damaged"), (swap, "swapped"), (misname, "misnamed")],
    ids=["empty", "cut", "swapped", "misnamed"],
)
def test_F07_each_kind_of_damage_to_a_file_is_named(
    objects: ObjectStore, damage: Callable[[Path], None], kind: str
) -> None:
    digest, other = objects.put(WHOLE), objects.put(WHOLE[::-1])
    path = objects.open_path(digest)
    assert path is not None
    path.chmod(0o644)
    damage(path)
    (problem,) = check_objects(objects)
    assert problem.kind == kind
    assert kind == "misnamed" or problem.digest == digest
    assert objects.get(other) == WHOLE[::-1]


def test_F07_objects_that_are_missing_are_named_with_who_names_them(records: Records, objects: ObjectStore) -> None:
    tables = sa.MetaData()
    from perennial.store.tables import digest_column

    things = sa.Table("things", tables, sa.Column("id", sa.Integer, primary_key=True), digest_column("object"))
    records.write(lambda tx: tables.create_all(tx.connection))
    there, gone = objects.put(b"there"), digest_of(b"gone")
    records.write(lambda tx: tx.connection.execute(sa.insert(things), [{"object": there}, {"object": gone}]))
    named: set[Digest] = set()
    (problem,) = check_references(records, objects, named, tables=tables)
    assert (problem.kind, problem.where, problem.digest) == ("missing", "things.object", gone)
    assert named == {there, gone}


def test_F07_a_manifest_is_read_and_what_it_names_must_be_there(records: Records, objects: ObjectStore) -> None:
    from perennial.store.tables import digest_column

    tables = sa.MetaData()
    column = digest_column("manifest", expand=lambda data, _get: [Digest(line) for line in data.decode().split()])
    things = sa.Table("things", tables, sa.Column("id", sa.Integer, primary_key=True), column)
    records.write(lambda tx: tables.create_all(tx.connection))
    part, gone = objects.put(b"part"), digest_of(b"gone")
    rows = [{"manifest": objects.put(f"{part}\n{gone}".encode())}, {"manifest": objects.put(b"\xff no manifest")}]
    records.write(lambda tx: tx.connection.execute(sa.insert(things), rows))
    named: set[Digest] = set()
    kinds = {problem.kind: problem.digest for problem in check_references(records, objects, named, tables=tables)}
    assert kinds == {"missing": gone, "damaged": rows[1]["manifest"]}
    assert part in named


def test_a_sound_workspace_has_no_problems_and_counts_what_no_record_names(
    records: Records, objects: ObjectStore
) -> None:
    objects.put(b"orphan")
    records.write(lambda tx: tx.event("made", "x", {}))
    report = verify(records, objects)
    assert report.is_sound, report.problems
    assert (report.objects, report.unnamed, report.events) == (1, 1, 1)


def test_an_edited_event_is_a_problem(records: Records, objects: ObjectStore) -> None:
    records.write(lambda tx: tx.event("made", "x", {}))
    records.write(lambda tx: tx.connection.execute(sa.update(events).values(subject="y")))
    assert [problem.kind for problem in verify(records, objects).problems] == ["events"]


def test_F08_a_damaged_page_is_found_and_the_rest_is_still_checked(tmp_path: Path, objects: ObjectStore) -> None:
    path = tmp_path / "records.db"
    with Records.open(f"sqlite:///{path}") as records:
        create_tables(records, import_tables())
        rows = [{"name": f"n{n}" * 50, "holder": "", "epoch": 1, "renewals": 0, "ttl_ms": 1} for n in range(500)]
        records.write(lambda tx: tx.connection.execute(sa.insert(leases), rows))
        page = records.read(
            lambda c: c.execute(sa.text("select rootpage from sqlite_master where name = 'leases'")).scalar_one()
        )
    with open(path, "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(random.Random(1).randbytes(4096))
    before = path.read_bytes()
    with Records.open(f"sqlite:///{path}", read_only=True) as records:
        assert {problem.kind for problem in check_records(records)} == {"records"}
        assert verify(records, objects).events == 0
    assert path.read_bytes() == before


def test_the_end_of_a_pack_that_a_killed_writer_left_is_no_problem(objects: ObjectStore) -> None:
    digest = objects.put(b"acknowledged")
    (pack,) = (objects.folder / "packs").iterdir()
    data = pack.read_bytes()
    objects.close()
    for cut_at in range(1, HEADER.size + len(b"acknowledged")):
        pack.write_bytes(data + data[len(MAGIC) : len(MAGIC) + cut_at])
        with ObjectStore(objects.folder) as store:
            assert list(check_objects(store)) == []
            assert store.get(digest) == b"acknowledged"
            store.put(b"next")  # takes the pack over, and cuts that end off
        assert [path.name for path in (objects.folder / "packs").iterdir()] == [pack.name]
