"""A query to a database, by its SQLAlchemy address; the rows stream, so that the result need not fit in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.data.sources.source import After, Overlap, Reading, filled
from perennial.errors import ConfigError, DataError, Invalid, NotFound

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["SqlSource"]

FETCH_ROWS = 20_000  # Python objects in memory at once
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class SqlSource:
    """The rows of a query.

    With a cursor, it is asked for the rows above the last value only, by a condition around the query, and in that
    order. The query is one statement, so that it sees one state of the database.

    Args:
        url: As SQLAlchemy writes it; ${NAME} for what is secret: postgresql://etl:${DB_PASSWORD}@host/database
        query: A SELECT, or the name of a table.
        cursor: Column by which new rows are told from known ones.
        overlap: How far before the last value to look again.
    """

    url: str
    query: str
    cursor: str | None = None
    overlap: Overlap = None

    def read(self, scratch: Path, after: After | None, before: Mapping[str, Any] | None) -> Reading:
        """The rows, laid down in `scratch`."""
        from perennial.data.sources.spool import spool

        url, secrets = filled(self.url)
        query = f"SELECT * FROM {self.query}" if _TABLE.fullmatch(self.query.strip()) else self.query  # noqa: S608
        found = spool(_tables(url, query, after, secrets), scratch, "the query")
        facts = {"kind": "sql", "url": _shown(self.url), "query": self.query}
        return Reading(rows=found, facts=facts, is_filtered=True)


def _tables(url: str, query: str, after: After | None, secrets: list[str]) -> Iterator[Any]:
    from sqlalchemy import exc

    engine = _engine(url)
    hidden = [*secrets, *filter(None, [engine.url.password])]
    try:
        with engine.connect() as connection:
            yield from _fetched(connection, query, after)
    except exc.SQLAlchemyError as error:
        told = str(getattr(error, "orig", None) or error).splitlines()[0]
        for secret in hidden:
            told = told.replace(secret, "***")
        raise DataError(
            f"the database does not answer the query: {told}",
            where=_shown(url),
            remedy="try the query in the database's own shell",
        ) from None
    finally:
        engine.dispose()


def _fetched(connection: sa.Connection, query: str, after: After | None) -> Iterator[Any]:
    import pyarrow as pa
    import sqlalchemy as sa

    statement = query.strip().rstrip(";").replace(":", r"\:")  # a colon is the user's, not a parameter of ours
    values: dict[str, Any] = {}
    if after is not None:
        column = connection.dialect.identifier_preparer.quote(after.column)
        sign = ">=" if after.inclusive else ">"
        statement = f"SELECT * FROM ({statement}) AS newer WHERE {column} {sign} :after ORDER BY {column}"  # noqa: S608
        values = {"after": after.value}
    streaming = connection.execution_options(stream_results=True, max_row_buffer=FETCH_ROWS)
    result = streaming.execute(sa.text(statement), values)
    names = [str(name) for name in list(result.keys())]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"the query gives two columns named {name!r}", remedy="give each a name with AS")
    seen = 0
    for rows in result.partitions(FETCH_ROWS):
        columns = [_array(name, values, seen) for name, values in zip(names, zip(*rows, strict=True), strict=True)]
        seen += len(rows)
        yield pa.table(columns, names=names)
    if not seen and names:
        yield pa.table([pa.nulls(0)] * len(names), names=names)


def _array(name: str, values: tuple[Any, ...], start: int) -> Any:
    import pyarrow as pa
    from pyarrow import types

    try:
        made = pa.array(values)
        if types.is_decimal(made.type):
            return made.cast(pa.float64())
        if not types.is_nested(made.type):
            return made
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        pass  # tried again with what Arrow has no type for as text
    plain = [_plain(value) for value in values]
    try:
        return pa.array(plain)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        kinds = {type(value).__name__ for value in plain if value is not None}
        first = next(value for value in plain if value is not None)
        row = next((i for i, value in enumerate(plain) if value is not None and type(value) is not type(first)), 0)
        raise DataError(
            f"column {name!r} holds values of different kinds ({', '.join(sorted(kinds))}): {plain[row]!r}",
            where=f"row {start + row}",
            remedy=f"give it one type in the query: CAST({name} AS ...)",
        ) from error


def _plain(value: Any) -> Any:
    """What Arrow has no type for as a text; a decimal number as a float, which models take."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict | list):
        return json.dumps(value, default=str)
    return value if isinstance(value, str | bytes | int | float | None) else str(value)


def _engine(url: str) -> sa.Engine:
    import sqlalchemy as sa
    from sqlalchemy import exc

    try:
        parsed = sa.make_url(url)
        path = parsed.database if parsed.get_backend_name() == "sqlite" else None
        if path and path != ":memory:" and not Path(path).is_file():
            raise NotFound("there is no such database", where=_shown(url), remedy="mend the path")
        return sa.create_engine(parsed, poolclass=sa.NullPool)
    except exc.NoSuchModuleError as error:
        raise ConfigError(
            f"there is no database of this kind: {error}", remedy="install its SQLAlchemy dialect"
        ) from None
    except exc.ArgumentError:
        raise Invalid("this is not the address of a database", remedy="write postgresql://user@host/database") from None
    except ModuleNotFoundError as error:
        package = "perennial[postgres]" if error.name == "psycopg" else str(error.name)
        raise ConfigError(f"the driver {error.name!r} is not installed", remedy=f"pip install '{package}'") from None


def _shown(url: str) -> str:
    """Where the database is, without user, password and options."""
    import sqlalchemy as sa
    from sqlalchemy import exc

    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        return ""
    return sa.URL.create(
        parsed.drivername, host=parsed.host, port=parsed.port, database=parsed.database
    ).render_as_string()
