from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.clock import FixedClock
from perennial.ids import SeededIds
from perennial.registry.model_versions import ModelVersions
from perennial.registry.registered import Registered
from perennial.registry.versions import Models
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.tracking.logged_models import LoggedModels
from perennial.types import Micros
from tests.store.emptied import created as created
from tests.store.emptied import pg_tables as pg_tables

NOON = Micros(1_700_000_000_000_000)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def records(request: pytest.FixtureRequest, tmp_path: Path, clock: FixedClock) -> Iterator[Records]:
    """On SQLite, or where a test is parametrized with it on PostgreSQL."""
    url = f"sqlite:///{tmp_path / 'records.db'}"
    if getattr(request, "param", "sqlite") == "postgresql":
        url = request.getfixturevalue("pg_tables")
    import_tables()
    with Records.open(url, clock=clock, ids=SeededIds(1)) as records:
        if records.path is not None:
            create_tables(records)
        yield records


@pytest.fixture
def models(records: Records) -> Models:
    return Models(records)


@pytest.fixture
def registered(records: Records) -> Registered:
    return Registered(records)


@pytest.fixture
def logged_models(records: Records) -> LoggedModels:
    return LoggedModels(records)


@pytest.fixture
def model_versions(records: Records, logged_models: LoggedModels) -> ModelVersions:
    return ModelVersions(records, logged_models)
