"""How the two databases are opened and what their errors mean; everything above speaks SQLAlchemy Core to both.

Transactions are begun and ended by plain statements on the driver's connection: one way for both databases, and a
tenth of the cost of the library's own.
"""

from __future__ import annotations

import fcntl
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import NullPool

from perennial.errors import ConfigError, Conflict, Corrupt, Invalid, PerennialError, ReadOnly, StoreError, Unavailable
from perennial.store.files import store_error

__all__ = ["Session", "database_url", "lock_file", "reading_engine", "translated", "writing_engine"]

BUSY_MS = 5_000  # a reader that meets a checkpoint waits this long
WAL_PAGES = 4_000  # of 4 KiB in the log before they move into the database: moving more at once costs less for each


_WRITER_LOCK = 0x5045_5257_5249  # "PERWRI": who writes the records of a PostgreSQL database


def database_url(setting: str, file: Path) -> str:
    """The URL of the records: what the settings name, else the SQLite file of the workspace.

    Raises:
        ConfigError: It is no address of a PostgreSQL database, or the driver is not installed.
    """
    if not setting:
        return f"sqlite:///{file}"
    try:
        url = sa.make_url(setting)
    except exc.ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "postgresql" or not url.database:
        remedy = "write postgresql://USER:PASSWORD@HOST/DATABASE, or leave it out for SQLite"
        raise ConfigError("this is not the address of a PostgreSQL database", where="setting records", remedy=remedy)
    if find_spec("psycopg") is None:
        remedy = "pip install 'perennial[postgres]'"
        raise ConfigError("PostgreSQL needs its driver", where="setting records", remedy=remedy)
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


class Session:
    """One connection and its transactions. Used by one thread at a time."""

    def __init__(self, engine: sa.Engine) -> None:
        self.connection = engine.connect()
        self._driver: Any = self.connection.connection.driver_connection
        self._begin = "BEGIN"
        if engine.dialect.name == "sqlite" and not engine.url.query:
            self._begin = "BEGIN IMMEDIATE"  # the write lock at once, not when the first row changes

    def hold_writing(self) -> None:
        """Be the one who writes a PostgreSQL database, as long as this connection lasts; SQLite has a lock file.

        Raises:
            Conflict: Somebody else is.
        """
        if self.connection.dialect.name != "postgresql":
            return
        if not self._driver.execute("SELECT pg_try_advisory_lock(%s)", [_WRITER_LOCK]).fetchone()[0]:
            remedy = "use them through their owner, or stop it there"
            raise Conflict("another process writes these records", where="PostgreSQL", remedy=remedy)

    def begin(self) -> None:
        self._driver.execute(self._begin)

    def commit(self) -> None:
        self._driver.execute("COMMIT")

    def rollback(self) -> None:
        self._driver.execute("ROLLBACK")

    def savepoint(self) -> None:
        self._driver.execute("SAVEPOINT change")

    def release(self) -> None:
        self._driver.execute("RELEASE SAVEPOINT change")

    def undo(self) -> None:
        """Back to the last savepoint, and let go of it."""
        self._driver.execute("ROLLBACK TO SAVEPOINT change")
        self._driver.execute("RELEASE SAVEPOINT change")

    def close(self) -> None:
        self.connection.invalidate()  # whatever state it is in, nobody uses it again
        self.connection.close()


def writing_engine(url: sa.URL) -> sa.Engine:
    """For the one connection that changes anything."""
    engine = sa.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=_same_thread(url))
    if engine.dialect.name == "sqlite":
        _set(engine, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"wal_autocheckpoint={WAL_PAGES}")
    return engine


def reading_engine(url: sa.URL) -> sa.Engine:
    """For connections that cannot change anything; each of their transactions sees one state."""
    if url.get_backend_name() != "sqlite":
        options = "-c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read"
        return sa.create_engine(
            url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args={"options": options}
        )
    # A log that only the writer moves into the database: builds of SQLite up to 3.51.2 may damage it otherwise.
    target = sa.URL.create("sqlite", database=f"file:{url.database}", query={"mode": "ro", "uri": "true"})
    engine = sa.create_engine(
        target, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=_same_thread(target)
    )
    _set(engine, "query_only=ON", "wal_autocheckpoint=0")
    return engine


def lock_file(database: Path) -> int:
    """Hold the right to write this SQLite file; closing the descriptor lets go of it.

    Raises:
        Conflict: Another process has it.
        StoreError: The lock cannot be made.
    """
    try:
        descriptor = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise store_error("the records cannot be opened", error, database) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        says = "another process writes these records"
        raise Conflict(says, where=str(database), remedy="use them through their owner") from None
    return descriptor


def translated(error: BaseException) -> PerennialError:
    """The error of our tree for what the database said."""
    if isinstance(error, PerennialError):
        return error
    if isinstance(error, OSError):
        return store_error("the records were not written", error, Path("records"))
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    kinds = {kind.__name__ for kind in type(cause).__mro__}  # the same names in both drivers (PEP 249)
    text = str(cause).strip().partition("\n")[0]
    if "IntegrityError" in kinds or isinstance(error, exc.IntegrityError):
        return Conflict(f"the records do not allow this: {text}")
    if isinstance(error, exc.DataError) or kinds & {"OverflowError", "UnicodeEncodeError", "DataError"}:
        return Invalid(f"a value cannot be stored: {text}", remedy="use Unicode text without NUL and 64-bit numbers")
    return _by_sentence(text, isinstance(error, exc.OperationalError) or "OperationalError" in kinds)


def _by_sentence(text: str, is_operational: bool) -> PerennialError:
    lower = text.lower()  # SQLite's codes come as sentences, which have not changed in twenty years
    if "is full" in lower or "no space left" in lower:
        return StoreError("the records were not written: the disk is full", remedy="free some space, then try again")
    if "disk i/o error" in lower or "readonly database" in lower or "read-only" in lower:
        remedy = "mend the disk or the permissions, then start again"
        return ReadOnly(f"the records cannot be written: {text}", remedy=remedy)
    if "malformed" in lower or "not a database" in lower:
        return Corrupt(f"the records are damaged: {text}", remedy="restore a backup with: perennial restore")
    if "unable to open" in lower:
        return StoreError(f"the records cannot be opened: {text}", remedy="check that the folder exists")
    if is_operational and not lower.startswith("no such"):
        return Unavailable(f"the database does not answer: {text}", remedy="try again")
    return StoreError(f"the records refused: {text}")


def _same_thread(url: sa.URL) -> dict[str, Any]:
    return {"check_same_thread": False} if url.get_backend_name() == "sqlite" else {}


def _set(engine: sa.Engine, *pragmas: str) -> None:
    def connected(connection: Any, _record: Any) -> None:
        for pragma in (f"busy_timeout={BUSY_MS}", "mmap_size=0", *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", connected)
