"""Records: one writer thread, group commit, readers beside it. SQLite in a workspace, PostgreSQL by URL.

`write` hands a change to the writer thread and returns its result once it is durable. Changes that wait together are
made one after the other, each under its own savepoint, and committed with one flush to disk; a change that raises is
undone alone and its error goes to its caller. A change made inside a change joins the same transaction.

SQLite: write-ahead log, full sync, and this connection is the only one that writes or checkpoints (builds up to 3.51.2
may damage the log otherwise); an flock beside the file keeps other processes out. Readers are opened read-only.
Tables belong to the rooms (`tables.metadata`), their migrations to `schema`.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa
from blake3 import blake3
from sqlalchemy import event, exc
from sqlalchemy.pool import NullPool, QueuePool

from perennial.clock import Clock, SystemClock
from perennial.errors import Conflict, Corrupt, Invalid, PerennialError, ReadOnly, StoreError, Unavailable
from perennial.ids import Ids, RandomIds
from perennial.store.actor import current_actor
from perennial.store.events import NewEvent, append_events
from perennial.store.failpoints import failpoint
from perennial.store.files import store_error
from perennial.store.tables import digest_column, metadata
from perennial.types import JSON, Micros, canonical_json

__all__ = ["Records", "Transaction", "create_tables", "digest_column", "metadata"]

MAX_GROUP = 512  # changes in one commit
BUSY_MS = 5_000  # a reader that meets a checkpoint waits this long

T = TypeVar("T")

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("operation", sa.String, nullable=False),
    sa.Column("request_digest", sa.String(64), nullable=False),
    sa.Column("response", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
owner_epoch = sa.Table(
    "owner_epoch",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
)


class Transaction:
    """What a change may use. Valid only inside the change, on its thread."""

    def __init__(self, connection: sa.Connection, now: Micros, ids: Ids, events: list[NewEvent]) -> None:
        self.connection = connection
        self.now = now
        self._ids = ids
        self.events = events

    def new_id(self) -> str:
        return self._ids.new()

    def event(self, kind: str, subject: str, payload: dict[str, JSON]) -> None:
        """Append to the chain when this change is committed, stamped with the acting person.

        Raises:
            Invalid: The payload holds NaN, an infinity or text that is not Unicode.
        """
        try:
            data = canonical_json(payload)
        except ValueError as error:
            raise Invalid(f"event {kind!r} cannot be written as JSON: {error}") from error
        self.events.append(NewEvent(self.now, kind, subject, str(current_actor()), data))


class _Job(Generic[T]):
    """A change on its way through the writer thread."""

    __slots__ = ("_done", "change", "context", "error", "result")

    def __init__(self, change: Callable[[Transaction], T]) -> None:
        self.change = change
        self.context: Context = copy_context()
        self.result: T | None = None
        self.error: BaseException | None = None
        self._done = threading.Lock()  # a tenth of the cost of a Future
        self._done.acquire()

    def finish(self) -> None:
        self._done.release()

    def wait(self) -> T:
        with self._done:
            if self.error is not None:
                raise self.error
            return cast(T, self.result)


class Records:
    """The database of a workspace. Safe for concurrent use."""

    def __init__(self, url: sa.URL, *, clock: Clock, ids: Ids, read_only: bool) -> None:
        self.url = url
        self.clock = clock
        self.ids = ids
        self.path = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        self.broken: str | None = None
        self._epoch: int | None = None
        self._lock = _lock_file(self.path) if self.path and not read_only else -1
        self._readers = _reading_engine(url, self.path)
        self._idle: list[sa.Connection] = []
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._here = threading.local()
        self._closing = threading.Lock()
        self._closed = False
        self.engine: sa.Engine | None = None
        self._writer: threading.Thread | None = None
        if not read_only:
            self.engine = _writing_engine(url)
            self._writer = threading.Thread(target=self._run, name="records-writer", daemon=True)
            self._writer.start()

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None, ids: Ids | None = None, read_only: bool = False) -> Records:
        """Open a database, for writing unless `read_only`. Its tables are `schema`'s business.

        Args:
            url: `sqlite:///path` or `postgresql+psycopg://...`.
            clock: Stamps transactions.
            ids: Makes new ids.
            read_only: Never change anything.

        Raises:
            Conflict: Another process writes this SQLite file.
            StoreError: The file cannot be opened.
        """
        return cls(sa.make_url(url), clock=clock or SystemClock(), ids=ids or RandomIds(), read_only=read_only)

    def write(self, change: Callable[[Transaction], T]) -> T:
        """Make a change durable, wholly or not at all, and return what it returns.

        `change` runs on the writer thread in the caller's context; it must not wait for another thread that writes.

        Raises:
            PerennialError: What the change raised, or Conflict, Invalid, StoreError, ReadOnly, Unavailable for what
                the database said.
        """
        inside: Transaction | None = getattr(self._here, "transaction", None)
        if inside is not None:
            return self._savepoint(inside.connection, inside.events, change, inside.now)
        job = _Job(change)
        with self._closing:
            if self._writer is None or self._closed:
                raise ReadOnly("the records are closed" if self._closed else "these records are open for reading only")
            self._jobs.put(job)
        return job.wait()

    def once(self, key: str, operation: str, change: Callable[[Transaction], bytes], *, request: bytes = b"") -> bytes:
        """`write` that a client may repeat: the second time with the same key gives the first answer, nothing else.

        Raises:
            Conflict: The key was used for another operation or request.
        """
        digest = blake3(request).hexdigest()

        def change_once(tx: Transaction) -> bytes:
            found = tx.connection.execute(sa.select(idempotency).where(idempotency.c.key == key)).one_or_none()
            if found is not None:
                if (found.operation, found.request_digest) != (operation, digest):
                    raise Conflict(f"the key {key!r} was used for another request", remedy="use a new Idempotency-Key")
                return bytes(found.response)
            response = change(tx)
            row = {"key": key, "operation": operation, "request_digest": digest, "response": response, "at": tx.now}
            tx.connection.execute(sa.insert(idempotency).values(row))
            return response

        return self.write(change_once)

    def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run a query on one consistent state; inside a change it sees what the change did so far."""
        inside: Transaction | None = getattr(self._here, "transaction", None)
        if inside is not None:
            return query(inside.connection)
        try:
            connection = self._idle.pop() if self._idle else self._readers.connect()
        except IndexError:  # another thread was quicker
            connection = self._readers.connect()
        try:
            with connection.begin():
                result = query(connection)
        except exc.SQLAlchemyError as error:
            connection.close()
            raise _translated(error) from error
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return result

    def fence(self, epoch: int) -> None:
        """From now on commit only while no owner with a higher epoch has been here.

        Raises:
            Conflict: One has been already.
        """

        def raise_epoch(tx: Transaction) -> None:
            current = tx.connection.execute(sa.select(owner_epoch.c.epoch)).scalar()
            if current is None:
                tx.connection.execute(sa.insert(owner_epoch).values(id=1, epoch=epoch))
            elif current > epoch:
                raise _fenced(epoch, current)
            else:
                tx.connection.execute(sa.update(owner_epoch).values(epoch=epoch))

        self.write(raise_epoch)
        self._epoch = epoch

    def close(self) -> None:
        """Finish what was asked for, then let go of the database. Twice is fine."""
        with self._closing:
            closed, self._closed = self._closed, True
            self._jobs.put(None)
        if closed:
            return
        if self._writer is not None:
            self._writer.join()
        while self._idle:
            self._idle.pop().close()
        self._readers.dispose()
        if self.engine is not None:
            self.engine.dispose()  # last: closing it moves the log into the database
        if self._lock >= 0:
            os.close(self._lock)

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The rest runs on the writer thread.

    def _run(self) -> None:
        closing = False
        while not closing:
            first = self._jobs.get()
            if first is None:
                return
            group: list[_Job[Any]] = []
            try:
                closing = self._commit(first, group)
            except BaseException as error:  # noqa: BLE001  # the boundary of the thread: each caller gets it as their own
                failure = self._failed(error)
                for job in group:
                    job.error = job.error or failure
            for job in group:
                job.finish()

    def _commit(self, first: _Job[Any], group: list[_Job[Any]]) -> bool:
        """Make the changes that wait, in one commit; says whether the end was asked for."""
        group.append(first)
        closing = False
        if self.broken:
            raise ReadOnly(f"writing is off since: {self.broken}", remedy="mend the disk, then start again")
        assert self.engine is not None
        with self.engine.begin() as connection:
            if self._epoch is not None:
                current = connection.execute(sa.select(owner_epoch.c.epoch)).scalar_one()
                if current != self._epoch:
                    raise _fenced(self._epoch, current)
            events: list[NewEvent] = []
            self._change(connection, events, first)
            while len(group) < MAX_GROUP:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    closing = True
                    break
                group.append(job)
                self._change(connection, events, job)
            failpoint("records.changed")
            if events:
                append_events(connection, events)
            failpoint("records.committing")
        failpoint("records.committed")
        return closing

    def _change(self, connection: sa.Connection, events: list[NewEvent], job: _Job[Any]) -> None:
        try:
            job.result = job.context.run(self._savepoint, connection, events, job.change, self.clock.now())
        except _Lost:
            raise
        except BaseException as error:  # noqa: BLE001  # it is the caller's, who raises it again
            job.error = error

    def _savepoint(
        self, connection: sa.Connection, events: list[NewEvent], change: Callable[[Transaction], T], now: Micros
    ) -> T:
        outer = getattr(self._here, "transaction", None)
        mark = len(events)
        connection.exec_driver_sql("SAVEPOINT change")
        self._here.transaction = Transaction(connection, now, self.ids, events)
        try:
            result = change(self._here.transaction)
        except BaseException as error:
            del events[mark:]
            try:
                connection.exec_driver_sql("ROLLBACK TO SAVEPOINT change")
                connection.exec_driver_sql("RELEASE SAVEPOINT change")
            except exc.SQLAlchemyError as broken:
                # The transaction itself is gone (connection lost, disk error): nothing of the group can be kept.
                raise _Lost(error) from broken
            if isinstance(error, exc.SQLAlchemyError | OverflowError | UnicodeEncodeError):
                raise _translated(error) from error
            raise
        finally:
            self._here.transaction = outer
        connection.exec_driver_sql("RELEASE SAVEPOINT change")
        return result

    def _failed(self, error: BaseException) -> BaseException:
        """What the callers of a group that could not be committed are told."""
        if isinstance(error, _Lost):
            error = error.cause
        if isinstance(error, PerennialError):
            return error
        told = _translated(error)
        # A flush that failed once is never believed again: the pages may be gone although the next flush succeeds.
        if isinstance(told, ReadOnly):
            self.broken = told.what
        return told


class _Lost(Exception):
    """The group's transaction broke while one of its changes ran."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


def create_tables(records: Records, tables: sa.MetaData = metadata) -> None:
    """Create all declared tables without migrations, for the tests of a room."""
    assert records.engine is not None
    tables.create_all(records.engine)


def _fenced(epoch: int, current: int) -> Conflict:
    return Conflict(
        f"this process owned the workspace as number {epoch}; number {current} has taken over",
        remedy="stop this process; nothing it wrote since then was kept",
    )


def _translated(error: BaseException) -> PerennialError:
    """The error of our tree for what the database said."""
    cause: object = error.orig if isinstance(error, exc.DBAPIError) else error
    text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(error).__name__
    if isinstance(error, exc.IntegrityError):
        return Conflict(f"the records do not allow this: {text}")
    if isinstance(cause, OverflowError | UnicodeEncodeError) or isinstance(error, exc.DataError):
        return Invalid(f"a value cannot be stored: {text}", remedy="use Unicode text without NUL and 64-bit numbers")
    if isinstance(cause, OSError):
        return store_error("the records were not written", cause, Path("records"))
    lower = text.lower()  # SQLite's codes come as sentences; they have not changed since 2004
    if "is full" in lower:
        return StoreError("the records were not written: the disk is full", remedy="free some space, then try again")
    if "disk i/o error" in lower or "readonly database" in lower:
        remedy = "mend the disk or the permissions, then start again"
        return ReadOnly(f"the records cannot be written: {text}", remedy=remedy)
    if "malformed" in lower or "not a database" in lower:
        return Corrupt(f"the records are damaged: {text}", remedy="restore a backup with: perennial restore")
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        return Unavailable(f"the database does not answer: {text}", remedy="try again")
    return StoreError(f"the records refused: {text}")


def _lock_file(path: Path) -> int:
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise store_error("the records cannot be opened", error, path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        says = "another process writes these records"
        raise Conflict(says, where=str(path), remedy="use them through their owner") from None
    return descriptor


def _writing_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_size=1, max_overflow=0)
    one = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
    engine = sa.create_engine(url, connect_args={"check_same_thread": False}, **one)
    _set_up(engine, "BEGIN IMMEDIATE", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
    return engine


def _reading_engine(url: sa.URL, path: Path | None) -> sa.Engine:
    if path is None:
        return sa.create_engine(
            url,
            isolation_level="REPEATABLE READ",
            max_overflow=32,
            connect_args={"options": "-c default_transaction_read_only=on"},
        )
    target = sa.URL.create("sqlite", database=f"file:{path}", query={"mode": "ro", "uri": "true"})
    engine = sa.create_engine(target, poolclass=NullPool, connect_args={"check_same_thread": False})
    _set_up(engine, "BEGIN", "query_only=ON", "wal_autocheckpoint=0")
    return engine


def _set_up(engine: sa.Engine, begin: str, *pragmas: str) -> None:
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come too late; ours is below
        for pragma in (*pragmas, f"busy_timeout={BUSY_MS}", "mmap_size=0"):
            connection.execute(f"PRAGMA {pragma}")

    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
