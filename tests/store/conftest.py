from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perennial.clock import FixedClock
from perennial.ids import SeededIds
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.types import Micros
from tests.store.emptied import created as created
from tests.store.emptied import pg_tables as pg_tables

NOON = Micros(1_700_000_000_000_000)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: every test that takes it runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'records.db'}"
    return request.getfixturevalue("pg_database")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def open_records(clock: FixedClock) -> Iterator[Callable[..., Records]]:
    """Opens records on one clock; all are closed at the end."""
    opened: list[Records] = []

    def open_one(url: str, **options: bool) -> Records:
        opened.append(Records.open(url, clock=clock, ids=SeededIds(7), **options))
        return opened[-1]

    yield open_one
    for records in opened:
        records.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def records(request: pytest.FixtureRequest, tmp_path: Path, open_records: Callable[..., Records]) -> Records:
    """The tables of all rooms, empty: every test that takes it runs on both."""
    if request.param == "postgresql":
        return open_records(request.getfixturevalue("pg_tables"))
    records = open_records(f"sqlite:///{tmp_path / 'records.db'}")
    create_tables(records, import_tables())
    return records


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore(tmp_path / "objects") as store:
        yield store
