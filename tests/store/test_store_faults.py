"""The disk fails, fills up or loses power, the process is killed: what was acknowledged is there, nothing by half."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.errors import NotFound, ReadOnly, StoreError
from perennial.store.events import Events
from perennial.store.failpoints import FAILPOINTS
from perennial.store.files import Files, LocalFiles
from perennial.store.objects import SMALL_BYTES, ObjectStore, digest_of
from perennial.store.packs import LIST
from perennial.store.records import Records, Transaction, create_tables
from perennial.store.tables import import_tables
from perennial.store.verify import check_objects, verify
from perennial.testing.crash import Acknowledge, run_in_child
from perennial.testing.faults import FailingCalls, PowerLoss, RecordingCalls, Survives
from perennial.types import Digest

CHUNKED_BYTES = 4 * SMALL_BYTES  # so that a sweep is quick
SMALL, WHOLE = b"a small object", bytes(range(256)) * (SMALL_BYTES // 256 + 1)
CHUNKED = random.Random(5).randbytes(CHUNKED_BYTES)


def test_the_sweep_covers_a_list_of_chunks(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        digest = store.put(CHUNKED)
        found = store.packed.read(bytes.fromhex(digest))
    assert found is not None
    assert found[0] == LIST


def open_store(folder: Path, files: Files | None = None) -> ObjectStore:
    return ObjectStore(folder, files=files, chunked_bytes=CHUNKED_BYTES)


def put_all(store: ObjectStore, told: list[Digest]) -> None:
    """Put one of each kind; `told` gets each digest once it is promised."""
    for data in (SMALL, WHOLE, b"another small object", CHUNKED):
        digest = store.put(data)
        told.append(digest)
    told.extend(store.put_many([b"%d" % number for number in range(5)]))


def read_back(folder: Path, promised: list[Digest]) -> None:
    """Whoever opens the folder next finds what was promised, and nothing that is wrong."""
    with open_store(folder) as store:
        for digest in promised:
            assert digest_of(store.get(digest)) == digest
        for data in (SMALL, WHOLE, CHUNKED):
            try:
                assert store.get(digest_of(data)) == data
            except NotFound:
                continue
        assert list(check_objects(store)) == []
        told: list[Digest] = []
        put_all(store, told)  # and can go on at once
        assert all(store.has(digest) for digest in told)
        assert list(check_objects(store)) == []


def attempt(work: Callable[[], None]) -> StoreError | None:
    try:
        work()
    except StoreError as error:
        return error
    return None


def each_call(folder: Path, use: Callable[[FailingCalls, Path], None], error: int, *, lasting: bool) -> int:
    """Let call 1, 2, 3, ... fail until the work needs fewer calls than that; how many it needs."""
    for number in range(1, 1000):
        calls = FailingCalls(number, error, lasting=lasting)
        use(calls, folder / str(number))
        if not calls.has_failed:
            return number - 1
    raise AssertionError("the work never ends")


@pytest.mark.parametrize("lasting", [False, True])
def test_F03_an_io_error_at_any_call_fails_the_operation_and_turns_writing_off(tmp_path: Path, lasting: bool) -> None:
    def use(calls: FailingCalls, folder: Path) -> None:
        promised: list[Digest] = []
        with open_store(folder, LocalFiles(calls)) as store:
            try:
                put_all(store, promised)
            except ReadOnly:
                with pytest.raises(ReadOnly, match="writing is off"):
                    store.put(b"more")
                for digest in promised:  # reading goes on
                    assert digest_of(store.get(digest)) == digest
        read_back(folder, promised)

    assert each_call(tmp_path, use, errno.EIO, lasting=lasting) > 20


def test_F04_a_full_disk_at_any_call_fails_the_operation_and_mends_itself(tmp_path: Path) -> None:
    def use(calls: FailingCalls, folder: Path) -> None:
        promised: list[Digest] = []
        with open_store(folder, LocalFiles(calls)) as store:
            failure = attempt(lambda: put_all(store, promised))
            assert failure is None or "the disk is full" in failure.what
            calls.mend()
            put_all(store, promised)  # the very same store goes on when there is space
        read_back(folder, promised)

    assert each_call(tmp_path, use, errno.ENOSPC, lasting=True) > 20


def test_F05_a_forbidden_folder_is_named_and_reading_goes_on(tmp_path: Path) -> None:
    with ObjectStore(tmp_path) as store:
        digest = store.put(SMALL)
    calls = FailingCalls(1, errno.EROFS, lasting=True)
    with ObjectStore(tmp_path, files=LocalFiles(calls)) as store:
        with pytest.raises(ReadOnly, match="Read-only file system"):
            store.put(b"more")
        assert store.get(digest) == SMALL
        calls.mend()
        store.put(b"more")


@pytest.mark.parametrize("survives", ["synced", "torn", "zeroed", "all"])
def test_F02_power_loss_before_any_call_keeps_what_was_promised(tmp_path: Path, survives: Survives) -> None:
    number = 0
    while True:
        number += 1
        folder, after, promised = tmp_path / f"{number}", tmp_path / f"{number}-after", list[Digest]()
        calls = RecordingCalls(stop_at=number)
        files: Files = LocalFiles(calls)
        try:
            put_all(open_store(folder, files), promised)
        except PowerLoss:
            calls.write_state(folder, after, survives)
            read_back(after, promised)
            continue
        calls.write_state(folder, after, survives)
        read_back(after, promised)
        break
    assert number > 20


def test_F02_power_loss_never_leaves_half_a_file_under_its_name(tmp_path: Path) -> None:
    for survives in ("synced", "torn", "zeroed", "all"):
        for number in range(1, 20):
            calls = RecordingCalls(stop_at=number)
            folder, after = tmp_path / f"{survives}{number}", tmp_path / f"{survives}{number}-after"
            promised = [b"nothing"]
            try:
                files = LocalFiles(calls)
                files.mkdirs(folder)
                for text in (b"old" * 1000, b"new" * 2000):
                    files.write_atomic(folder / "spec.json", text)
                    promised = [text]
            except PowerLoss:
                promised += [b"old" * 1000, b"new" * 2000]
            calls.write_state(folder, after, survives)
            found = (after / "spec.json").read_bytes() if (after / "spec.json").exists() else b"nothing"
            assert found in promised


def work_on_everything(folder: Path) -> Callable[[Acknowledge], None]:
    def work(acknowledge: Acknowledge) -> None:
        with ObjectStore(folder / "objects") as store, Records.open(f"sqlite:///{folder}/records.db") as records:
            for data in (SMALL, WHOLE):
                acknowledge(f"object {store.put(data)}")
            gone = store.put(b"to be erased")
            acknowledge("erasing")
            store.delete(gone)
            acknowledge("erased")
            for number in range(3):
                records.write(lambda tx, n=number: tx.event("made", str(n), {}))
                acknowledge(f"event {number}")

            def change(tx: Transaction) -> bytes:
                tx.event("made", "once", {})
                return b"answer"

            records.once("key", "make", change)
            acknowledge("once")

    return work


def check_everything(folder: Path, acknowledged: list[str]) -> None:
    with ObjectStore(folder / "objects") as store, Records.open(f"sqlite:///{folder}/records.db") as records:
        assert verify(records, store).problems == []
        subjects = [event.subject for event in Events(records).list()]
        assert subjects == ["0", "1", "2", "once"][: len(subjects)]
        for said in acknowledged:
            kind, _, what = said.partition(" ")
            if kind == "object":
                assert digest_of(store.get(Digest(what))) == what
            if kind == "event":
                assert subjects.count(what) == 1
            if kind == "once":
                assert subjects.count("once") == 1
            if kind == "erased":
                assert not store.has(digest_of(b"to be erased"))
        # Whoever does not know whether it was done repeats it, and it is done once.
        records.once("key", "make", lambda tx: (tx.event("made", "once", {}), b"answer")[1])
        assert [event.subject for event in Events(records).list(subject="once")] == ["once"]


def test_F01_kill_9_at_every_failpoint_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with Records.open(f"sqlite:///{empty}/records.db") as records:
        create_tables(records, import_tables())
    shutil.copytree(empty, tmp_path / "whole")
    undisturbed = run_in_child(work_on_everything(tmp_path / "whole"), "*=count")
    assert "once" in undisturbed.acknowledged
    reached = {name for name in FAILPOINTS if name.startswith(("objects.", "records."))}
    assert reached <= set(undisturbed.hits)
    for name in sorted(reached):
        for turn in range(1, undisturbed.hits[name] + 1):
            folder = tmp_path / f"{name}@{turn}"
            shutil.copytree(empty, folder)
            outcome = run_in_child(work_on_everything(folder), f"{name}=kill@{turn}")
            assert outcome.was_killed, f"{name} was not reached {turn} times"
            check_everything(folder, outcome.acknowledged)


def test_F01_kill_9_while_a_file_is_replaced_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"

    def work(acknowledge: Acknowledge) -> None:
        for text in (b"first", b"second"):
            LocalFiles().write_atomic(path, text)
            acknowledge(text.decode())

    for name in ("files.atomic.written", "files.atomic.synced", "files.atomic.renamed"):
        for turn in (1, 2):
            path.unlink(missing_ok=True)
            outcome = run_in_child(work, f"{name}=kill@{turn}")
            assert outcome.was_killed
            found = path.read_text() if path.exists() else ""
            texts = ["", "first", "second"]
            assert found in texts[len(outcome.acknowledged) : len(outcome.acknowledged) + 2]


def test_F25_F01_records_survive_a_kill_while_tables_are_made(tmp_path: Path) -> None:
    def work(acknowledge: Acknowledge) -> None:
        with Records.open(f"sqlite:///{tmp_path}/records.db") as records:
            create_tables(records)

    assert run_in_child(work, "records.committing=kill@1").was_killed
    with Records.open(f"sqlite:///{tmp_path}/records.db") as records:
        assert records.write(lambda tx: sa.inspect(tx.connection).get_table_names()) == []
        create_tables(records)
