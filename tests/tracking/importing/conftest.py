"""A workspace's parts to import into, and foreign stores that are written here, by the facts of their formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.clock import FixedClock
from perennial.config import Settings
from perennial.ids import SeededIds
from perennial.registry.imports import ModelImports
from perennial.registry.model_versions import ModelVersions
from perennial.registry.registered import Registered
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.store.workspace_folder import create_folder
from perennial.tracking.artifacts import Artifacts
from perennial.tracking.experiments import Experiments
from perennial.tracking.importing.bringing import Brought, Takers, bring
from perennial.tracking.importing.opening import open_store
from perennial.tracking.imports import Imports
from perennial.tracking.logged_models import LoggedModels
from perennial.tracking.runs import Runs
from perennial.types import Micros


@dataclass
class Home:
    """What an import goes into."""

    records: Records
    objects: ObjectStore
    imports: Imports
    model_imports: ModelImports
    runs: Runs
    experiments: Experiments
    logged_models: LoggedModels
    registered: Registered
    model_versions: ModelVersions
    artifacts: Artifacts

    @property
    def takers(self) -> Takers:
        return Takers(self.imports, self.model_imports, self.objects)

    def take(self, path: Path, artifacts: Path | None = None) -> Brought:
        store = open_store(path, artifacts)
        try:
            return bring(store, self.takers)
        finally:
            store.close()

    def history(self, run: str, key: str) -> list[tuple[int, int, float | str]]:
        page = self.runs.history(run_id=run, key=key)
        return [(at // 1000, step, value) for at, step, value in zip(page.at, page.step, page.value, strict=True)]

    def everything(self) -> dict[str, list[tuple[object, ...]]]:
        """All rows of all tables but those that note when something was done."""

        def read(connection: sa.Connection) -> dict[str, list[tuple[object, ...]]]:
            names = [table for table in import_tables().tables if table not in ("idempotency", "imported")]
            return {
                name: sorted(map(tuple, connection.exec_driver_sql(f'SELECT * FROM "{name}"')), key=repr)
                for name in names
            }

        return self.records.read(read)


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[Callable[..., Home]]:
    opened: list[Home] = []

    def make(name: str, url: str = "") -> Home:
        folder = create_folder(tmp_path / name, now=Micros(0))
        import_tables()
        records = Records.open(url or f"sqlite:///{tmp_path / name}.db", clock=FixedClock(Micros(5)), ids=SeededIds(1))
        if not url:
            create_tables(records)
        objects = ObjectStore(folder.objects)
        logged = LoggedModels(records)
        home = Home(
            records,
            objects,
            Imports(records),
            ModelImports(records),
            Runs(records),
            Experiments(records),
            logged,
            Registered(records),
            ModelVersions(records, logged),
            Artifacts(records, objects, Settings(), folder),
        )
        opened.append(home)
        return home

    yield make
    for home in opened:
        home.objects.close()
        home.records.close()


@pytest.fixture
def home(make_home: Callable[..., Home], request: pytest.FixtureRequest) -> Home:
    """On SQLite, or where a test is parametrized with it on PostgreSQL."""
    is_postgresql = getattr(request, "param", "sqlite") == "postgresql"
    return make_home("home", request.getfixturevalue("pg_tables") if is_postgresql else "")
