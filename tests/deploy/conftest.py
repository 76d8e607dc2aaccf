from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perennial.clock import FixedClock
from perennial.deploy.endpoints import Endpoints
from perennial.ids import SeededIds
from perennial.registry.versions import Models
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, create_tables
from perennial.store.workspace_folder import WorkspaceFolder, create_folder
from perennial.types import Micros

NOON = Micros(1_700_000_000_000_000)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def folder(tmp_path: Path) -> WorkspaceFolder:
    return create_folder(tmp_path / ".perennial", now=NOON)


@pytest.fixture
def records(folder: WorkspaceFolder, clock: FixedClock) -> Iterator[Records]:
    with Records.open(folder.records_url, clock=clock, ids=SeededIds(1)) as records:
        create_tables(records)
        yield records


@pytest.fixture
def objects(folder: WorkspaceFolder) -> Iterator[ObjectStore]:
    with ObjectStore(folder.objects) as objects:
        yield objects


@pytest.fixture
def models(records: Records) -> Models:
    return Models(records)


@pytest.fixture
def endpoints(records: Records, objects: ObjectStore, folder: WorkspaceFolder) -> Endpoints:
    return Endpoints(records, objects, folder)


@pytest.fixture
def approved(models: Models, objects: ObjectStore) -> Callable[[], int]:
    """Registers and approves one more version of "wages", with a package of its own; tells its number."""

    def make() -> int:
        count = len(models.list(name="wages")) + 1
        signature = objects.put(json.dumps({"task": "regression", "of": count}).encode())
        package = objects.put(json.dumps({"format": 1, "files": {"signature.json": [signature, 1]}}).encode())
        version = models.register(name="wages", package=package, origin="loop").version
        models.approve(name="wages", version=version)
        return version

    return make
