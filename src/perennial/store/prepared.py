"""A statement that is compiled once and then handed to the database driver with plain values.

Compiling, or even looking up what was compiled, costs SQLAlchemy ten times what SQLite needs to run a small
statement. What is written thousands of times a second is therefore prepared: the same Core statement, the same two
databases, plain tuples in and out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg

__all__ = ["Prepared", "selecting_among", "upserting"]


class Prepared:
    """One Core statement. Its values are given by name, in the order of `names` for many rows.

    Valid only for columns that need no conversion between Python and the driver: numbers, text, bytes.
    """

    def __init__(self, statement: sa.ClauseElement | Mapping[str, sa.ClauseElement], names: Sequence[str] = ()) -> None:
        """
        Args:
            statement: With `bindparam`s for its values; or one for each dialect.
            names: The order in which `many` and `run` get the values.
        """
        self._statement = statement
        self._names = tuple(names)
        self._made: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._lock = Lock()

    def many(self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run once for each tuple, which holds a value for each of `names`."""
        if not rows:
            return
        text, order = self._text(connection)
        same = order == tuple(range(len(self._names)))
        _driver(connection).cursor().executemany(
            text, rows if same else [tuple(row[at] for at in order) for row in rows]
        )

    def run(self, connection: sa.Connection, *values: Any) -> int:
        """Run with these values; how many rows it changed."""
        text, order = self._text(connection)
        return _driver(connection).execute(text, [values[at] for at in order]).rowcount

    def rows(self, connection: sa.Connection, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        text, order = self._text(connection)
        return _driver(connection).execute(text, [values[at] for at in order]).fetchall()

    def row(self, connection: sa.Connection, *values: Any) -> tuple[Any, ...] | None:
        """The first row of a query."""
        text, order = self._text(connection)
        return _driver(connection).execute(text, [values[at] for at in order]).fetchone()

    def _text(self, connection: sa.Connection) -> tuple[str, tuple[int, ...]]:
        name = connection.dialect.name
        made = self._made.get(name)
        if made is None:
            with self._lock:
                made = self._made[name] = self._compiled(name)
        return made

    def _compiled(self, name: str) -> tuple[str, tuple[int, ...]]:
        # Positional values in both: one sign for each use.
        dialect: Any = psycopg.dialect(paramstyle="format") if name == "postgresql" else sqlite.dialect()
        statement = self._statement[name] if isinstance(self._statement, Mapping) else self._statement
        compiled: Any = statement.compile(dialect=dialect)
        positions: list[str] = compiled.positiontup or []
        return str(compiled), tuple(self._names.index(position) for position in positions)


def upserting(table: sa.Table, *, greater_by: Sequence[str] = (), keep: bool = False) -> Prepared:
    """Insert rows of this table, in the order of its columns; a row whose key is there is replaced.

    Args:
        table: With a primary key.
        greater_by: Replace only when these columns, compared in this order, are greater in the new row.
        keep: Never replace.
    """
    keys = [column.name for column in table.primary_key]
    rest = [column.name for column in table.columns if column.name not in keys]
    names = [column.name for column in table.columns]

    def made(insert: Any) -> Any:
        statement = insert(table).values({name: sa.bindparam(name) for name in names})
        if keep or not rest:
            return statement.on_conflict_do_nothing(index_elements=keys)
        where = None
        if greater_by:
            new = sa.tuple_(*(statement.excluded[name] for name in greater_by))
            where = new > sa.tuple_(*(table.c[name] for name in greater_by))
        return statement.on_conflict_do_update(
            index_elements=keys, set_={name: statement.excluded[name] for name in rest}, where=where
        )

    return Prepared({"sqlite": made(sqlite.insert), "postgresql": made(postgresql.insert)}, names)


def selecting_among(query: Any, column: sa.ColumnElement[Any]) -> Callable[..., list[tuple[Any, ...]]]:
    """A query for rows whose column is one of many values: the same statement however many there are.

    Called with a connection and the values.
    """
    values = sa.bindparam("values")
    listed = sa.func.json_each(sa.bindparam("values", type_=sa.Text)).table_valued("value")
    prepared = Prepared(
        {
            "sqlite": query.where(column.in_(sa.select(listed.c.value))),
            "postgresql": query.where(column == sa.any_(sa.cast(values, postgresql.ARRAY(column.type)))),
        },
        ("values",),
    )

    def rows(connection: sa.Connection, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if not values:
            return []
        is_sqlite = connection.dialect.name == "sqlite"
        return prepared.rows(connection, json.dumps(list(values)) if is_sqlite else list(values))

    return rows


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection
