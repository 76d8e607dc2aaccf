"""A workspace that is served, once with its records in SQLite and once in PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from perennial.config import Settings
from tests.api.conftest import serving
from tests.api.mlflow.wire import Wire


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A connection of the owner's to it, for all tests of a module."""
    settings = Settings()
    if request.param == "postgresql":
        settings = Settings(records=_database(request.getfixturevalue("pg_url")))
    with serving(tmp_path_factory.mktemp("fuzzed") / ".perennial", settings) as served:
        one = Wire(served)
        yield one
        one.close()


def _database(url: str) -> str:
    import psycopg

    name = f"fuzz_{secrets.token_hex(6)}"
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return url.rsplit("/", 1)[0].replace("postgresql+psycopg://", "postgresql://") + f"/{name}"
