"""Records on SQLite and PostgreSQL: the same promises, the same tests."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.clock import FixedClock
from perennial.errors import Conflict, Corrupt, Invalid, PerennialError, ReadOnly, StoreError
from perennial.store import failpoints
from perennial.store.events import Events
from perennial.store.records import Records, Transaction

# Not on the shared metadata: this table is the tests' own.
own = sa.MetaData()
notes = sa.Table("notes", own, sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.String, unique=True))


@pytest.fixture
def book(records: Records) -> Records:
    records.write(lambda tx: own.create_all(tx.connection))
    return records


def add(tx: Transaction, text: str) -> None:
    tx.connection.execute(sa.insert(notes), {"text": text})


def texts(records: Records) -> list[str]:
    return list(records.read(lambda c: c.execute(sa.select(notes.c.text).order_by(notes.c.text)).scalars()))


def test_a_change_returns_its_result_and_is_seen_by_the_next_reader(book: Records) -> None:
    assert book.write(lambda tx: (add(tx, "a"), tx.now)[1]) == book.clock.now()
    assert texts(book) == ["a"]


def test_P2_a_change_that_raises_leaves_nothing(book: Records) -> None:
    def change(tx: Transaction) -> None:
        add(tx, "half")
        tx.event("made", "half", {})
        raise Invalid("no")

    with pytest.raises(Invalid, match="no"):
        book.write(change)
    assert texts(book) == []
    assert Events(book).list() == []


def test_a_failing_change_does_not_undo_its_neighbours_in_the_group(book: Records) -> None:
    barrier, failures = threading.Barrier(16), []

    def work(number: int) -> None:
        barrier.wait()
        try:
            book.write(lambda tx: add(tx, str(number % 8)))  # each text twice, and it must be unique
        except Conflict as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts(book) == [str(number) for number in range(8)]
    assert len(failures) == 8


def test_many_waiting_changes_share_a_commit(book: Records) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def first(tx: Transaction) -> None:
        inside.set()
        go_on.wait(10)

    failpoints.arm("*=count")
    try:
        threads = [threading.Thread(target=book.write, args=(first,))]
        threads[0].start()
        inside.wait(10)
        threads += [threading.Thread(target=book.write, args=(lambda tx, n=n: add(tx, str(n)),)) for n in range(50)]
        for thread in threads[1:]:
            thread.start()
        deadline = time.monotonic() + 10
        while book._jobs.qsize() < 50 and time.monotonic() < deadline:
            pass
        go_on.set()
        for thread in threads:
            thread.join()
        assert failpoints.hits()["records.committed"] == 1
    finally:
        failpoints.arm("")
    assert len(texts(book)) == 50


def test_a_change_inside_a_change_joins_it(book: Records) -> None:
    def outer(tx: Transaction) -> None:
        add(tx, "outer")
        book.write(lambda inner: add(inner, "inner"))
        assert texts(book) == ["inner", "outer"]  # a reader inside sees what was done so far
        with pytest.raises(Conflict):
            book.write(lambda inner: (add(inner, "gone"), add(inner, "outer")))
        assert texts(book) == ["inner", "outer"]  # and an inner change that failed is undone alone

    book.write(outer)
    assert texts(book) == ["inner", "outer"]


def test_a_write_that_is_repeated_with_its_key_happens_once(book: Records) -> None:
    def change(tx: Transaction) -> bytes:
        add(tx, "once")
        return b"answer"

    assert [book.once("key", "notes.add", change, request=b"once") for _ in range(3)] == [b"answer"] * 3
    assert texts(book) == ["once"]


def test_a_key_used_for_another_request_is_refused(book: Records) -> None:
    book.once("key", "notes.add", lambda tx: b"", request=b"one")
    with pytest.raises(Conflict, match="another request"):
        book.once("key", "notes.add", lambda tx: b"", request=b"two")
    with pytest.raises(Conflict, match="another request"):
        book.once("key", "notes.drop", lambda tx: b"", request=b"one")


def test_a_write_that_failed_may_be_repeated_with_its_key(book: Records) -> None:
    def fail(tx: Transaction) -> bytes:
        raise Invalid("not yet")

    with pytest.raises(Invalid):
        book.once("key", "notes.add", fail)
    assert book.once("key", "notes.add", lambda tx: b"now") == b"now"


def test_what_the_database_refuses_is_an_error_of_our_tree(book: Records) -> None:
    book.write(lambda tx: add(tx, "same"))
    with pytest.raises(Conflict):
        book.write(lambda tx: add(tx, "same"))
    with pytest.raises(Invalid):
        book.write(lambda tx: add(tx, "lone surrogate \ud800"))
    with pytest.raises(Invalid):
        book.write(lambda tx: tx.connection.execute(sa.insert(notes), {"id": 2**70, "text": "x"}))
    with pytest.raises(StoreError):
        book.read(lambda c: c.execute(sa.text("select * from nowhere")).all())
    assert texts(book) == ["same"]


def test_a_reader_cannot_write(book: Records) -> None:
    with pytest.raises(PerennialError):
        book.read(lambda c: c.execute(sa.insert(notes), {"text": "sneaked in"}))
    assert texts(book) == []


def test_a_reader_sees_one_state_while_others_write(book: Records) -> None:
    book.write(lambda tx: add(tx, "a"))

    def twice(connection: sa.Connection) -> tuple[int, int]:
        count = sa.select(sa.func.count()).select_from(notes)
        before = connection.execute(count).scalar_one()
        writer = threading.Thread(target=book.write, args=(lambda tx: add(tx, "b"),))
        writer.start()
        writer.join()
        return before, connection.execute(count).scalar_one()

    assert book.read(twice) == (1, 1)
    assert texts(book) == ["a", "b"]


def test_F03_a_failed_flush_turns_writing_off_and_is_not_believed_later(book: Records) -> None:
    book.write(lambda tx: add(tx, "before"))
    failpoints.arm("records.committing=error@1")
    try:
        with pytest.raises(ReadOnly):
            book.write(lambda tx: add(tx, "lost"))
        with pytest.raises(ReadOnly, match="writing is off"):
            book.write(lambda tx: add(tx, "refused"))
    finally:
        failpoints.arm("")
    assert texts(book) == ["before"]  # reading goes on


def test_F04_after_a_full_disk_writing_goes_on_by_itself(book: Records) -> None:
    failpoints.arm("records.committing=full@1")
    try:
        with pytest.raises(StoreError, match="full"):
            book.write(lambda tx: add(tx, "too much"))
        book.write(lambda tx: add(tx, "fits"))
    finally:
        failpoints.arm("")
    assert texts(book) == ["fits"]


def test_F04_sqlite_says_itself_that_it_is_full(tmp_path: Path, open_records: Callable[..., Records]) -> None:
    book = open_records(f"sqlite:///{tmp_path / 'records.db'}")
    book.write(lambda tx: own.create_all(tx.connection))
    book.write(lambda tx: tx.connection.exec_driver_sql("PRAGMA max_page_count=20").all())
    with pytest.raises(StoreError, match="full"):
        book.write(lambda tx: add(tx, "x" * 200_000))
    book.write(lambda tx: add(tx, "small"))
    assert texts(book) == ["small"]


def test_F11_an_owner_that_was_replaced_commits_nothing_more(book: Records) -> None:
    book.fence(1)
    book.write(lambda tx: add(tx, "mine"))
    # The successor, as it would come in when the lock was lost (a network file system that forgot it).
    engine = sa.create_engine(book.url)
    with engine.begin() as connection:
        connection.execute(sa.text("update owner_epoch set epoch = 2"))
    with pytest.raises(Conflict, match="number 2 has taken over"):
        book.write(lambda tx: add(tx, "late"))
    engine.dispose()
    assert texts(book) == ["mine"]
    with pytest.raises(Conflict):
        book.fence(1)


def test_F11_a_second_writer_of_one_file_is_refused(tmp_path: Path, open_records: Callable[..., Records]) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    first = open_records(url)
    with pytest.raises(Conflict, match="another process"):
        open_records(url)
    first.close()
    open_records(url)


def test_F09_only_the_locked_writer_writes_and_checkpoints(
    tmp_path: Path, open_records: Callable[..., Records]
) -> None:
    book = open_records(f"sqlite:///{tmp_path / 'records.db'}")

    def pragmas(connection: sa.Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "wal_autocheckpoint", "query_only", "mmap_size", "foreign_keys")
        rows = {name: connection.exec_driver_sql(f"PRAGMA {name}").first() for name in names}
        return {name: row[0] if row else 0 for name, row in rows.items()}

    writer = book.write(lambda tx: pragmas(tx.connection))
    assert (writer["journal_mode"], writer["synchronous"], writer["foreign_keys"]) == ("wal", 2, 1)
    reader = book.read(pragmas)
    assert (reader["query_only"], reader["wal_autocheckpoint"], reader["mmap_size"]) == (1, 0, 0)
    with pytest.raises(Conflict):  # the lock is held for as long as the writer lives
        open_records(f"sqlite:///{tmp_path / 'records.db'}")


def test_closing_moves_the_log_into_the_file(tmp_path: Path, open_records: Callable[..., Records]) -> None:
    book = open_records(f"sqlite:///{tmp_path / 'records.db'}")
    book.write(lambda tx: own.create_all(tx.connection))
    book.close()
    assert {path.name for path in tmp_path.iterdir()} == {"records.db", "records.db.lock"}
    with pytest.raises(ReadOnly, match="closed"):
        book.write(lambda tx: None)
    book.close()


def test_closing_ends_also_when_the_last_commit_fails(tmp_path: Path, open_records: Callable[..., Records]) -> None:
    book = open_records(f"sqlite:///{tmp_path / 'records.db'}")
    inside, go_on, errors = threading.Event(), threading.Event(), list[BaseException]()

    def last(tx: Transaction) -> None:
        inside.set()
        go_on.wait(10)

    def write() -> None:
        try:
            book.write(last)
        except StoreError as error:
            errors.append(error)

    failpoints.arm("records.committing=error")
    try:
        writer, closer = threading.Thread(target=write), threading.Thread(target=book.close)
        writer.start()
        inside.wait(10)
        closer.start()
        deadline = time.monotonic() + 10
        while book._jobs.empty() and time.monotonic() < deadline:
            pass
        go_on.set()
        closer.join(10)
        assert not closer.is_alive()
        writer.join(10)
    finally:
        failpoints.arm("")
    assert len(errors) == 1


def test_a_query_that_raises_costs_no_connection(book: Records) -> None:
    texts(book)
    before = list(book._idle)
    for _ in range(3):
        with pytest.raises(Invalid):
            book.read(raise_invalid)
    assert book._idle == before
    assert texts(book) == []


def raise_invalid(connection: sa.Connection) -> None:
    connection.execute(sa.select(notes)).all()
    raise Invalid("not this one")


def test_records_opened_for_reading_refuse_to_write(tmp_path: Path, open_records: Callable[..., Records]) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    writer = open_records(url)
    writer.write(lambda tx: own.create_all(tx.connection))
    reader = open_records(url, read_only=True)
    assert texts(reader) == []
    with pytest.raises(ReadOnly, match="reading only"):
        reader.write(lambda tx: None)


def test_F08_a_damaged_file_is_named_and_left_alone(tmp_path: Path, open_records: Callable[..., Records]) -> None:
    path = tmp_path / "records.db"
    path.write_bytes(b"this is no database, but it is somebody's only copy" * 100)
    before = path.read_bytes()
    book = open_records(f"sqlite:///{path}")
    with pytest.raises(Corrupt, match="damaged"):
        book.write(lambda tx: None)
    assert path.read_bytes() == before


def test_the_change_runs_as_its_caller(book: Records) -> None:
    from perennial.store.actor import acting

    with acting("anna", "page"):
        book.write(lambda tx: tx.event("noted", "x", {}))
    book.write(lambda tx: tx.event("noted", "x", {}))
    first, second = Events(book).list()
    assert first.actor == "anna via page"
    assert second.actor.endswith(" via library")


def test_time_stands_still_within_a_transaction(book: Records, clock: FixedClock) -> None:
    def change(tx: Transaction) -> None:
        clock.advance(60)
        tx.event("noted", "x", {})

    before = clock.now()
    book.write(change)
    assert Events(book).list()[0].at == before


@pytest.mark.parametrize(
    "module, unwanted",
    [("records", "alembic"), ("objects", "sqlalchemy"), ("objects", "numpy"), ("owner", "sqlalchemy")],
)
def test_what_a_module_does_not_import(module: str, unwanted: str) -> None:
    code = f"import sys, perennial.store.{module}; sys.exit({unwanted!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
