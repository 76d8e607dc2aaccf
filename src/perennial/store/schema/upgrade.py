"""Run the migrations that a database lacks, in one transaction: a kill anywhere leaves the old tables as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from perennial.errors import ConfigError
from perennial.store.backup import copy_database
from perennial.store.failpoints import failpoint
from perennial.store.records import Records, Transaction
from perennial.store.schema import head, revision_of

__all__ = ["migrate", "upgrade"]

_ADVISORY_LOCK = 0x5045_5245_4E4E  # "PERENN": two owners of one PostgreSQL database upgrade one after the other


def upgrade(records: Records, scripts: Path) -> None:
    """Bring the tables to the newest revision in `scripts`, with a copy of a SQLite file made first.

    Raises:
        ConfigError: The tables are newer than this program.
    """
    before = records.write(lambda tx: _known_revision(tx.connection, scripts))
    if records.path is not None and before is not None:
        copy_database(records.path, records.path.with_name(f"records-before-{head(scripts)}.db"))
        failpoint("schema.backed_up")

    def change(tx: Transaction) -> None:
        if tx.connection.dialect.name == "postgresql":
            tx.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        if _known_revision(tx.connection, scripts) != head(scripts):
            migrate(tx.connection, scripts)
        failpoint("schema.applied")

    records.write(change)


def migrate(connection: sa.Connection, scripts: Path) -> None:
    """Run the missing migrations in the transaction that this connection is in."""
    directory = ScriptDirectory(str(scripts))

    def missing(revision: Any, _context: object) -> Any:
        # What alembic's own upgrade command calls.
        return directory._upgrade_revs("head", revision)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    connection.execute(sa.select(1))  # so that alembic sees a transaction and leaves its end to us
    with EnvironmentContext(Config(), directory, fn=missing) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()


def _known_revision(connection: sa.Connection, scripts: Path) -> str | None:
    revision = revision_of(connection)
    newest = head(scripts)
    if revision is not None and (newest is None or revision > newest):
        raise ConfigError(
            f"these records have schema {revision}, made by {_maker(connection)}; this program knows up to {newest}",
            remedy="install that version or a newer one; nothing was touched",
        )
    return revision


def _maker(connection: sa.Connection) -> str:
    table = sa.table("owner_epoch", sa.column("program"))
    columns = {column["name"] for column in sa.inspect(connection).get_columns("owner_epoch")}
    program = connection.execute(sa.select(table.c.program)).scalar() if "program" in columns else None
    return f"perennial {program}" if program else "a newer perennial"
