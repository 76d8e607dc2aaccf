"""Bring the tables of a database up to what this program knows. Older programs refuse newer tables.

Migrations lie in `versions/NNNN_*.py`, one for each change, with every operation written out; alembic, which runs
them, is not imported while there is nothing to do. `python -m perennial.store.schema.draft` writes the next one.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from perennial.store.records import Records

__all__ = ["SCRIPTS", "ensure_schema", "head", "revision_of"]

SCRIPTS = Path(__file__).parent

_VERSION = sa.table("alembic_version", sa.column("version_num"))


def ensure_schema(records: Records, *, scripts: Path = SCRIPTS) -> None:
    """Upgrade to the newest tables that this program knows; a SQLite file is copied first.

    Raises:
        ConfigError: The tables are newer than this program; nothing is touched.
        StoreError: The upgrade failed; everything is as it was.
    """
    if records.write(lambda tx: revision_of(tx.connection)) != head(scripts):
        from perennial.store.schema.upgrade import upgrade

        upgrade(records, scripts)


def head(scripts: Path = SCRIPTS) -> str | None:
    """The newest revision that this program knows, from the names of the files."""
    return max((path.name.partition("_")[0] for path in (scripts / "versions").glob("[0-9]*_*.py")), default=None)


def revision_of(connection: sa.Connection) -> str | None:
    """The revision of the tables, None for an empty database."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.select(_VERSION.c.version_num)).scalar()
