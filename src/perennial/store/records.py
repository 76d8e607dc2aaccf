"""Records: one writer thread, group commit, readers beside it. SQLite in a workspace, PostgreSQL by URL.

`write` hands a change to the writer thread and returns its result once it is durable. Changes that wait together are
made one after the other, each under its own savepoint, and committed with one flush to disk; a change that raises is
undone alone and its error goes to its caller. A change made inside a change joins the same transaction.

On SQLite this is the only connection that writes or checkpoints, with a lock beside the file that keeps other processes
out; readers are opened read-only. Tables belong to the rooms (`tables`), their migrations to `schema`.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa
from blake3 import blake3

from perennial import __version__
from perennial.clock import Clock, SystemClock
from perennial.errors import Conflict, Invalid, PerennialError, ReadOnly, StoreError
from perennial.ids import Ids, RandomIds
from perennial.store.actor import current_actor
from perennial.store.database import Session, lock_file, reading_engine, translated, writing_engine
from perennial.store.events import NewEvent, append_events
from perennial.store.failpoints import failpoint
from perennial.store.prepared import Prepared
from perennial.store.tables import digest_column, metadata
from perennial.types import JSON, Micros, canonical_json

__all__ = ["Records", "Transaction", "create_tables", "digest_column", "metadata"]

MAX_GROUP = 512  # changes in one commit
MAX_IDLE = 16  # connections kept open for the next reader

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
    sa.Column("program", sa.String, nullable=False),  # the version of perennial, for older ones that must refuse
)
_ANSWER = sa.select(idempotency).where(idempotency.c.key == sa.bindparam("sought"))
_KEEP = sa.insert(idempotency)
_EPOCH = sa.select(owner_epoch.c.epoch)
_EPOCH_NOW = Prepared(_EPOCH)


class Transaction:
    """What a change may use. Valid only inside the change, on its thread."""

    def __init__(self, connection: sa.Connection, now: Micros, ids: Ids, events: list[NewEvent]) -> None:
        self.connection = connection
        self.now = now
        self.events = events
        self._ids = ids

    def new_id(self) -> str:
        return self._ids.new()

    def event(self, kind: str, subject: str, payload: dict[str, JSON]) -> None:
        """Append to the chain when this change is committed, stamped with the acting person.

        Raises:
            Invalid: The payload holds NaN, an infinity or text that is not Unicode.
        """
        try:
            data = canonical_json(payload)
            names = canonical_json([kind, subject])
        except ValueError as error:
            raise Invalid(f"event {kind!r} cannot be written as JSON: {error}") from error
        if b"\\u0000" in names:  # PostgreSQL refuses it, and would refuse the whole group with it
            raise Invalid(f"event {kind!r} on {subject!r}: names cannot hold NUL")
        self.events.append(NewEvent(self.now, kind, subject, str(current_actor()), data))


class _Job(Generic[T]):
    """A change on its way through the writer thread."""

    __slots__ = ("_done", "change", "context", "error", "result", "tell")

    def __init__(
        self, change: Callable[[Transaction], T], tell: Callable[[T | None, BaseException | None], None] | None = None
    ) -> None:
        self.change = change
        self.tell = tell
        self.context = copy_context()  # so that the change knows who acts
        self.result: T | None = None
        self.error: BaseException | None = None
        self._done = threading.Lock()  # a tenth of the cost of a Future
        self._done.acquire()

    def finish(self) -> None:
        self._done.release()
        if self.tell is not None:
            self.tell(self.result, self.error)

    def wait(self) -> T:
        self._done.acquire()
        if self.error is not None:
            raise self.error
        return cast(T, self.result)


class Records:
    """The database of a workspace. Safe for concurrent use.

    `path` is the SQLite file, None on a server. `broken` says why writing is off, None while all is well.
    """

    def __init__(self, url: sa.URL, *, clock: Clock, ids: Ids, read_only: bool, alone: bool = False) -> None:
        self.url = url
        self.clock = clock
        self.ids = ids
        self.path = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        self.broken: str | None = "these records are open for reading only" if read_only else None
        self._epoch: int | None = None
        self._alone = alone
        self._here = threading.local()  # .transaction: the one this thread is inside of
        self._reading = reading_engine(url)
        self._idle: list[Session] = []
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._process = os.getpid()
        self._lock = lock_file(self.path) if self.path and not read_only else None
        self._session: Session | None = None
        self._writing = writing_engine(url)
        self._writer = threading.Thread(target=self._run, name="records-writer", daemon=True)
        self._writer.start()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        read_only: bool = False,
        alone: bool = False,
    ) -> Records:
        """Open a database, for writing unless `read_only`. Its tables are `schema`'s business.

        Args:
            url: `sqlite:///path` or `postgresql+psycopg://...`.
            clock: Stamps transactions.
            ids: Makes new ids.
            read_only: Never change anything.
            alone: Refuse to write a database on a server while another process that is alone there does. A SQLite file
                has one writer in any case.

        Raises:
            Conflict: Another process writes this SQLite file.
            StoreError: The file cannot be opened.
        """
        return cls(
            sa.make_url(url), clock=clock or SystemClock(), ids=ids or RandomIds(), read_only=read_only, alone=alone
        )

    def write(self, change: Callable[[Transaction], T]) -> T:
        """Make a change durable, wholly or not at all, and return what it returns.

        `change` runs on the writer thread in the caller's context; it must not wait for another thread that writes.

        Raises:
            PerennialError: What the change raised; or Conflict, Invalid, StoreError, ReadOnly, Unavailable for what
                the database said.
        """
        inside: Transaction | None = getattr(self._here, "transaction", None)
        if inside is not None:
            return self._savepoint(inside.events, change, inside.now)
        job = _Job(change)
        self._queue(job)
        return job.wait()

    def submit(
        self, change: Callable[[Transaction], T], tell: Callable[[T | None, BaseException | None], None]
    ) -> None:
        """`write` that does not wait: `tell` gets the result or the error, on the writer thread, once it is durable.

        It must be quick and must not raise. Not for use inside a change.
        """
        self._queue(_Job(change, tell))

    def _queue(self, job: _Job[Any]) -> None:
        with self._closing:  # nothing is queued behind the end
            if self._closed:
                raise ReadOnly("the records are closed")
            if self._process != os.getpid():  # the writer thread did not come along
                raise StoreError("these records were opened before this process was forked", remedy="open them here")
            self._jobs.put(job)

    def once(self, key: str, operation: str, change: Callable[[Transaction], bytes], *, request: bytes = b"") -> bytes:
        """`write` that a client may repeat: the second time with the same key gives the first answer, nothing else.

        Raises:
            Conflict: The key was used for another operation or request.
        """
        digest = blake3(request).hexdigest()

        def change_once(tx: Transaction) -> bytes:
            found = tx.connection.execute(_ANSWER, {"sought": key}).one_or_none()
            if found is not None:
                if (found.operation, found.request_digest) != (operation, digest):
                    raise Conflict(f"the key {key!r} was used for another request", remedy="use a new Idempotency-Key")
                return bytes(found.response)
            response = change(tx)
            row = {"key": key, "operation": operation, "request_digest": digest, "response": response, "at": tx.now}
            tx.connection.execute(_KEEP, row)
            return response

        return self.write(change_once)

    def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run a query on one consistent state; inside a change it sees what the change did so far."""
        inside: Transaction | None = getattr(self._here, "transaction", None)
        if inside is not None:
            return query(inside.connection)
        session: Session | None = None
        try:
            session = self._idle_session() or Session(self._reading)
            session.begin()
            try:
                return query(session.connection)
            finally:
                session.rollback()  # nothing was changed; cheaper than a commit, and right after an error too
        except BaseException as error:
            if _is_from_database(error):
                if session is not None:
                    session.close()
                session = None
                raise translated(error) from error
            raise
        finally:
            if session is not None:
                self._let_go(session)

    def fence(self, epoch: int) -> None:
        """From now on commit only while no owner with a higher epoch has been here.

        A database on a server may have had an owner in another folder, which counted by itself: there the next number
        is taken.

        Raises:
            Conflict: One has been already.
        """

        def raise_epoch(tx: Transaction) -> int:
            current = tx.connection.execute(_EPOCH).scalar()
            number = epoch if self.path is not None else max(epoch, (current or 0) + 1)
            if current is None:
                tx.connection.execute(sa.insert(owner_epoch).values(id=1, epoch=number, program=__version__))
            elif current > number:
                raise _fenced(number, current)
            else:
                tx.connection.execute(sa.update(owner_epoch).values(epoch=number, program=__version__))
            return number

        self._epoch = self.write(raise_epoch)

    def close(self) -> None:
        """Finish what was asked for, then let go of the database. Twice is fine."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._writer.join()
        while (session := self._idle_session()) is not None:
            session.close()
        if self._session is not None:
            self._session.close()  # last: this moves the log into the database
        if self._lock is not None:
            os.close(self._lock)

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _let_go(self, session: Session) -> None:
        if len(self._idle) < MAX_IDLE and not self._closed:
            self._idle.append(session)
        else:
            session.close()

    def _idle_session(self) -> Session | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    # The rest runs on the writer thread.

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            group = [first]
            try:
                ended = self._commit(group)
            except BaseException as error:  # noqa: BLE001  # the thread's boundary: each caller gets it as their own
                self._fail(group, error)
                ended = self._closed and self._jobs.empty()  # the end itself may have been in this group
            for job in group:
                job.finish()
            if ended:
                return

    def _commit(self, group: list[_Job[Any]]) -> bool:
        """Make the first change and all that wait behind it, in one commit; says whether the end was asked for."""
        if self.broken:
            raise ReadOnly(f"writing is off: {self.broken}", remedy="mend the cause, then start again")
        if self._session is None:
            self._session = Session(self._writing)
            if self._alone:
                self._session.hold_writing()
        session = self._session
        session.begin()
        if self._epoch is not None:
            found = _EPOCH_NOW.row(session.connection)
            if found is None or found[0] != self._epoch:
                raise _fenced(self._epoch, -1 if found is None else found[0])
        events: list[NewEvent] = []
        self._change(group[0], events)
        while len(group) < MAX_GROUP and not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                self._finish(session, events)
                return True
            group.append(job)
            self._change(job, events)
        self._finish(session, events)
        return False

    def _finish(self, session: Session, events: list[NewEvent]) -> None:
        failpoint("records.changed")
        if events:
            append_events(session.connection, events)
        failpoint("records.committing")
        session.commit()
        failpoint("records.committed")

    def _change(self, job: _Job[Any], events: list[NewEvent]) -> None:
        try:
            job.result = job.context.run(self._savepoint, events, job.change, self.clock.now())
        except _Lost:
            raise
        except BaseException as error:  # noqa: BLE001  # it is the caller's, who raises it again
            job.error = error

    def _savepoint(self, events: list[NewEvent], change: Callable[[Transaction], T], now: Micros) -> T:
        assert self._session is not None
        session, outer, mark = self._session, getattr(self._here, "transaction", None), len(events)
        session.savepoint()
        self._here.transaction = Transaction(session.connection, now, self.ids, events)
        try:
            result = change(self._here.transaction)
            session.release()
        except BaseException as error:
            del events[mark:]
            try:
                session.undo()
            except Exception as lost:  # the transaction itself is gone: nothing of the group can be kept
                raise _Lost(error) from lost
            if _is_from_database(error):
                raise translated(error) from error
            raise
        finally:
            self._here.transaction = outer
        return result

    def _fail(self, group: list[_Job[Any]], error: BaseException) -> None:
        """Nothing of the group was kept, as far as we know; its callers are told why."""
        cause = error.cause if isinstance(error, _Lost) else error
        told = translated(cause) if _is_from_database(cause) or isinstance(cause, OSError) else cause
        for job in group:
            job.error = job.error or told
        if isinstance(told, ReadOnly) and self.broken is None:
            # A flush that failed is never believed again: the pages may be gone although the next one succeeds.
            self.broken = told.what
        if self._session is not None:
            self._session.close()
            self._session = None


class _Lost(Exception):
    """The group's transaction broke while one of its changes ran."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


def create_tables(records: Records, tables: sa.MetaData = metadata) -> None:
    """Create all declared tables without migrations, for the tests of a room."""
    records.write(lambda tx: tables.create_all(tx.connection))


def _fenced(epoch: int, current: int) -> Conflict:
    return Conflict(
        f"this process owned the workspace as number {epoch}; number {current} has taken over",
        remedy="stop this process; what it wrote since then was not kept",
    )


def _is_from_database(error: BaseException) -> bool:
    """Whether SQLAlchemy or a driver raised this, rather than the code that runs in the transaction."""
    if isinstance(error, PerennialError):
        return False
    return isinstance(error, OverflowError | UnicodeEncodeError) or type(error).__module__.partition(".")[0] in (
        "sqlalchemy",
        "sqlite3",
        "psycopg",
    )
