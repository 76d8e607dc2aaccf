"""A database on PostgreSQL that tests use one after the other: to make and to drop one takes the server a quarter of a
second. For each test it is emptied, and it is made anew only when a test changed its tables.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from perennial.store.records import Records, create_tables
from perennial.store.schema import ensure_schema
from perennial.store.tables import import_tables

if TYPE_CHECKING:
    import psycopg

__all__ = ["created", "pg_tables", "pg_upgraded", "upgraded"]

# Whoever is still connected goes, so that nobody's lock is waited for.
ALONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# What the making of the tables put into them.
KEEP = """
DO $$
DECLARE
    name text;
    has_rows bool;
BEGIN
    CREATE SCHEMA kept;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO has_rows;
        IF has_rows THEN
            EXECUTE format('CREATE TABLE kept.%I AS TABLE public.%I', name, name);
        END IF;
    END LOOP;
    ASSERT NOT EXISTS (SELECT FROM pg_sequences WHERE last_value IS NOT NULL), 'a number was counted';
END $$
"""
# Rows in any order, whatever refers to them; numbers are counted from one again.
EMPTY = """
DO $$
DECLARE
    name text;
    has_rows bool;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO has_rows;
        IF has_rows THEN
            EXECUTE format('DELETE FROM %I', name);
        END IF;
    END LOOP;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'kept' LOOP
        EXECUTE format('INSERT INTO public.%I SELECT * FROM kept.%I', name, name);
    END LOOP;
    FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL LOOP
        EXECUTE format('ALTER SEQUENCE %I RESTART', name);
    END LOOP;
END $$
"""
TABLES = "SELECT array_agg(tablename::text) FROM pg_tables WHERE schemaname = 'public'"
# Tables, columns, indexes and constraints by their numbers, which are new for what was made anew.
SHAPE = """
SELECT md5(string_agg(told, ' ' ORDER BY told)) FROM (
    SELECT concat_ws(' ', c.oid, a.attname, a.atttypid, a.attnotnull) AS told
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT oid::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace
) AS shape
"""


class Emptied:
    """One database on a server; `url` gives it to the next test."""

    def __init__(self, server: str, fill: Callable[[Records], None]) -> None:
        self._server = server
        self._fill = fill
        self._name = ""
        self._tables: list[str] = []
        self._shape: object = None
        self._connection: psycopg.Connection | None = None

    def url(self) -> str:
        """The address of the database, in which all tables are as they were made."""
        if self._connection is not None:
            self._connection.execute(ALONE)
            for name in set(self._told(TABLES) or []) - set(self._tables):  # a test's own
                self._connection.execute(f'DROP TABLE "{name}" CASCADE')
            if self._told(SHAPE) == self._shape:
                self._connection.execute(EMPTY)
                return self._address(self._name)
        self.close()
        self._make()
        return self._address(self._name)

    def close(self) -> None:
        """Drop it."""
        import psycopg

        if self._connection is None:
            return
        self._connection.close()
        self._connection = None
        with psycopg.connect(_plain(self._server), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{self._name}" WITH (FORCE)')

    def _make(self) -> None:
        import psycopg

        self._name = f"emptied_{secrets.token_hex(6)}"
        with psycopg.connect(_plain(self._server), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self._name}"')
        with Records.open(self._address(self._name)) as records:
            self._fill(records)
        self._connection = psycopg.connect(_plain(self._address(self._name)), autocommit=True)
        self._connection.execute("SET session_replication_role = replica")
        self._connection.execute(KEEP)
        self._tables, self._shape = self._told(TABLES), self._told(SHAPE)

    def _told(self, question: str) -> Any:
        assert self._connection is not None
        found = self._connection.execute(question).fetchone()
        assert found is not None
        return found[0]

    def _address(self, name: str) -> str:
        return f"{self._server.rsplit('/', 1)[0]}/{name}"


@contextmanager
def _emptied(server: str, fill: Callable[[Records], None]) -> Generator[Emptied]:
    database = Emptied(server, fill)
    yield database
    database.close()


@pytest.fixture(scope="session")
def created(pg_url: str) -> Iterator[Emptied]:
    with _emptied(pg_url, lambda records: create_tables(records, import_tables())) as database:
        yield database


@pytest.fixture(scope="session")
def upgraded(pg_url: str) -> Iterator[Emptied]:
    with _emptied(pg_url, ensure_schema) as database:
        yield database


@pytest.fixture
def pg_tables(created: Emptied) -> str:
    """A database with the declared tables (`create_tables`), for one test at a time."""
    return created.url()


@pytest.fixture
def pg_upgraded(upgraded: Emptied) -> str:
    """The same with the tables that the migrations make (`ensure_schema`)."""
    return upgraded.url()


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")
