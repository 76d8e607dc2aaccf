"""Records of both databases, with the tables of all rooms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.clock import FixedClock
from perennial.ids import SeededIds
from perennial.store.records import Records
from perennial.store.schema import ensure_schema
from perennial.types import Micros
from tests.store.emptied import created as created
from tests.store.emptied import pg_tables as pg_tables
from tests.store.emptied import pg_upgraded as pg_upgraded
from tests.store.emptied import upgraded as upgraded


@pytest.fixture(params=["sqlite", "postgresql"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """An upgraded database, once SQLite and once PostgreSQL; its clock stands at a second."""
    url = f"sqlite:///{tmp_path}/records.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_upgraded")
    with Records.open(url, clock=FixedClock(Micros(1_000_000)), ids=SeededIds(1)) as records:
        ensure_schema(records)
        yield records
