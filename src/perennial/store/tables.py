"""The one list of tables, and the column types that behave alike on SQLite and PostgreSQL.

Each room declares its own tables in `<room>/records.py` on `metadata`. Moments are BigInteger (Micros), JSON is
LargeBinary (canonical bytes), numbers that may be NaN are stored as the room decides, since SQLite makes them NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from perennial.types import Digest

__all__ = ["Expand", "digest_column", "import_tables", "metadata"]

# Every constraint has a name, so that a migration can speak of it on both databases.
metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Expand = Callable[[bytes, Callable[[Digest], bytes]], Iterable[Digest]]
"""Reads an object and tells which other objects it names; the function given reads further objects on the way."""


def digest_column(name: str, *, expand: Expand | None = None, **options: Any) -> sa.Column[str]:
    """A column that names an object, so that `verify`, `backup` and garbage collection know of it.

    Args:
        name: Of the column.
        expand: For a manifest: which further digests its bytes name.
        options: Of `sa.Column`.
    """
    return sa.Column(name, sa.String(64), info={"object": True, "expand": expand}, **options)


def import_tables() -> sa.MetaData:
    """Import every module that declares tables, found by its name, and return the whole list."""
    package = Path(__file__).parent.parent
    for path in sorted(package.glob("*/records.py")):
        import_module(f"perennial.{path.parent.name}.records")
    import_module("perennial.store.leases")
    return metadata
